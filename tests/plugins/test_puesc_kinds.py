"""The PUESC pack: what a mail is, beside the recovery procedures. All persons are invented."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk import BODY_A, BODY_B, PACK, PHRASE_A, PHRASE_B, SUBJECT, A, C, held, mail
from okienko.plugins.ports import Classification
from okienko.schemas import (
    CaseKind,
    Verdict,
)


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
        ("Re: OK000000017 i zgl 1234, ok 000000017", ["OK000000017", "ZGL000001234"]),
        ("OK 2026, OK12345678", []),
        (PACK.own_number(12345678901), ["OK12345678901"]),
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
@pytest.mark.timeout(60)
def test_a_huge_body_costs_little(text: str) -> None:
    held(mail(SUBJECT, text))
    held(mail("NOWE", text))
    held(mail("NOWE", f"{PHRASE_A.lower()} {text}"))
