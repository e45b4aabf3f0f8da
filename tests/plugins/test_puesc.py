"""The PUESC pack, rule by rule. All persons are invented."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import BODY_A, BODY_B, JAN, PACK, PHRASE_A, PHRASE_B, SUBJECT, A, B, attached, held, mail, unmet
from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account
from okienko.plugins.ports import ProcedurePack
from okienko.schemas import (
    Attachment,
    CaseKind,
    DecisionOutcome,
    Person,
    Verdict,
)


def test_it_is_a_procedure_pack() -> None:
    assert isinstance(PACK, ProcedurePack)
    assert PACK.name == "puesc"


# --- procedures A and B ---------------------------------------------------------------------------------------------


def test_a_is_met_as_far_as_a_mail_can_meet_it() -> None:
    classification, decision = held(mail(SUBJECT, BODY_A))
    assert (classification.kind, classification.procedure) == (CaseKind.RECOVERY, A)
    assert classification.person == Person(given_name="Jana", family_name="Próbnego", birth_year=1980)
    assert classification.login == JAN
    assert [r.rule for r in decision.results] == ["A1", "A2", "A3", "A4", "A5"]
    assert decision.rules(Verdict.MET) == ("A1", "A2", "A3")
    assert decision.outcome is DecisionOutcome.HUMAN


def test_b_is_met_as_far_as_a_mail_can_meet_it() -> None:
    message = mail(SUBJECT, f"{BODY_B}\nstary login: stary@poczta.example", attachments=(attached(),))
    classification, decision = held(message)
    assert (classification.procedure, classification.login) == (B, "stary@poczta.example")
    assert [r.rule for r in decision.results] == ["B1", "B2", "B3", "B4", "B5", "B6", "B7"]
    assert decision.rules(Verdict.MET) == ("B1", "B2", "B3")
    assert decision.results[2].evidence == "an attachment that could be the application is there; it was not read yet"
    assert held(mail(SUBJECT, BODY_B))[0].login is None


@pytest.mark.parametrize(
    ("subject", "text", "missing"),
    [
        (SUBJECT.lower(), BODY_A, ("A1",)),
        ("HASLO AWARYJNE PUESC PROCEDURA SPECJALNA", BODY_A, ("A1",)),
        *((f"{prefix} {SUBJECT}", BODY_A, ("A1",)) for prefix in ("Re:", "Fwd:", "Odp:", "PD:", "RE: FW:", "NOWE")),
        (f"{SUBJECT} - pilne", BODY_A, ("A1",)),
        ("HASŁO AWARYJNE – PUESC – PROCEDURA SPECJALNA", BODY_A, ("A1",)),
        ("", BODY_A, ("A1",)),
        ("NOWE problem", BODY_A, ("A1",)),
        (SUBJECT, PHRASE_A, ("A2", "A3")),
        (SUBJECT, f"{PHRASE_A} Jana Próbnego", ("A3",)),
        (SUBJECT, f"{PHRASE_A}, rok urodzenia 1980", ("A2",)),
        (SUBJECT, f"{PHRASE_A} Jana, rok urodzenia 1980", ("A2",)),
        (SUBJECT, BODY_A.lower(), ("A2",)),
        (SUBJECT, BODY_A.replace("ę", "e").replace("ł", "l"), ("A2",)),
        (SUBJECT, BODY_A.replace("zmianę hasła", "zmianę mojego hasła"), ("A2", "A3")),
        (SUBJECT, BODY_A.replace("dla", "dlaczego"), ("A2", "A3")),
        (SUBJECT, "nie działa", ("A2", "A3")),
        (SUBJECT, "", ("A2", "A3")),
        (f"Re: {SUBJECT}", "nie działa", ("A1", "A2", "A3")),
        ("haslo awaryjne puesc procedura specialna", "nie działa", ("A1", "A2", "A3")),
        ("PROCEDURA SPECJALNA: HASŁO AWARYJNE PUESC", "nie działa", ("A1", "A2", "A3")),
        (SUBJECT, BODY_B, ("B3",)),
        (f"Odp: {SUBJECT}", BODY_B, ("B1", "B3")),
        (SUBJECT, f"{PHRASE_B} Jana Próbnego", ("B2", "B3")),
        (SUBJECT, f"{PHRASE_B} rok urodzenia 1980", ("B2", "B3")),
        (SUBJECT, BODY_B.replace("e-mail", "e–mail"), ("B2", "B3")),
        (SUBJECT, BODY_B.replace("e-mail", "email"), ("B2", "B3")),
        (SUBJECT, "Proszę o nowe hasło i zmianę adresu e-mail", ("B2", "B3")),
        # Misses of the sentence alone.
        ("Prośba", BODY_A, ("A1",)),
        ("Prośba", BODY_A.upper(), ("A1", "A2")),
        ("Prośba", BODY_B.replace("e-mail", "email"), ("B1", "B2", "B3")),
        ("Prośba", BODY_A.replace(" dla", ""), ("A1", "A2", "A3")),
        ("Prośba", BODY_B.replace("oraz", "i"), ("B1", "B2", "B3")),
        # Copied badly.
        ("HASŁO AWARYJNE PUESC", BODY_A, ("A1",)),
        ("Odp: PUESC PROCEDURA SPECJALNA", "nie działa", ("A1", "A2", "A3")),
        ("HASŁOAWARYJNEPUESCPROCEDURASPECJALNA", BODY_A, ("A1",)),
        ("Re[2]: ODP: PD: HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA", BODY_A, ("A1",)),
    ],
)
def test_misses_are_recovery_cases_that_name_what_is_missing(subject: str, text: str, missing: tuple[str, ...]) -> None:
    classification, decision = held(mail(subject, text))
    assert classification.kind is CaseKind.RECOVERY
    assert decision.rules(Verdict.UNMET) == missing
    for result in decision.results:
        assert result.text_pl
        assert result.text_en
        assert result.evidence


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (SUBJECT, BODY_A),
        (f" {SUBJECT.replace(' ', chr(160))}\t", BODY_A.replace(" ", "\n")),
        (
            SUBJECT.replace(" ", "  "),
            f"Dzień dobry,\n\n{PHRASE_A}\n\nJana\nPróbnego\n1980\n\n-- \nFirma\nKlauzula 2020",
        ),
        (SUBJECT, "Proszę o zmianę\nhasła awaryjnego\u00a0dla \r\nJana Próbnego\r\nrok urodzenia: 1980"),
        (SUBJECT, f"\n\n  {PHRASE_A}   Jana Próbnego\n\n  rok urodzenia 1980  \n Ta wiadomość jest poufna."),
        # As it comes out of a table in HTML.
        (
            SUBJECT,
            f"\u00a0\n{PHRASE_A.replace(' ', chr(160) + ' ')}\n\t\n\tJana\u00a0Próbnego\n\t\u00a0\n\trok urodzenia\n\t1980\n",
        ),
    ],
)
def test_transport_and_layout_are_no_differences(subject: str, text: str, form: str) -> None:
    message = mail(unicodedata.normalize(form, subject), unicodedata.normalize(form, text))
    assert unmet(message) == ()


@pytest.mark.parametrize(
    "quoted",
    [
        f"> {BODY_A}\n> Temat: {SUBJECT}",
        f"W dniu 23.11.2026 o 10:00, Help Desk SISC pisze:\n{BODY_A}",
        f"W dniu pon., 23 lis 2026 o 10:00 Help Desk SISC <helpdesk@okienko.invalid>\nnapisał(a):\n\n{BODY_A}",
        f"pon., 23 lis 2026 o 10:00 Help Desk <helpdesk@okienko.invalid> napisał(a):\n{BODY_A}",
        f"On Mon, Nov 23, 2026 at 10:00 Help Desk wrote:\n{BODY_A}",
        f"-----Original Message-----\n{BODY_A}",
        f"-----Wiadomość oryginalna-----\n{BODY_A}",
        f"Wiadomość napisana przez Help Desk <helpdesk@okienko.invalid> w dniu 23.11.2026, o godz. 10:00:\n\n{BODY_A}",
        f"From: Help Desk\nSent: Monday\nTo: Jan\n\n{BODY_A}",
        f"*Od:* Help Desk\n*Wysłano:* poniedziałek\n*Do:* Jan\n\n{BODY_A}",
    ],
)
def test_what_is_quoted_does_not_count(quoted: str) -> None:
    classification, decision = held(mail("Re: Zgłoszenie ZGL000000001", f"Dziękuję, czekam.\n\n{quoted}"))
    assert classification.kind is CaseKind.FOLLOW_UP
    assert decision.outcome is None
    assert unmet(mail(SUBJECT, f"proszę\n{quoted}")) == ("A2", "A3")
    assert unmet(mail(SUBJECT, f"{BODY_A}\n{quoted}")) == ()


def test_an_answer_below_the_marked_quotation_counts() -> None:
    quoted = (
        "W dniu 23.11.2026 o 10:00, Help Desk SISC <helpdesk@okienko.invalid>\nnapisał(a):\n> Brakuje:\n>\n> - rok\n\n"
    )
    assert unmet(mail(SUBJECT, f"{quoted}{BODY_A}")) == ()
    assert unmet(mail(SUBJECT, f"{quoted}> {BODY_A}")) == ("A2", "A3")


def test_the_instruction_copied_with_its_sentence() -> None:
    copied = f"Treść wiadomości – {PHRASE_A} (podaj swoje imię i nazwisko oraz rok urodzenia)"
    assert unmet(mail(SUBJECT, copied)) == ("A2", "A3")
    classification, decision = held(mail(SUBJECT, f"{copied}\n\n{BODY_A}"))
    assert decision.rules(Verdict.UNMET) == ()
    assert classification.person == Person(given_name="Jana", family_name="Próbnego", birth_year=1980)


def test_the_longer_sentence_is_not_taken_for_the_shorter_one() -> None:
    for text in (BODY_B, BODY_B.lower(), BODY_B.replace("e-mail", "email"), BODY_B.replace(" ", "\n")):
        assert PACK.classify(mail(SUBJECT, text)).procedure is B
    assert PACK.classify(mail(SUBJECT, f"{BODY_A}\n{BODY_B.lower()}")).procedure is A
    assert PACK.classify(mail(SUBJECT, f"{BODY_A}\n{BODY_B}")).procedure is B


LETTERS = "aąbcćdeęłńóśźżxyzAĄBCĆDEĘŁŃÓŚŹŻXYZ0159.,:;!-–—_/()[]\"'?*"


@given(st.integers(0, len(SUBJECT)), st.sampled_from(["insert", "replace", "delete", "swap"]), st.sampled_from(LETTERS))
def test_any_single_change_of_the_subject_is_a_miss_of_it(place: int, what: str, letter: str) -> None:
    end = place + (what != "insert")
    new = {"insert": letter, "replace": letter, "delete": "", "swap": SUBJECT[place : place + 1].swapcase()}[what]
    changed = SUBJECT[:place] + new + SUBJECT[end:]
    if changed == SUBJECT:
        return
    classification, decision = held(mail(changed, BODY_A))
    assert classification.kind is CaseKind.RECOVERY
    assert decision.rules(Verdict.UNMET) == ("A1",)
    # The subject alone is recognised too.
    assert unmet(mail(changed, "Dzień dobry")) == ("A1", "A2", "A3")


@given(st.integers(0, len(PHRASE_A) - 1), st.sampled_from(LETTERS))
def test_any_single_change_of_the_sentence_is_a_miss_of_it(place: int, letter: str) -> None:
    changed = PHRASE_A[:place] + letter + PHRASE_A[place + 1 :]
    if changed == PHRASE_A:
        return
    decision = held(mail(SUBJECT, f"{changed} Jana Próbnego, rok urodzenia 1980"))[1]
    assert "A2" in decision.rules(Verdict.UNMET)


def test_a_from_proves_nothing_so_a4_and_b6_are_never_met_by_it() -> None:
    jan = Account("ref", JAN, Person(given_name="Jan", family_name="Próbny", birth_year=1980))
    message = mail(SUBJECT, BODY_A, authentication_results=("mx.example; dmarc=pass header.from=poczta.example",))
    decision = held(message, Evidence(looked_up=True, account=jan))[1]
    assert decision.rules(Verdict.UNKNOWN) == ("A4",)
    assert decision.results[3].evidence == "the sender was not checked"
    assert decision.rules(Verdict.UNMET) == ()
    assert unmet(mail(SUBJECT, BODY_A, sender=None)) == ("A4",)
    assert unmet(mail(SUBJECT, BODY_B, sender=None, attachments=(attached(),))) == ("B6",)


def test_account_rules_are_unknown_before_the_first_answer() -> None:
    """So that nothing that a person is told can depend on an account."""
    assert held(mail(SUBJECT, BODY_A), Evidence())[1].rules(Verdict.UNKNOWN) == ("A4", "A5")
    decision = held(mail(SUBJECT, BODY_B, attachments=(attached(),)), Evidence())[1]
    assert decision.rules(Verdict.UNKNOWN) == ("B4", "B5", "B6", "B7")


@pytest.mark.parametrize(
    "name",
    ["wniosek.pdf", "W.XML", "w.docx", "w.odt", "w.asice", "w.sig", "w.p7m", "w.xades", "wniosek.pdf.p7s", "bez_nazwy"],
)
def test_b3_any_document_could_be_the_application(name: str) -> None:
    assert unmet(mail(SUBJECT, BODY_B, attachments=(attached(name, "application/octet-stream"),))) == ()


@pytest.mark.parametrize(
    "other",
    [
        attached("logo.png", "image/png"),
        attached("LOGO.JPG", "application/octet-stream"),
        attached("smime.p7s", "application/pkcs7-signature"),
        attached("jan.vcf", "text/vcard"),
        # What Exchange makes of footers and inline parts.
        attached("ATT00001.txt", "text/plain"),
        attached("ATT00002.htm", "text/html"),
        attached("signature.asc", "application/pgp-signature"),
        attached(size=0),
    ],
)
def test_b3_pictures_and_empty_files_are_no_application(other: Attachment) -> None:
    decision = held(mail(SUBJECT, BODY_B, attachments=(other,)))[1]
    assert decision.rules(Verdict.UNMET) == ("B3",)
    assert decision.results[3].evidence == "no signature verifier has looked at the application"
    assert unmet(mail(SUBJECT, BODY_B, attachments=(other, attached()))) == ()
