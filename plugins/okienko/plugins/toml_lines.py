"""Where in a TOML file a value stands: the standard parser says so only for errors of syntax."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\s\"'-]+?)\s*=")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Number of the line of the value at `path` (keys, and positions in lists), or of the nearest table around it.

    A guide for people, not a parser: what looks like a key within a multi-line string is taken for one.
    """
    best, best_length = 1, 0
    table: list[str | int] = []
    seen: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.fullmatch(line):
            table = list(_names(header[2]))
            if header[1] == "[[":
                table.append(seen[header[2]])
                seen[header[2]] += 1
            here = table
        elif key := _KEY.match(line):
            here = [*table, *_names(key[1])]
        else:
            continue
        length = len(here)
        if best_length < length <= len(path) and list(path[:length]) == here:
            best, best_length = number, length
    return best


def _names(dotted: str) -> list[str]:
    return [name.strip().strip("\"'") for name in dotted.split(".")]
