"""B5: is the signatory the applicant, and is the applicant the account's holder?"""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.procedure.inflection import Agreement, agreement
from okienko.plugins.procedure.signer import same_person
from okienko.plugins.signatures import Application, Signatory
from okienko.schemas import Person, Verdict
from okienko.schemas.pesel import Pesel
from signing.pki import ANNA_PESEL, JAN_PESEL

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN
JAN, ANNA = Pesel(JAN_PESEL), Pesel(ANNA_PESEL)
STRICTNESS = [MET, UNKNOWN, UNMET]


def signatory(given: str = "Jan", family: str = "Wymyślony", pesel: Pesel | None = JAN) -> Signatory:
    return Signatory(
        given_names=given, family_name=family, pesel=pesel, birth_year=pesel.birth_date.year if pesel else None
    )


def applicant(given: str | None = "Jan", family: str | None = "Wymyślony", pesel: Pesel | None = None) -> Application:
    return Application(given_name=given, family_name=family, pesel=pesel)


def holder(given: str | None = "Jan", family: str | None = "Wymyślony", pesel: Pesel | None = JAN) -> Person:
    return Person(given_name=given, family_name=family, pesel=pesel)


@pytest.mark.parametrize(
    ("who", "application", "account", "expected"),
    [
        (signatory(), applicant(), holder(), MET),
        (signatory("JAN", "WYMYŚLONY"), applicant(), holder(), MET),
        (signatory("Jan", "Wymys\u0301lony"), applicant(), holder(), MET),
        (signatory(), applicant("Jana", "Wymyślonego"), holder(), MET),
        (signatory("Jan Maria"), applicant("Jan Maria"), holder(), MET),
        (signatory("Jan Maria"), applicant("Jan Maria"), holder("Jan Maria"), MET),
        (signatory("Jan", "Wymyślony - Zmyślony"), applicant("Jan", "Wymyślony-Zmyślony"), holder("Jan", "Wymyślony-Zmyślony"), MET),
        (signatory(), applicant(pesel=JAN), holder(), MET),
        (signatory(pesel=None), applicant(), holder(pesel=None), MET),
        # A number that is missing or another one.
        (signatory(pesel=None), applicant(), holder(), UNKNOWN),
        (signatory(), applicant(), holder(pesel=ANNA), UNMET),
        (signatory(), applicant(pesel=ANNA), holder(), UNMET),
        # A name that is another one, though the number agrees: on the account's side, then on the application's.
        (signatory(), applicant(), holder("Anna"), UNMET),
        (signatory(), applicant(), holder(family="Wymyslony"), UNMET),
        (signatory("Janina"), applicant("Janina"), holder(), UNMET),
        (signatory("Jan", "Wymyślony Zmyślony"), applicant("Jan", "Wymyślony Zmyślony"), holder(), UNMET),
        (signatory(), applicant("Wymyślony", "Jan"), holder(), UNMET),
        (signatory(), applicant("Anna", "Niebyła"), holder(), UNMET),
        (signatory(), applicant("Anna", "Niebyła"), None, UNMET),
        # What cannot be compared.
        (signatory(), applicant(), holder(family=None), UNKNOWN),
        (signatory(), applicant(), None, UNKNOWN),
        (signatory(), applicant(family=None), holder(), UNKNOWN),
        (signatory(), None, holder(), UNKNOWN),
        (signatory("Jan Maria", pesel=None), applicant("Jan Maria"), holder(pesel=None), UNKNOWN),
        (None, applicant(), holder(), UNKNOWN),
    ],
)  # fmt: skip
def test_same_person(
    who: Signatory | None, application: Application | None, account: Person | None, expected: Verdict
) -> None:
    verdict, evidence = same_person(who, application, account)
    assert verdict is expected
    assert evidence
    for secret in (JAN_PESEL, ANNA_PESEL, "Jan", "Wymy"):
        assert secret not in evidence


def test_year_of_birth() -> None:
    """Where no two numbers could be compared."""
    account = Person(given_name="Jan", family_name="Wymyślony", birth_year=1990)
    assert same_person(signatory(), applicant(), account)[0] is UNMET
    assert same_person(signatory(pesel=None), applicant(), account)[0] is MET
    this_year = signatory(pesel=None).model_copy(update={"birth_year": 1990})
    assert same_person(this_year, applicant(), account)[0] is MET
    assert same_person(this_year.model_copy(update={"birth_year": 1991}), applicant(), account)[0] is UNMET


def by_the_signatures_page(who: Signatory, person: Person) -> Verdict:
    """The one rule as docs/signatures.md had it: signatory and account."""

    def words(name: str) -> list[str]:
        return re.sub(r"\s*[-‐‑–]\s*", "-", unicodedata.normalize("NFC", name).casefold()).split()

    if person.pesel is not None and who.pesel is not None and person.pesel != who.pesel:
        return UNMET
    if not person.family_name or not person.given_name:
        return UNKNOWN
    signed = [*words(who.given_names), *words(who.family_name)]
    first, last = words(person.given_name), words(person.family_name)
    if signed != [*first, *last] and not (signed[: len(first)] == first and signed[len(first) + 1 :] == last):
        return UNMET
    if person.birth_year is not None and who.birth_year not in (None, person.birth_year):
        return UNMET
    return UNKNOWN if person.pesel is not None and who.pesel is None else MET


def by_the_procedure(who: Signatory, application: Application | None, person: Person | None) -> Verdict:
    """The other rule, as it decided: signatory and applicant, then the account's number, else its names."""
    signer = Person(given_name=who.given_names, family_name=who.family_name)
    if application is not None and application.given_name and application.family_name:
        named = Person(given_name=application.given_name, family_name=application.family_name)
        if agreement(named, signer) is Agreement.UNSURE:
            return UNMET
    if person is None:
        return UNKNOWN
    if person.pesel is not None:
        return UNKNOWN if who.pesel is None else MET if who.pesel == person.pesel else UNMET
    return MET if agreement(signer, person) is Agreement.EXACT else UNKNOWN


_GIVEN = st.sampled_from(["Jan", "JAN", "Jana", "Jan Maria", "Anna", "Anna-Maria", "Anna Maria"])
_FAMILY = st.sampled_from(["Wymyślony", "Wymyślonego", "Wymys\u0301lony", "Niebyła", "Nowa - Stara", "Nowa-Stara", "Nowa Stara", "Stara"])  # fmt: skip
_NUMBER = st.sampled_from([None, JAN, ANNA])
_YEAR = st.sampled_from([None, 1990, 1991])


@given(
    who=st.builds(Signatory, given_names=_GIVEN, family_name=_FAMILY, pesel=_NUMBER, birth_year=_YEAR),
    application=st.none() | st.builds(Application, given_name=st.none() | _GIVEN, family_name=st.none() | _FAMILY, pesel=_NUMBER),
    person=st.none() | st.builds(Person, given_name=st.none() | _GIVEN, family_name=st.none() | _FAMILY, pesel=_NUMBER, birth_year=_YEAR),
)  # fmt: skip
def test_it_is_never_more_lenient_than_the_two_rules_that_it_took_the_place_of(
    who: Signatory, application: Application | None, person: Person | None
) -> None:
    verdict = STRICTNESS.index(same_person(who, application, person)[0])
    assert verdict >= STRICTNESS.index(by_the_procedure(who, application, person))
    if person is not None:
        if person.pesel is not None and who.pesel is not None:
            # A year is a part of the number; beside two numbers it adds nothing but a clerk's slip.
            person = person.model_copy(update={"birth_year": None})
        assert verdict >= STRICTNESS.index(by_the_signatures_page(who, person))
