"""Rules A4, A5 and B3 to B7, each verdict by each reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from desk import JAN
from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account
from okienko.plugins.procedure import accounts
from okienko.plugins.senderproof import Proof, SenderVerdict
from okienko.plugins.signatures import (
    Application,
    Signatory,
    SignatureFormat,
    SignatureLevel,
    SignatureProblem,
    SignatureReport,
)
from okienko.plugins.testing import invented_pesel
from okienko.schemas import Person, Verdict

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN
NEW = "nowy@poczta.example"
PESEL = invented_pesel()
CLAIMED = Person(given_name="Jana", family_name="Próbnego", birth_year=1980)
PERSON = Person(given_name="Jan", family_name="Próbny", birth_year=1980, pesel=PESEL)
ACCOUNT = Account("ref", JAN, PERSON)
APPLICATION = Application(given_name="Jan", family_name="Próbny", old_login=JAN, new_login=NEW)
SIGNER = Signatory(given_names="Jan", family_name="Próbny", pesel=PESEL)
REPORT = SignatureReport(valid=True, format=SignatureFormat.PADES, level=SignatureLevel.QUALIFIED, signatory=SIGNER)


def proved(address: str = JAN, proof: Proof = Proof.PROVED) -> SenderVerdict:
    return SenderVerdict(proof, "mx says so", address)


GOOD_A = Evidence(looked_up=True, account=ACCOUNT, sender=proved())
GOOD_B = Evidence(True, ACCOUNT, new_login_taken=False, sender=proved(NEW), signature=REPORT, application=APPLICATION)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, MET),
        ({"sender": None}, UNKNOWN),
        ({"sender": proved(proof=Proof.UNPROVED)}, UNKNOWN),
        ({"sender": proved(proof=Proof.FAILED)}, UNMET),
        ({"looked_up": False, "account": None}, UNKNOWN),
        ({"account": None}, UNMET),
        ({"sender": proved("JAN@poczta.example")}, MET),
        # What is proved must be the login, however the mail was read: `From: jan@…, zly@…` and its like.
        ({"sender": proved("zly@evil.invalid")}, UNMET),
        ({"sender": replace(proved(), address=None)}, UNMET),
        (
            {"sender": proved("jan@xn--gwka-qqa78b.example"), "account": replace(ACCOUNT, login="jan@główka.example")},
            MET,
        ),
    ],
)
def test_a4(changes: dict[str, object], verdict: Verdict) -> None:
    assert accounts.sender_is_login(replace(GOOD_A, **changes))[0] is verdict


@pytest.mark.parametrize(
    ("person", "verdict"),
    [
        (PERSON, MET),
        (PERSON.model_copy(update={"birth_year": None, "pesel": None}), UNKNOWN),
        (PERSON.model_copy(update={"birth_year": 1981}), UNMET),
        (PERSON.model_copy(update={"given_name": "Ewa"}), UNKNOWN),
        (PERSON.model_copy(update={"given_name": None, "family_name": None}), UNKNOWN),
        (PERSON.model_copy(update={"given_name": "Próbny", "family_name": "Jan"}), UNKNOWN),
    ],
)
def test_a5(person: Person, verdict: Verdict) -> None:
    evidence = replace(GOOD_A, account=replace(ACCOUNT, person=person))
    assert accounts.person_agrees(CLAIMED, evidence)[0] is verdict


def test_a5_without_an_account() -> None:
    assert accounts.person_agrees(CLAIMED, replace(GOOD_A, account=None))[0] is UNMET
    assert accounts.person_agrees(CLAIMED, Evidence())[0] is UNKNOWN


@pytest.mark.parametrize("missing", ["given_name", "family_name", "old_login", "new_login"])
def test_b3(missing: str) -> None:
    assert accounts.application_is_complete(APPLICATION)[0] is MET
    assert accounts.application_is_complete(None)[0] is UNKNOWN
    assert accounts.application_is_complete(APPLICATION.model_copy(update={missing: None}))[0] is UNKNOWN


def test_b3_says_what_was_typed_and_typing_alone_completes_nothing() -> None:
    everything = ("given_name", "family_name", "old_login", "new_login")
    assert accounts.application_is_complete(APPLICATION, everything) == (
        MET, "typed by an administrator beside the document: given name, family name, lost e-mail, new e-mail",
    )  # fmt: skip
    assert accounts.application_is_complete(APPLICATION, ["new_login"]) == (
        MET, "typed by an administrator beside the document: new e-mail; the rest was read from it",
    )  # fmt: skip
    lacking = APPLICATION.model_copy(update={"old_login": None})
    assert accounts.application_is_complete(lacking, ["new_login"])[0] is UNKNOWN
    assert accounts.application_is_complete(None, everything)[0] is UNKNOWN


def test_b4() -> None:
    broken = REPORT.model_copy(update={"valid": False, "problems": (SignatureProblem(code="revoked", text="x"),)})
    assert accounts.is_signed(GOOD_B)[0] is MET
    assert accounts.is_signed(replace(GOOD_B, signature=None))[0] is UNKNOWN
    assert accounts.is_signed(replace(GOOD_B, signature=broken)) == (UNMET, "the signature does not count: revoked")
    assert accounts.is_signed(replace(GOOD_B, signature=REPORT.model_copy(update={"level": None})))[0] is UNMET


@pytest.mark.parametrize(
    ("signer", "person", "verdict"),
    [
        (SIGNER, PERSON, MET),
        (SIGNER.model_copy(update={"pesel": invented_pesel()}), PERSON, UNMET),
        (SIGNER.model_copy(update={"pesel": None}), PERSON, UNKNOWN),
        # A name that changed since is for a human, even where the number agrees.
        (SIGNER, PERSON.model_copy(update={"family_name": "Dawny"}), UNMET),
        (SIGNER.model_copy(update={"pesel": None}), PERSON.model_copy(update={"pesel": None}), MET),
        (
            SIGNER.model_copy(update={"pesel": None}),
            PERSON.model_copy(update={"pesel": None, "given_name": "Ewa"}),
            UNMET,
        ),
        # The number says 22xx, the account 1980.
        (SIGNER, PERSON.model_copy(update={"pesel": None}), UNMET),
        (SIGNER.model_copy(update={"given_names": "Ewa", "family_name": "Inna"}), PERSON, UNMET),
    ],
)
def test_b5(signer: Signatory, person: Person, verdict: Verdict) -> None:
    report = REPORT.model_copy(update={"signatory": signer})
    evidence = replace(GOOD_B, signature=report, account=replace(ACCOUNT, person=person))
    assert accounts.signatory_is_applicant(evidence)[0] is verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": None},
        {"signature": REPORT.model_copy(update={"valid": False})},
        {"signature": REPORT.model_copy(update={"signatory": None})},
        {"looked_up": False, "account": None},
        {"account": None},
    ],
)
def test_b5_without_a_signatory_or_an_account(changes: dict[str, object]) -> None:
    assert accounts.signatory_is_applicant(replace(GOOD_B, **changes))[0] is UNKNOWN


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, MET),
        ({"sender": None}, UNKNOWN),
        ({"sender": proved(JAN)}, UNMET),
        ({"sender": proved(NEW, Proof.FAILED)}, UNMET),
        ({"sender": proved(NEW, Proof.UNPROVED)}, UNKNOWN),
        ({"application": None}, UNKNOWN),
        ({"application": APPLICATION.model_copy(update={"new_login": None})}, UNKNOWN),
        ({"application": APPLICATION.model_copy(update={"new_login": NEW.upper()})}, MET),
    ],
)
def test_b6(changes: dict[str, object], verdict: Verdict) -> None:
    assert accounts.sender_is_new_login(replace(GOOD_B, **changes))[0] is verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, MET),
        ({"looked_up": False}, UNKNOWN),
        ({"account": None}, UNMET),
        ({"new_login_taken": True}, UNMET),
        ({"new_login_taken": None}, UNKNOWN),
        ({"account": replace(ACCOUNT, person=PERSON.model_copy(update={"birth_year": 1990}))}, UNMET),
    ],
)
def test_b7(changes: dict[str, object], verdict: Verdict) -> None:
    assert accounts.logins_are_right(CLAIMED, replace(GOOD_B, **changes))[0] is verdict


def test_no_evidence_names_a_person_an_address_or_a_number() -> None:
    for evidence in (GOOD_A, GOOD_B, replace(GOOD_B, account=None), replace(GOOD_B, sender=proved("zly@evil.invalid"))):
        said = [
            accounts.sender_is_login(evidence), accounts.person_agrees(CLAIMED, evidence), accounts.is_signed(evidence),
            accounts.application_is_complete(evidence.application), accounts.signatory_is_applicant(evidence),
            accounts.sender_is_new_login(evidence), accounts.logins_are_right(CLAIMED, evidence),
        ]  # fmt: skip
        for _, text in said:
            for secret in ("Jan", "Próbn", "@", "1980", PESEL.reveal()):
                assert secret not in text
