"""Given name, family name and year of birth as people write them after the phrase (rules A2, A3, B2)."""

from __future__ import annotations

import re

from okienko.schemas import Person

_UPPER = "A-ZĄĆĘŁŃÓŚŹŻÀ-ÖØ-ÞŠŽČĎĚŇŘŤŮŐŰ"
_WORD = rf"[{_UPPER}][\w'’.]*(?:[-–][{_UPPER}]?[\w'’]+)*"
_NAME = re.compile(rf"(?:{_WORD})(?:[ \n]+{_WORD}){{1,3}}")
_SINGLE = re.compile(rf"{_WORD}")
_YEAR = re.compile(r"(?<![\d.,/-])(1[89]\d\d|20\d\d)(?!\d)")
_DATE = re.compile(
    r"(?<!\d)(?:\d{1,2}[./-]\d{1,2}[./-](1[89]\d\d|20\d\d)|(1[89]\d\d|20\d\d)[./-]\d{1,2}[./-]\d{1,2})(?!\d)"
)
_LABEL = re.compile(
    r"^[\s,;:.–-]*(?:(?:pan[ai]?|pani|imi[ęe] i nazwisko|imi[ęe],? nazwisko|imienia i nazwiska|dane|osoby)\b[\s:;,.-]*)+",
    re.IGNORECASE,
)
_GIVEN = re.compile(rf"imi[ęe](?: \(imiona\)|na)?\s*[:=–-]\s*({_WORD}(?:[ ]{_WORD})?)", re.IGNORECASE)
_FAMILY = re.compile(rf"nazwisko\s*[:=–-]\s*({_WORD}(?:[ ]{_WORD})?)", re.IGNORECASE)
_STOP = re.compile(
    r"\b(?:rok|roku|rocznik|ur|urodz\w*|data|dnia|z dnia|pesel|login|e-?mail|adres|pozdrawiam|z poważaniem|dziękuję|tel|nr)\b",
    re.IGNORECASE,
)
LOOK_AHEAD = 600
"""Characters after the phrase in which name and year are looked for."""


def person_after(text: str, this_year: int) -> Person:
    """Who is named in `text`, which follows the phrase. What is not found is None; a year must make sense for a person."""
    text = text[:LOOK_AHEAD].replace("\u00a0", " ")
    given, family = _labelled(text)
    if given is None or family is None:
        given, family = _free(text)
    return Person(given_name=given, family_name=family, birth_year=_year(text, this_year))


def _labelled(text: str) -> tuple[str | None, str | None]:
    given, family = _GIVEN.search(text), _FAMILY.search(text)
    if given and family:
        return given[1].strip(" .,"), family[1].strip(" .,")
    return None, None


def _free(text: str) -> tuple[str | None, str | None]:
    text = _LABEL.sub("", text)
    stop = _STOP.search(text)
    head = re.split(r"[,;:(\d]|\n[ \t]*\n", text[: stop.start()] if stop else text, maxsplit=1)[0]
    found = _NAME.match(head.strip())
    if not found:
        return None, None
    words = [word.strip(".,") for word in found[0].split()]
    return " ".join(words[:-1]), words[-1]


def _year(text: str, this_year: int) -> int | None:
    for match in (*_DATE.finditer(text), *_YEAR.finditer(text)):
        year = int(next(group for group in match.groups() if group))
        if 1900 <= year <= this_year:
            return year
    return None
