"""Podpis zaufany: who signed stands in the minister's sealed statement, not in the certificate.

In a PDF it is /Reason, with /Name beside it; in XML a ClaimedRole, in one of two shapes. Both are read from signed octets and
count only under a pinned seal: anyone can write the same words under their own certificate.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from okienko.plugins.signatures import Signatory
from okienko.schemas.pesel import Pesel

_REASON = re.compile(
    r"Opatrzono pieczęcią ministra właściwego do spraw informatyzacji w imieniu: "
    r"(?P<name>[^,:]{3,200}), PESEL: (?P<pesel>[0-9]{11}), PZ ID: [^\s,]{1,200}"
)
_PPZP = "{http://crd.gov.pl/xml/schematy/ppzp/}"
_PERSON = "{http://crd.gov.pl/xml/schematy/osoba/2009/03/06/}"
_EP = "{http://crd.gov.pl/xml/schematy/podpis_zaufany/}"


@dataclass(frozen=True)
class Statement:
    """What a sealed statement says; `signatory` is None when it is not in the known form."""

    signatory: Signatory | None


def from_reason(reason: str | None, name: str | None) -> Statement | None:
    """The statement of a PDF signature. Both texts must name the same person, and all of the reason must fit."""
    if reason is None:
        return None
    found = _REASON.fullmatch(unicodedata.normalize("NFC", reason).strip())
    if found is None or name is None or _plain(found["name"]) != _plain(name):
        return Statement(None)
    given, _, family = found["name"].strip().rpartition(" ")
    return Statement(_signatory(given, family, found["pesel"]))


def from_role(claimed_roles: list[Any]) -> Statement | None:
    """The statement of an XML signature, from the ClaimedRole elements of its *signed* properties."""
    statements = [child for role in claimed_roles for child in role if isinstance(child.tag, str)]
    if not statements:
        return None
    if len(statements) > 1:
        return Statement(None)
    root = statements[0]
    if root.tag == _PPZP + "PodpisZP":
        person = _only(root, f"{_PPZP}DaneZP/{_PPZP}DaneZPOsobyFizycznej")
        names = (_PERSON + "Imie", _PERSON + "Nazwisko", _PERSON + "PESEL")
    elif root.tag == _EP + "EPSignature":
        person = _only(root, _EP + "NaturalPerson")
        names = (_EP + "FirstName", _EP + "CurrentFamilyName", _EP + "PersonalIdentifier")
    else:
        return Statement(None)
    if person is None:
        return Statement(None)
    given, family, pesel = (" ".join((e.text or "").strip() for e in person.findall(tag)) for tag in names)
    return Statement(_signatory(given, family, pesel))


def _signatory(given: str, family: str, digits: str) -> Signatory | None:
    try:
        pesel = Pesel(digits)
    except ValueError:
        return None
    if not given.strip() or not family.strip():
        return None
    return Signatory(
        given_names=given.strip(), family_name=family.strip(), pesel=pesel, birth_year=pesel.birth_date.year
    )


def _only(element: Any, path: str) -> Any:
    found = element.findall(path)
    return found[0] if len(found) == 1 else None


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
