"""Who signed, and whether it is the applicant (rule B5)."""

from __future__ import annotations

import re
import unicodedata

from asn1crypto import x509

from okienko.plugins.signatures import Signatory
from okienko.schemas import Person, Verdict
from okienko.schemas.pesel import Pesel

_PERSONAL_NUMBER = re.compile(r"(?:PNOPL-|PESEL[-: ]?)([0-9]{11})")
"""How Polish certificates write the number (ETSI EN 319 412-1, 5.1.3, and the older habit)."""


def from_certificate(certificate: x509.Certificate) -> Signatory | None:
    """The natural person that a certificate names; None for a seal or a machine.

    Foreigners' certificates carry no PESEL: the names alone are given then.
    """
    given = _attributes(certificate, "given_name")
    family = _attributes(certificate, "surname")
    if not given or not family or _attributes(certificate, "organization_identifier"):
        return None
    pesel = None
    for serial in _attributes(certificate, "serial_number"):
        found = _PERSONAL_NUMBER.fullmatch(serial.strip())
        if found:
            try:
                pesel = Pesel(found[1])
            except ValueError:
                return None
    return Signatory(
        given_names=" ".join(given), family_name=" ".join(family), pesel=pesel,
        birth_year=pesel.birth_date.year if pesel else None,
    )  # fmt: skip


def same_person(signatory: Signatory | None, person: Person) -> tuple[Verdict, str]:
    """B5: is the signatory this person, as the account names them? The verdict and the evidence, without a number in it.

    Names must agree after NFC, case and white space; an account may hold the first given name only. Where the account has a
    PESEL, it must be the signatory's. What cannot be compared is unknown, for a human.
    """
    if signatory is None:
        return Verdict.UNKNOWN, "the signature does not say who signed"
    if person.pesel is not None and signatory.pesel is not None and person.pesel != signatory.pesel:
        return Verdict.UNMET, "the PESEL of the signatory is another one than the account's"
    if not person.family_name or not person.given_name:
        return Verdict.UNKNOWN, "the account does not name the person in full"
    if not _names_agree(signatory, person):
        return Verdict.UNMET, "the signatory's name is another one than the account's"
    if person.birth_year is not None and signatory.birth_year not in (None, person.birth_year):
        return Verdict.UNMET, "the signatory's year of birth is another one than the account's"
    if person.pesel is None:
        return Verdict.MET, "the names agree; the account has no PESEL to compare"
    if signatory.pesel is None:
        return Verdict.UNKNOWN, "the names agree, but the signature carries no PESEL"
    return Verdict.MET, "names and PESEL agree"


def _names_agree(signatory: Signatory, person: Person) -> bool:
    signed = [*_words(signatory.given_names), *_words(signatory.family_name)]
    given, family = _words(person.given_name or ""), _words(person.family_name or "")
    # Together, because a sealed statement does not say where the given names end.
    return signed == [*given, *family] or (signed[: len(given)] == given and signed[len(given) + 1 :] == family)


def _words(name: str) -> list[str]:
    folded = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"\s*[-‐‑–]\s*", "-", folded).split()


def _attributes(certificate: x509.Certificate, kind: str) -> list[str]:
    return [
        str(part["value"].native)
        for relative in certificate.subject.chosen
        for part in relative
        if part["type"].native == kind
    ]
