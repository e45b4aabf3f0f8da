"""Invented people for tests: valid in form, impossible in fact (born in the 2200s), different each time."""

from __future__ import annotations

from itertools import count
from secrets import randbelow

from okienko.schemas import Person
from okienko.schemas.pesel import Pesel

_WEIGHTS = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
_SERIAL = count(randbelow(10_000))


def invented_pesel() -> Pesel:
    """A PESEL with a right check digit of a day in 2200 to 2299, which nobody has."""
    serial = next(_SERIAL)
    # Day by day and serial by serial: a run of tests never gets the same twice.
    digits = f"{randbelow(100):02}{61 + serial % 12}{1 + randbelow(28):02}{serial % 10_000:04}"
    return Pesel(digits + str(-sum(w * int(d) for w, d in zip(_WEIGHTS, digits, strict=True)) % 10))


def invented_person(given_name: str = "Gżegżółka", family_name: str = "Próbna-Ćma") -> Person:
    """A person with a PESEL of `invented_pesel`; the year of birth is left open, for schemas take none after 2100."""
    return Person(given_name=given_name, family_name=family_name, pesel=invented_pesel())
