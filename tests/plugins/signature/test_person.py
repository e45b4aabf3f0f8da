"""B5: is the signatory the applicant?"""

from __future__ import annotations

import pytest

from okienko.plugins.signature.person import same_person
from okienko.plugins.signatures import Signatory
from okienko.schemas import Person, Verdict
from okienko.schemas.pesel import Pesel
from signing.pki import ANNA_PESEL, JAN_PESEL

JAN = Pesel(JAN_PESEL)


def signatory(given: str = "Jan Maria", family: str = "Wymyślony", pesel: Pesel | None = JAN) -> Signatory:
    return Signatory(
        given_names=given, family_name=family, pesel=pesel, birth_year=pesel.birth_date.year if pesel else None
    )


def person(given: str | None = "Jan", family: str | None = "Wymyślony", pesel: Pesel | None = JAN) -> Person:
    return Person(given_name=given, family_name=family, pesel=pesel)


@pytest.mark.parametrize(
    ("who", "account", "expected"),
    [
        (signatory("Jan"), person(), Verdict.MET),
        (signatory("JAN", "WYMYŚLONY"), person(), Verdict.MET),
        (signatory("Jan", "Wymys\u0301lony"), person(), Verdict.MET),
        (signatory(), person(), Verdict.MET),
        (signatory(), person("Jan Maria"), Verdict.MET),
        (signatory("Jan", "Wymyślony - Zmyślony"), person("Jan", "Wymyślony-Zmyślony"), Verdict.MET),
        (signatory("Jan"), person(pesel=None), Verdict.MET),
        (signatory("Jan", pesel=None), person(pesel=None), Verdict.MET),
        (signatory("Jan", pesel=None), person(), Verdict.UNKNOWN),
        (signatory("Jan"), person(pesel=Pesel(ANNA_PESEL)), Verdict.UNMET),
        (signatory("Jan"), person(given="Anna"), Verdict.UNMET),
        (signatory("Jan"), person(family="Wymyslony"), Verdict.UNMET),
        (signatory("Jan"), person(family=None), Verdict.UNKNOWN),
        (signatory("Janina"), person(), Verdict.UNMET),
        (signatory("Jan", "Wymyślony Zmyślony"), person(), Verdict.UNMET),
        (None, person(), Verdict.UNKNOWN),
    ],
)
def test_same_person(who: Signatory | None, account: Person, expected: Verdict) -> None:
    verdict, evidence = same_person(who, account)
    assert verdict is expected
    assert evidence
    assert JAN_PESEL not in evidence
    assert ANNA_PESEL not in evidence


def test_year_of_birth() -> None:
    account = Person(given_name="Jan", family_name="Wymyślony", birth_year=1990)
    assert same_person(signatory("Jan"), account)[0] is Verdict.UNMET
