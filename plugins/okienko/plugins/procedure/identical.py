"""What "identical" means (rules A1, A2, B1, B2), and the folding by which near misses are recognised."""

from __future__ import annotations

import re
import unicodedata

_MARKS = re.compile(r"[\u0300-\u036f]+")
_PLAIN = bytes(b if chr(b).isalnum() and b < 128 else 32 for b in range(256))
_NO_DECOMPOSITION = (("ł", "l"), ("đ", "d"), ("ø", "o"))


def normal(text: str) -> str:
    """Without what transport and copying change: NFC, each run of white space (NBSP too) one space, outer space gone.

    Letter case, diacritics, prefixes, extra words and other dashes stay: they are differences.
    """
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def folded(text: str) -> str:
    """For recognising, never for deciding: lower case, no diacritics, words of ASCII letters and digits, single spaces."""
    if text.isascii():
        text = text.lower()
    else:
        # Compatibility forms first: some decompose into capitals.
        text = unicodedata.normalize("NFKD", text).casefold()
        for letter, plain in _NO_DECOMPOSITION:
            text = text.replace(letter, plain)
        text = _MARKS.sub("", text)
    return " ".join(text.encode("ascii", "replace").translate(_PLAIN).decode("ascii").split())


def squeezed(text: str) -> str:
    """Folded text without its spaces."""
    return text.replace(" ", "")


def identical(text: str, required: str) -> bool:
    """Rules A1 and B1: whether `text` is `required` under the reading above."""
    return normal(text) == normal(required)


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Finds `phrase` in NFC text under the same reading, spread over lines if need be, as whole words."""
    return re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, normal(phrase).split(" "))) + r"(?!\w)")


def after_folded(text: str, phrase: str) -> str | None:
    """What stands in `text` after the folded `phrase`, as written; None when the phrase is not there as whole words.

    Spaces within it do not count (`email`, `e mail`). Slow, for near misses only: folding moves positions, so each letter is
    folded with its place remembered.
    """
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        for plain in folded(letter):
            letters.append(plain)
            places.append(place)
    needle, hay = squeezed(phrase), "".join(letters)
    start = hay.find(needle)
    while start >= 0:
        first, last = places[start], places[start + len(needle) - 1]
        if not text[first - 1 : first].isalnum() and not text[last + 1 : last + 2].isalnum():
            return text[last + 1 :]
        start = hay.find(needle, start + 1)
    return None
