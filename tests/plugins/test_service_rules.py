"""Rules U1 and P1 to P3, each verdict by each reason, and which rules each service request is held against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from desk import JAN, PACK
from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account, AccountFlag
from okienko.plugins.ports import Classification
from okienko.plugins.procedure import services
from okienko.plugins.senderproof import Proof, SenderVerdict
from okienko.plugins.signatures import (
    Application,
    Signatory,
    SignatureFormat,
    SignatureLevel,
    SignatureReport,
)
from okienko.plugins.testing import invented_pesel
from okienko.schemas import Address, Attachment, CaseKind, InboundMessage, Person, Procedure, Verdict
from okienko.schemas.pesel import Pesel

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN
LOCKED, DISABLED = AccountFlag.LOCKED, AccountFlag.DISABLED
PESEL, ANOTHER = invented_pesel(), invented_pesel()
PERSON = Person(given_name="Jan", family_name="Próbny", birth_year=1980, pesel=PESEL)
ACCOUNT = Account("ref", JAN, PERSON)
SIGNER = Signatory(given_names="Jan", family_name="Próbny", pesel=PESEL)
REPORT = SignatureReport(valid=True, format=SignatureFormat.PADES, level=SignatureLevel.QUALIFIED, signatory=SIGNER)
APPLICATION = Application(given_name="Jan", family_name="Próbny", new_login="nowy@poczta.example")
GOOD = Evidence(signature=REPORT, application=APPLICATION, carriers=(ACCOUNT,))
"""Of a PESEL conflict."""


@pytest.mark.parametrize(
    ("account", "verdict"),
    [
        (None, UNMET),
        (ACCOUNT, UNMET),
        (replace(ACCOUNT, flags=frozenset({LOCKED})), MET),
        (replace(ACCOUNT, flags=frozenset({LOCKED, AccountFlag.MUST_CHANGE})), MET),
        (replace(ACCOUNT, flags=frozenset({LOCKED, DISABLED})), UNMET),
        (replace(ACCOUNT, flags=frozenset({DISABLED})), UNMET),
        (replace(ACCOUNT, unknown_flags=frozenset({LOCKED})), UNKNOWN),
        (replace(ACCOUNT, flags=frozenset({DISABLED}), unknown_flags=frozenset({LOCKED})), UNMET),
    ],
)
def test_u1(account: Account | None, verdict: Verdict) -> None:
    assert services.is_locked(Evidence(looked_up=True, account=account))[0] is verdict


def test_u1_where_nobody_looks() -> None:
    assert services.is_locked(Evidence())[0] is UNKNOWN


@pytest.mark.parametrize(
    ("text", "changes", "verdict"),
    [
        ("", {}, MET),
        ("", {"signature": None}, UNKNOWN),
        ("", {"signature": REPORT.model_copy(update={"valid": False})}, UNKNOWN),
        ("", {"signature": REPORT.model_copy(update={"signatory": None})}, UNKNOWN),
        ("", {"signature": REPORT.model_copy(update={"signatory": SIGNER.model_copy(update={"pesel": None})})}, UNKNOWN),
        (f"numer {PESEL.reveal()}", {"signature": None}, UNKNOWN),
        (f"numer {PESEL.reveal()}", {}, MET),
        (f"numer {ANOTHER.reveal()}", {}, UNMET),
        (f"nie {ANOTHER.reveal()}, lecz {PESEL.reveal()}", {}, MET),
        ("tel. 00483348320, sprawa 12345678901, konto 112233445566778899", {}, MET),
        ("", {"application": APPLICATION.model_copy(update={"pesel": PESEL})}, MET),
        ("", {"application": APPLICATION.model_copy(update={"pesel": ANOTHER})}, UNMET),
        ("", {"application": None}, MET),
    ],
)  # fmt: skip
def test_p1(text: str, changes: dict[str, Any], verdict: Verdict) -> None:
    found, why = services.number_is_signed_for(text, replace(GOOD, **changes))
    assert found is verdict
    for number in (PESEL, ANOTHER):
        assert number.reveal() not in why


def test_p1_in_a_text_of_many_numbers_stays_fast_and_says_no_when_unsure() -> None:
    text = " ".join([ANOTHER.reveal()] * 10_000 + [PESEL.reveal()])
    assert services.number_is_signed_for(text, GOOD)[0] is UNMET


@pytest.mark.parametrize(
    ("carriers", "p2", "p3"),
    [
        (None, UNKNOWN, UNKNOWN),
        ((), UNMET, UNKNOWN),
        ((ACCOUNT,), MET, MET),
        ((replace(ACCOUNT, person=Person(given_name="JAN", family_name="próbny")),), MET, MET),
        ((replace(ACCOUNT, person=Person(given_name="Jana", family_name="Próbnego")),), MET, UNKNOWN),
        ((replace(ACCOUNT, person=Person(given_name="Ewa", family_name="Inna")),), MET, UNKNOWN),
        ((replace(ACCOUNT, person=Person()),), MET, UNKNOWN),
        ((ACCOUNT, replace(ACCOUNT, ref="other")), MET, UNKNOWN),
    ],
)
def test_p2_and_p3(carriers: tuple[Account, ...] | None, p2: Verdict, p3: Verdict) -> None:
    evidence = replace(GOOD, carriers=carriers)
    assert services.number_is_in_use(evidence)[0] is p2
    assert services.holder_is_applicant(evidence)[0] is p3


BORN_1885 = Pesel("85811500129")
"""Of 1885 by its month: a number that nobody has."""


@pytest.mark.parametrize(
    ("signatory", "account", "year"),
    [
        (SIGNER, ACCOUNT, 1980),
        (SIGNER, replace(ACCOUNT, person=PERSON.model_copy(update={"pesel": ANOTHER})), None),
        (SIGNER, None, None),
        (SIGNER.model_copy(update={"pesel": BORN_1885}), None, BORN_1885.birth_date.year),
        (SIGNER.model_copy(update={"pesel": None, "birth_year": 1979}), ACCOUNT, 1979),
        (SIGNER.model_copy(update={"pesel": None}), ACCOUNT, None),
    ],
)
def test_the_applicant_s_year_comes_from_the_signature(
    signatory: Signatory, account: Account | None, year: int | None
) -> None:
    evidence = replace(GOOD, account=account, signature=REPORT.model_copy(update={"signatory": signatory}))
    assert services.applicant(evidence).birth_year == year


def test_without_a_valid_signature_there_is_no_applicant() -> None:
    for changes in (
        {"signature": None},
        {"application": None},
        {"signature": REPORT.model_copy(update={"valid": False})},
    ):
        assert services.applicant(replace(GOOD, **changes)) == Person()


def message(subject: str = "NOWE", *, attached: bool = True) -> InboundMessage:
    file = Attachment(index=0, filename="wniosek.pdf", content_type="application/pdf", size=9, sha256="0" * 64)
    return InboundMessage(
        subject=subject, text="", sender=Address(address=JAN), attachments=(file,) if attached else ()
    )  # fmt: skip


SENDER = SenderVerdict(Proof.PROVED, "mx says so", JAN)
RULES = {
    Procedure.UNLOCK: ("C3", "S2", "A4", "U1"),
    Procedure.EMAIL_CHANGE: ("C3", "S2", "B3", "B4", "B5", "B6", "B7"),
    Procedure.EMAIL_CHANGE_NO_PASSWORDS: ("C3", "S2", "B3", "B4", "B5", "B6", "B7"),
    Procedure.PESEL_CONFLICT: ("C3", "S2", "B4", "B6", "P1", "P2", "P3"),
}


@pytest.mark.parametrize("procedure", RULES)
def test_the_first_decision_knows_the_mail_alone(procedure: Procedure) -> None:
    kind = Classification(CaseKind.SERVICE_REQUEST, procedure)
    for subject, attached in (("NOWE", True), ("NOWE", False), ("stare", True)):
        first = PACK.decide(message(subject, attached=attached), kind, Evidence())
        assert [r.rule for r in first.results] == ["C3", "S2"]
        assert first == PACK.decide(message(subject), kind, Evidence())
    second = PACK.decide(message(), kind, Evidence(sender=SENDER))
    assert tuple(r.rule for r in second.results) == RULES[procedure]
    assert all(r.text_pl and r.text_en for r in second.results)


@pytest.mark.parametrize("procedure", RULES)
def test_nothing_that_is_known_of_nobody_is_met(procedure: Procedure) -> None:
    """Without any evidence the second decision meets what the mail shows, and no rule about a person or an account."""
    decision = PACK.decide(message(), Classification(CaseKind.SERVICE_REQUEST, procedure), Evidence(sender=SENDER))
    assert set(decision.rules(MET)) <= {"C3", "S2", "B3"}


def test_without_an_attachment_nothing_is_signed() -> None:
    for procedure in (Procedure.EMAIL_CHANGE, Procedure.PESEL_CONFLICT):
        kind = Classification(CaseKind.SERVICE_REQUEST, procedure)
        decision = PACK.decide(message(attached=False), kind, Evidence(sender=SENDER))
        assert ("B3" if procedure is Procedure.EMAIL_CHANGE else "B4") in decision.rules(UNMET)
