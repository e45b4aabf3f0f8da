"""Who signed, by their certificate. Whether it is the applicant is the procedure's question (rule B5)."""

from __future__ import annotations

import re

from asn1crypto import x509

from okienko.plugins.signatures import Signatory
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


def _attributes(certificate: x509.Certificate, kind: str) -> list[str]:
    return [
        str(part["value"].native)
        for relative in certificate.subject.chosen
        for part in relative
        if part["type"].native == kind
    ]
