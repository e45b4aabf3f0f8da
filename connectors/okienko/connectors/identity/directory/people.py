"""What an entry says of its holder. Pure."""

from __future__ import annotations

from okienko.connectors.identity.directory.entry import Entry
from okienko.connectors.identity.directory.settings import DirectorySettings
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel

_BIRTH_YEARS = range(1880, 2101)
"""Years that the schema of a person takes."""


def person(entry: Entry, settings: DirectorySettings) -> Person:
    """The holder; a PESEL that is none and a year that cannot be are left out."""
    pesel = _pesel(entry.first(settings.pesel_attribute)) if settings.pesel_attribute else None
    year = pesel.birth_date.year if pesel is not None else None
    if settings.birth_date_attribute:
        stated = (entry.first(settings.birth_date_attribute) or "")[:4]
        year = int(stated) if stated.isascii() and stated.isdigit() else year
    return Person(
        given_name=entry.first(settings.given_name_attribute),
        family_name=entry.first(settings.family_name_attribute),
        birth_year=year if year in _BIRTH_YEARS else None,
        pesel=pesel,
    )


def carrying(entry: Entry, attribute: str, pesel: Pesel) -> tuple[bytes, ...]:
    """The values of the attribute, as they are stored, that are this personal number."""
    return tuple(v for v in entry.raw(attribute) if _pesel(v.decode("utf-8", "replace")) == pesel)


def _pesel(text: str | None) -> Pesel | None:
    try:
        return Pesel((text or "").strip())
    except ValueError:
        return None
