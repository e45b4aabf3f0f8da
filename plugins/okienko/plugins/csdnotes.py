"""Notes that okienko writes are recognised: each ends with a short mark made of its lasting key.

ITSM systems have no place for a key of ours at a note and show notes that we wrote like all others. The mark makes writing one
repeatable (it is looked for before a note is added) and keeps our own note from coming back as news (echo).
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable

from okienko.plugins.csd import Note

_MARK = re.compile(r"\[okienko:([0-9a-f]{16})\]")
_QUOTE = re.compile(r"<blockquote\b.*</blockquote\s*>", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


def mark_of(key: str) -> str:
    """The mark of a key: 16 hex digits of its SHA-256. `Note.key` of a note that okienko wrote is this."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def has_note(notes: Iterable[Note], key: str) -> bool:
    """Whether one of a ticket's notes was written by okienko under that key."""
    mark = mark_of(key)
    return any(note.key == mark for note in notes)


def marked(text: str, key: str) -> str:
    """The note's text with its mark on a line of its own. A mark that stands in the text itself is taken out of it."""
    return f"{unmarked(text)}\n\n[okienko:{mark_of(key)}]"


def key_in(text: str) -> str | None:
    """The mark at the end of a note, as plain text or HTML, or None.

    A mark further up, or in a line or block that is quoted, does not make a note ours. A reply that quotes without any sign (as
    Outlook does) ends like a note of ours: who knows a note's author asks this only for notes of okienko's own account.
    """
    plain = html.unescape(_TAG.sub(" ", _BREAK.sub("\n", _QUOTE.sub("\n>\n", text))))
    last = plain.strip().rpartition("\n")[2].strip()
    found = next(reversed(list(_MARK.finditer(last))), None)
    if found is None or found.end() != len(last):
        return None
    before = last[: -len(found[0])].rstrip()
    return None if before.startswith((">", "|")) or before.endswith((">", "|")) else found[1]


def unmarked(text: str) -> str:
    """The text without marks."""
    return _MARK.sub("", text).rstrip()
