"""The PUESC pack, rule by rule. All persons are invented."""

from __future__ import annotations

import datetime as dt
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okienko.plugins.context import PluginContext
from okienko.plugins.ports import AccountFacts, Classification, Evidence, ProcedurePack
from okienko.plugins.puesc import okienko_procedures
from okienko.schemas import (
    Address,
    Attachment,
    CaseKind,
    Decision,
    DecisionOutcome,
    InboundMessage,
    Person,
    Procedure,
    Verdict,
)

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
(PACK,) = okienko_procedures(PluginContext(Path("/nonexistent"), {}, lambda: NOW))
SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
PHRASE_A = "Proszę o zmianę hasła awaryjnego dla"
PHRASE_B = "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla"
BODY_A = f"{PHRASE_A} Jana Próbnego, rok urodzenia 1980"
BODY_B = f"{PHRASE_B} Jana Próbnego, rok urodzenia 1980"
JAN = "jan@poczta.example"
A, B, C = Procedure.EMERGENCY_PASSWORD, Procedure.EMERGENCY_PASSWORD_AND_EMAIL, Procedure.SELF_SERVICE


def attached(name: str = "wniosek.pdf", kind: str = "application/pdf", size: int = 9) -> Attachment:
    return Attachment(index=0, filename=name, content_type=kind, size=size, sha256="0" * 64)


def mail(subject: str, text: str, sender: str | None = JAN, **more: Any) -> InboundMessage:
    return InboundMessage(subject=subject, text=text, sender=Address(address=sender) if sender else None, **more)


def held(message: InboundMessage, evidence: Evidence | None = None) -> tuple[Classification, Decision]:
    classification = PACK.classify(message)
    decision = PACK.decide(message, classification, evidence or Evidence())
    # What was read on the way is a shortcut only.
    plain = Classification(classification.kind, classification.procedure, classification.person, classification.login)
    assert PACK.decide(message, plain, evidence or Evidence()) == decision
    return classification, decision


def unmet(message: InboundMessage) -> tuple[str, ...]:
    return held(message)[1].rules(Verdict.UNMET)


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
    assert "attachment wniosek.pdf present" in decision.results[2].evidence
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


def test_a_from_proves_nothing_so_a4_and_b6_are_never_met() -> None:
    account = Evidence(AccountFacts(True, True, Person(given_name="Jana", family_name="Próbnego", birth_year=1980)))
    message = mail(SUBJECT, BODY_A, authentication_results=("mx.example; dmarc=pass header.from=poczta.example",))
    decision = held(message, account)[1]
    assert decision.rules(Verdict.UNKNOWN) == ("A4",)
    assert JAN in decision.results[3].evidence
    assert "1 Authentication-Results" in decision.results[3].evidence
    assert unmet(mail(SUBJECT, BODY_A, sender=None)) == ("A4",)
    assert unmet(mail(SUBJECT, BODY_B, sender=None, attachments=(attached(),))) == ("B6",)


@pytest.mark.parametrize("procedure", [BODY_A, BODY_B])
@pytest.mark.parametrize(
    "account",
    [
        None,
        AccountFacts(False),
        AccountFacts(True, False),
        AccountFacts(True, True),
        AccountFacts(True, True, Person(given_name="Jan", family_name="Próbny", birth_year=1980)),
        AccountFacts(True, True, Person(given_name="Ewa", family_name="Inna", birth_year=1990)),
    ],
)
def test_what_a_person_is_told_never_depends_on_the_account(procedure: str, account: AccountFacts | None) -> None:
    for subject in (SUBJECT, f"Re: {SUBJECT}"):
        message = mail(subject, procedure)
        assert held(message, Evidence(account))[1].rules(Verdict.UNMET) == unmet(message)


def test_account_rules_are_unknown_without_a_look_up() -> None:
    for evidence in (Evidence(), Evidence(AccountFacts(False))):
        assert held(mail(SUBJECT, BODY_A), evidence)[1].rules(Verdict.UNKNOWN) == ("A4", "A5")
        decision = held(mail(SUBJECT, BODY_B, attachments=(attached(),)), evidence)[1]
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
    assert decision.results[3].evidence == "no application to check"
    assert unmet(mail(SUBJECT, BODY_B, attachments=(other, attached()))) == ()


# --- everything else ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "text", "kind", "procedure"),
    [
        ("NOWE", "Nie mogę wysłać zgłoszenia celnego.", CaseKind.TICKET, None),
        ("Pytanie", "Jak założyć konto?", CaseKind.TICKET, None),
        ("", "", CaseKind.TICKET, None),
        ("NOWE", "Nie pamiętam hasła.", CaseKind.TICKET, None),
        ("NOWE", "Nie pamiętam hasła awaryjnego.", CaseKind.TICKET, None),
        ("NOWE", "Nie pamiętam haslo awaryjne i nie mogę się zalogować.", CaseKind.TICKET, None),
        ("NOWE", "Nie bardzo pamiętam swoje hasło awaryjne, nie mogę się zalogować.", CaseKind.TICKET, None),
        ("NOWE", "Proszę o odblokowanie przesyłki.", CaseKind.TICKET, None),
        ("NOWE logowanie", "Pamiętam hasło awaryjne, nie mogę się zalogować.", CaseKind.RECOVERY, C),
        ("hasło", "nie pamiętam hasła podstawowego, ale pamiętam hasło awaryjne", CaseKind.RECOVERY, C),
        ("NOWE", "Znam swoje hasło awaryjne. Jak zmienić hasło podstawowe?", CaseKind.RECOVERY, C),
        ("Reklamacja", "Odpowiedź jest błędna.", CaseKind.COMPLAINT, None),
        ("NOWE", "składam reklamację do ZGL000000012", CaseKind.COMPLAINT, None),
        ("ZGL000000012", "PROSZĘ O DODATKOWE WYJAŚNIENIA", CaseKind.COMPLAINT, None),
        ("NOWE", "Prośba o dodatkowe wyjaśnienia", CaseKind.COMPLAINT, None),
        ("NOWE", "Nie mogę założyć konta, PESEL już istnieje w systemie.", CaseKind.SERVICE_REQUEST, "pesel_conflict"),
        ("NOWE konto", "Mój numer PESEL jest zajęty.", CaseKind.SERVICE_REQUEST, "pesel_conflict"),
        ("NOWE rejestracja", "Komunikat: PESEL jest już w systemie.", CaseKind.SERVICE_REQUEST, "pesel_conflict"),
        ("NOWE", "Moje konto zostało zablokowane.", CaseKind.SERVICE_REQUEST, "unlock"),
        ("NOWE", "Po trzykrotnym niepoprawnym logowaniu nie wejdę.", CaseKind.SERVICE_REQUEST, "unlock"),
        ("NOWE odblokowanie konta", "Proszę.", CaseKind.SERVICE_REQUEST, "unlock"),
        ("NOWE", "Zmiana adresu e-mail, nie pamiętam hasła podstawowego.", CaseKind.SERVICE_REQUEST, "email_change"),
        (
            "NOWE zmiana adresu email",
            "Nie pamiętam hasła podstawowego i awaryjnego.",
            CaseKind.SERVICE_REQUEST,
            "email_change_no_passwords",
        ),
        (
            "NOWE",
            "Zmiana adresu e-mail: nie pamiętam hasła podstawowego, pamiętam hasło awaryjne.",
            CaseKind.SERVICE_REQUEST,
            "email_change",
        ),
        ("NOWE", "Zapomniałam hasła i chcę zmienić adres e-mail.", CaseKind.SERVICE_REQUEST, "email_change"),
        (
            "NOWE",
            "Zapomniałam hasła podstawowego, mam hasło awaryjne. Chcę zmienić adres e-mail.",
            CaseKind.SERVICE_REQUEST,
            "email_change",
        ),
        (
            "NOWE",
            "Zapomniałem hasła podstawowego i awaryjnego. Proszę o zmianę maila.",
            CaseKind.SERVICE_REQUEST,
            "email_change_no_passwords",
        ),
        ("NOWE", "Zapomniałem hasła podstawowego. Hasło awaryjne pamiętam.", CaseKind.RECOVERY, C),
        ("NOWE", "Nie pamiętam hasła podstawowego, hasło awaryjne jednak pamiętam.", CaseKind.RECOVERY, C),
        ("NOWE", "Zapomniałem hasła awaryjnego, nie mogę się zalogować.", CaseKind.TICKET, None),
        (
            "NOWE",
            "Zapomniałem, czy mam hasło awaryjne. Jak się zalogować, gdy hasła awaryjnego nie pamiętam?",
            CaseKind.TICKET,
            None,
        ),
        # Rule S2 in its own words.
        (
            "NOWE",
            "Zmiany adresu e-mail na koncie PUESC, gdy użytkownik nie pamięta hasła podstawowego.",
            CaseKind.SERVICE_REQUEST,
            "email_change",
        ),
        (
            "NOWE",
            "Zmiany adresu e-mail na koncie PUESC, gdy użytkownik nie pamięta hasła podstawowego i hasła awaryjnego.",
            CaseKind.SERVICE_REQUEST,
            "email_change_no_passwords",
        ),
        (
            "NOWE",
            "Braku możliwości założenia konta na PUESC z powodu podania istniejącego już w systemie numeru PESEL.",
            CaseKind.SERVICE_REQUEST,
            "pesel_conflict",
        ),
        (
            "NOWE",
            "Przywrócenia możliwości logowania na stronie PUESC po trzykrotnym podaniu niepoprawnego loginu i/lub hasła.",
            CaseKind.SERVICE_REQUEST,
            "unlock",
        ),
        ("Re: ZGL000000012", "Co dalej?", CaseKind.FOLLOW_UP, None),
    ],
)
def test_kinds(subject: str, text: str, kind: CaseKind, procedure: str | None) -> None:
    classification, _ = held(mail(subject, text))
    assert (classification.kind, classification.procedure) == (kind, procedure)


@pytest.mark.parametrize(
    ("subject", "met"),
    [
        ("NOWE", True), ("nowe: błąd", True), ("Re: Nowe", True), ("Błąd (NOWE)", True), ("[NOWE] x", True), ("x NOWE", True),
        ("", False), ("NOWEGO", False), ("ODNOWE", False), ("N O W E", False), ("błąd", False), ("NOWE_1", False),
    ],
)  # fmt: skip
def test_c3(subject: str, met: bool) -> None:
    decision = held(mail(subject, "Nie działa."))[1]
    assert [(r.rule, r.verdict) for r in decision.results] == [("C3", Verdict.MET if met else Verdict.UNMET)]


def test_s2_s3_and_c() -> None:
    assert held(mail("NOWE odblokowanie konta", ""))[1].rules(Verdict.MET) == ("C3", "S2")
    assert held(mail("odblokowanie konta", ""))[1].rules(Verdict.UNMET) == ("C3",)
    assert [(r.rule, r.verdict) for r in held(mail("Reklamacja", ""))[1].results] == [("S3", Verdict.UNMET)]
    decision = held(mail("logowanie", "Pamiętam hasło awaryjne"))[1]
    assert [(r.rule, r.verdict) for r in decision.results] == [("C", Verdict.MET)]


@pytest.mark.parametrize(
    ("subject", "text", "outranks"),
    [
        (SUBJECT, "", True),
        (SUBJECT, BODY_A, True),
        ("Re: ZGL000000001", BODY_A, True),
        ("Re: ZGL000000001", BODY_B, True),
        (f"Re: {SUBJECT}", "Kiedy będzie odpowiedź?", False),
        ("Re: ZGL000000001", f"Dziękuję\n> {BODY_A}", False),
        ("logowanie", "Pamiętam hasło awaryjne", False),
        ("NOWE", "Nie działa.", False),
    ],
)
def test_what_outranks_threading(subject: str, text: str, outranks: bool) -> None:
    assert PACK.outranks_threading(PACK.classify(mail(subject, text))) is outranks


def test_a_classification_from_elsewhere_outranks_by_its_procedure() -> None:
    assert PACK.outranks_threading(Classification(CaseKind.RECOVERY, A))
    assert not PACK.outranks_threading(Classification(CaseKind.TICKET))


def test_only_self_service_needs_no_registration() -> None:
    for kind in CaseKind:
        assert PACK.needs_registration(Classification(kind))
    assert not PACK.needs_registration(Classification(CaseKind.RECOVERY, C))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("ZGL000000123", ["ZGL000000123"]),
        ("Re: zgl 1234!", ["ZGL000001234"]),
        ("ZGL-1234, ZGL:1234, Zgl nr 1234, ZGL nr. 1234, ZGL numer: 1234", ["ZGL000001234"]),
        ("ZGL\u00a01234 i ZGL5678", ["ZGL000001234", "ZGL000005678"]),
        ("ZGL0000000001234", ["ZGL0000000001234"]),
        ("ZGL123", []),
        ("XZGL1234", []),
        ("numer 1234", []),
        ("ZGL", []),
    ],
)
def test_numbers_in(text: str, numbers: list[str]) -> None:
    assert list(PACK.numbers_in(text)) == numbers


@settings(deadline=None)
@given(
    st.one_of(st.text(max_size=80), st.sampled_from([SUBJECT, f"Re: {SUBJECT}"])),
    st.lists(st.one_of(st.text(max_size=40), st.sampled_from([PHRASE_A, PHRASE_B, "\n", "> ", "Jan Próbny", "1980"]))),
)
def test_it_always_answers(subject: str, parts: list[str]) -> None:
    held(mail(subject, " ".join(parts)))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "> " * 500_000,
        "\n" * 1_000_000,
        "W dniu " * 150_000,
        "x@" * 500_000,
        "nie pamietam mail " * 60_000,
    ],
)
def test_a_huge_body_costs_little(text: str) -> None:
    started = time.perf_counter()
    held(mail(SUBJECT, text))
    held(mail("NOWE", text))
    held(mail("NOWE", f"{PHRASE_A.lower()} {text}"))
    assert time.perf_counter() - started < 5
