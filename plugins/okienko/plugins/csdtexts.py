"""Texts and file names as ITSM systems and databases take them: one rule each, whatever a mail brought."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Marks of direction and of no width, by which a name can be made to look like another."""
_REFUSED = str.maketrans('"<>|:*?', "'______")
"""What Jira, Windows or a header does not take in a name."""
_PATH = re.compile(r"[/\\]")
_LONGEST_ENDING = 20
NAMELESS = "plik"
NO_TITLE = "(bez tematu)"


def storable(text: str) -> str:
    """What PostgreSQL holds: NUL goes, half a surrogate pair becomes a question mark; nothing else is touched."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def clean(text: str) -> str:
    """What JSON over UTF-8 and any database take: no control characters, no half of a surrogate pair, lines that end in \\n."""
    return _CONTROL.sub("", storable(text.replace("\r\n", "\n").replace("\r", "\n")))


def one_line(text: str, length: int | None = None) -> str:
    """The text on one line, no longer than that."""
    return " ".join(clean(text).split())[:length].rstrip()


def subject_line(text: str, length: int) -> str:
    """A subject as one line of that length, and never an empty one."""
    return one_line(text, length) or NO_TITLE


def file_name(name: str, *, length: int = 150, never: Collection[str] = ()) -> str:
    """A name that file systems, headers, forms and addresses take, and never an empty one.

    Of a path the last part stays. One that has to be cut keeps its ending and gets a piece of its digest, so that two long names stay two.
    `length`: in characters, at least 40; `never`: names that the system takes for none. What came out goes in unchanged.
    """
    last = _PATH.split(_UNSEEN.sub("", clean(name)))[-1]
    made = " ".join(last.split()).translate(_REFUSED).strip(". ")
    if len(made) > length:
        stem, dot, ending = made.rpartition(".")
        if not dot or len(ending) > _LONGEST_ENDING:
            stem, dot, ending = made, "", ""
        tail = f"-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{dot}{ending}"
        made = stem[: length - len(tail)].rstrip() + tail
    return NAMELESS if not made or made in never else made
