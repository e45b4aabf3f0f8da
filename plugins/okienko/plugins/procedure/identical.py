"""What "identical" means (procedure.md), and the folding by which near misses are recognised."""

from __future__ import annotations

import re
import unicodedata

_SPACE = re.compile(r"\s+")
_NOT_WORD = re.compile(r"[^a-z0-9@]+")
_NO_DECOMPOSITION = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "ø": "o"})


def normal(text: str) -> str:
    """Without the differences that transport and copying make: NFC, every run of white space (NBSP too) one space, trimmed.

    Letter case, diacritics, prefixes, extra words and other dashes stay: they are differences.
    """
    if text.isascii():
        return " ".join(text.split())
    return _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()


def folded(text: str) -> str:
    """For recognising, never for deciding: lower case, no diacritics, words separated by one space."""
    text = text.casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFD", text.translate(_NO_DECOMPOSITION)).encode("ascii", "ignore").decode()
    return _NOT_WORD.sub(" ", text).strip()
