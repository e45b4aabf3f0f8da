"""Notes that okienko writes are recognised: each ends with a short mark made of its lasting key.

ITSM systems have no place for a key of ours at a note and show notes that we wrote like all others. The mark makes writing one
repeatable (it is looked for before a note is added) and keeps our own note from coming back as news (echo).
"""

from __future__ import annotations

import hashlib
import html
import re

_MARK = re.compile(r"\[okienko:([0-9a-f]{16})\]")


def mark_of(key: str) -> str:
    """The mark of a key: 16 hex digits of its SHA-256. `Note.key` of a note that okienko wrote is this."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def marked(text: str, key: str) -> str:
    """The note's text with its mark on a line of its own. A mark that stands in the text itself is taken out of it."""
    return f"{unmarked(text)}\n\n[okienko:{mark_of(key)}]"


def key_in(text: str) -> str | None:
    """The mark at the end of a note, as plain text or HTML, or None: a quoted mark further up does not make a note ours."""
    last = html.unescape(re.sub(r"<[^>]*>", " ", text)).strip().rpartition("\n")[2].strip()
    found = _MARK.search(last)
    return found[1] if found and last.endswith(found[0]) else None


def unmarked(text: str) -> str:
    """The text without marks."""
    return _MARK.sub("", text).rstrip()
