"""Messages to people: Polish first, English below. All persons are invented."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from uuid import UUID

import jinja2
import pytest

from okienko.plugins.context import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account, AccountFlag
from okienko.plugins.ports import NotificationContext, RenderedText
from okienko.plugins.procedure.model import read_pack
from okienko.plugins.procedure.render import Templates
from okienko.plugins.puesc import SHIPPED, okienko_procedures
from okienko.schemas import (
    Address,
    Case,
    CaseKind,
    CaseState,
    ChannelName,
    CsdRef,
    InboundMessage,
    NotificationKind,
    Person,
    Verdict,
)

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
(PACK,) = okienko_procedures(PluginContext(Path("/nonexistent"), {}, lambda: NOW))
SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
PHRASE_A = "Proszę o zmianę hasła awaryjnego dla"
PHRASE_B = "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla"
NUMBER = "ZGL000000123"


def case_of(subject: str, text: str, number: str | None = NUMBER, evidence: Evidence | None = None) -> Case:
    message = InboundMessage(subject=subject, text=text, sender=Address(address="jan@poczta.example"))
    classification = PACK.classify(message)
    return Case(
        id=UUID(int=1), kind=classification.kind, procedure=classification.procedure, state=CaseState.REGISTERED,
        channel=ChannelName.EMAIL, subject=subject, decision=PACK.decide(message, classification, evidence or Evidence()),
        csd=CsdRef(backend="builtin", number=number) if number else None, opened_at=NOW,
    )  # fmt: skip


LINK = "https://pomoc.example/activate/token"
WITH_LINK = {
    "link": LINK,
    "new_login": "nowy@poczta.example",
    "deadline": dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC),
}


def rendered(kind: NotificationKind, case: Case, solution: str | None = None) -> tuple[RenderedText, str, str]:
    more = WITH_LINK if kind in (NotificationKind.LOGIN_CHANGE, NotificationKind.ACTIVATION) else {}
    if kind is NotificationKind.RECEIVED:
        more = {"own_number": PACK.own_number(17)}
    text = PACK.render(kind, NotificationContext(case, solution, **more))
    polish, _, english = text.text.partition("\n—\n")
    assert polish.startswith("Dzień dobry,\n")
    assert english.strip().startswith("Good morning,\n")
    assert "\n" not in text.subject
    assert "\n\n\n" not in text.text
    assert "None" not in text.text
    return text, polish, english


def test_registered() -> None:
    text, polish, english = rendered(NotificationKind.REGISTERED, case_of("NOWE", "Nie działa."))
    assert NUMBER in text.subject
    for part in (polish, english):
        assert NUMBER in part.splitlines()
        assert "CSD" in part
        assert "33 483 20 55" in part


def test_registered_tells_of_the_24_hours_for_recovery_only() -> None:
    text = rendered(NotificationKind.REGISTERED, case_of(SUBJECT, f"{PHRASE_A} Jan Próbny 1980"))[0].text
    assert "Do 24 godzin" in text
    assert text.splitlines().count("PUESC: Zmiana adresu email") == 2
    other = rendered(NotificationKind.REGISTERED, case_of("NOWE", "x"))[0].text
    assert "24 godzin" not in other
    assert "do 10 dni roboczych" in other


def test_received_is_the_same_whatever_the_case_is_about() -> None:
    cases = [
        case_of("NOWE", "Nie działa."), case_of("bez słowa", "Nie działa."), case_of(SUBJECT, f"{PHRASE_A} Jan Próbny 1980"),
        case_of(SUBJECT, "niespełnione"),
    ]  # fmt: skip
    texts = {(t.subject, t.text) for t, _, _ in (rendered(NotificationKind.RECEIVED, case) for case in cases)}
    ((subject, text),) = texts
    assert subject == "Zgłoszenie OK000000017 zostało przyjęte / Case OK000000017 has been received"
    assert text.count("OK000000017") == 2
    assert "ZGL" not in text


@pytest.mark.parametrize("kind", [NotificationKind.REGISTERED, NotificationKind.UNMET])
def test_the_mail_with_the_csds_number_names_ours_when_it_was_told(kind: NotificationKind) -> None:
    case = case_of("NOWE", "Nie działa.")
    for own, count in (("OK000000017", 2), (None, 0)):
        text = PACK.render(kind, NotificationContext(case, own_number=own)).text
        assert text.count("OK000000017") == count
        assert NUMBER in text


@pytest.mark.parametrize("kind", [NotificationKind.LOGIN_CHANGE, NotificationKind.ACTIVATION])
def test_a_link_stands_alone_on_its_line_with_its_end_in_local_time(kind: NotificationKind) -> None:
    text, polish, english = rendered(kind, case_of(SUBJECT, f"{PHRASE_B} Jan Próbny 1980"))
    for part in (polish, english):
        assert LINK in part.splitlines()
        assert "nowy@poczta.example" in part
        assert "24.11.2026" in part
        assert "09:00" in part
        assert NUMBER in part
    assert (text.subject == "PUESC: Zmiana adresu email") == (kind is NotificationKind.ACTIVATION)


@pytest.mark.parametrize("kind", list(NotificationKind))
def test_every_mail_gives_the_phone_both_ways_and_its_hours(kind: NotificationKind) -> None:
    _, polish, english = rendered(kind, case_of(f"Re: {SUBJECT}", "x"))
    assert "Telefon: 33 483 20 55 (z zagranicy: +48 33 483 20 55), całą dobę, 7 dni w tygodniu" in polish.splitlines()
    assert "Phone: 33 483 20 55 (from abroad: +48 33 483 20 55), 24 hours a day, 7 days a week" in english.splitlines()
    for part in (polish, english):
        assert part.strip().endswith(("w tygodniu", "a week"))


def test_a_single_day_is_a_day(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        (SHIPPED / "pack.toml").read_text(encoding="utf-8").replace("complaint_days = 3", "complaint_days = 1"),
        encoding="utf-8",
    )
    (own,) = okienko_procedures(PluginContext(tmp_path, {"OKIENKO_PUESC_PACK_PATH": str(tmp_path / "own.toml")}))
    closed = own.render(NotificationKind.CLOSED, NotificationContext(case_of("NOWE", "x"))).text
    assert "w ciągu 1 dnia" in closed
    assert "within 1 day of" in closed
    assert "1 dzień" in own.render(NotificationKind.UNMET, NotificationContext(case_of("Reklamacja", "x"))).text


def test_closed_has_the_solution() -> None:
    text, polish, english = rendered(
        NotificationKind.CLOSED, case_of("NOWE", "Nie działa."), "Proszę wyczyścić <pamięć> & {{ zacząć }}."
    )
    assert NUMBER in text.subject
    for part in (polish, english):
        assert "Proszę wyczyścić <pamięć> & {{ zacząć }}." in part
        assert "33 483 20 55" in part
        assert " 3 d" in part
    assert "zalogować" in rendered(NotificationKind.CLOSED, case_of(SUBJECT, "x"), "Zrobione.")[1]


def test_self_service_points_at_the_button() -> None:
    for part in rendered(NotificationKind.SELF_SERVICE, case_of("logowanie", "Pamiętam hasło awaryjne", None))[1:]:
        assert "„zapomniałem hasła”" in part
        assert "https://puesc.gov.pl" in part
        assert SUBJECT in part.splitlines()


@pytest.mark.parametrize("number", [NUMBER, None])
@pytest.mark.parametrize(
    ("subject", "body"),
    [
        (f"Re: {SUBJECT}", "x"),
        (f"Re: {SUBJECT}", f"{PHRASE_A} Jan Próbny 1980"),
        (SUBJECT, f"{PHRASE_A} Jan Próbny"),
        (SUBJECT, PHRASE_B),
        (SUBJECT.lower(), f"{PHRASE_B} Jan Próbny 1980"),
        ("Pytanie", "Nie działa."),
        ("odblokowanie konta", "x"),
        ("Reklamacja", "x"),
    ],
)
def test_unmet_lists_each_requirement_in_both_languages(subject: str, body: str, number: str | None) -> None:
    case = case_of(subject, body, number)
    text, polish, english = rendered(NotificationKind.UNMET, case)
    missing = [result for result in case.decision.results if result.verdict is Verdict.UNMET]
    assert missing
    assert [line for line in polish.splitlines() if line.startswith("- [")] == [
        f"- [{r.rule}] {r.text_pl}" for r in missing
    ]
    assert [line for line in english.splitlines() if line.startswith("- [")] == [
        f"- [{r.rule}] {r.text_en}" for r in missing
    ]
    # Whoever has to write again needs the subject, whichever requirement was missed.
    for part in (polish, english):
        assert (SUBJECT in part.splitlines()) == (case.kind is CaseKind.RECOVERY)
        assert (number is not None) == (NUMBER in part)
    assert (number is not None) == (NUMBER in text.subject)


def test_unmet_says_how_to_send_again() -> None:
    polish = rendered(NotificationKind.UNMET, case_of("Pytanie", "x"))[1]
    assert "NOWE" in polish.splitlines()
    assert "helpdesk-eclo@mf.gov.pl" in polish
    polish = rendered(NotificationKind.UNMET, case_of(SUBJECT, PHRASE_B))[1]
    assert f"{PHRASE_B} [imię i nazwisko], rok urodzenia [rok]" in polish
    assert "https://www.gov.pl/web/gov/podpisz" in polish
    assert "portal" in rendered(NotificationKind.UNMET, case_of("Reklamacja", "x"))[1]


# What is sent before the account is looked at (UNMET among it) is decided with no evidence at all: see test_puesc.
@pytest.mark.parametrize("kind", sorted(set(NotificationKind) - {NotificationKind.UNMET}))
def test_no_message_depends_on_what_was_found_out_about_the_account(kind: NotificationKind) -> None:
    jan = Person(given_name="Jan", family_name="Próbny", birth_year=1980)
    found = [
        Evidence(),
        Evidence(looked_up=True),
        Evidence(looked_up=True, account=Account("ref", "jan@poczta.example", Person())),
        Evidence(looked_up=True, account=Account("ref", "jan@poczta.example", jan), new_login_taken=False),
        Evidence(looked_up=True, account=Account("ref", "jan@poczta.example", jan, frozenset(AccountFlag)), new_login_taken=True),
    ]  # fmt: skip
    for subject in (SUBJECT, f"Re: {SUBJECT}"):
        for phrase in (PHRASE_A, PHRASE_B):
            cases = [case_of(subject, f"{phrase} Jan Próbny 1980", evidence=evidence) for evidence in found]
            assert len({case.decision for case in cases}) > 1
            assert len({PACK.render(kind, NotificationContext(case, "Zrobione.")) for case in cases}) == 1


@pytest.mark.parametrize("kind", list(NotificationKind))
def test_our_own_mail_sent_back_unquoted_names_nobody(kind: NotificationKind) -> None:
    text = PACK.render(kind, NotificationContext(case_of(f"Re: {SUBJECT}", "x"), "Zrobione.")).text
    assert PACK.classify(InboundMessage(subject=SUBJECT, text=text)).person is None


@pytest.mark.parametrize(
    "template",
    [
        "S\n{% if procedure == 'unlock' %}{{ nobody }}{% endif %}\n",
        "S\n{% if 'B3' in missing and not number %}{{ nobody }}{% endif %}\n",
        "S\n{{ number + 1 }}\n",
        "S\n{{ nobody }}\n",
        "S\n{{ desk.nothing }}\n",
        "S\n{{ ''.__class__.__mro__ }}\n",
    ],
)
def test_a_template_that_uses_what_there_is_not(tmp_path: Path, template: str) -> None:
    pack = read_pack(SHIPPED / "pack.toml")
    for name in pack.templates.values():
        (tmp_path / name).write_text(template, encoding="utf-8")
    with pytest.raises(MisconfiguredError, match=r"template .*\.txt\.j2") as raised:
        Templates(tmp_path, pack)
    assert not isinstance(raised.value, jinja2.TemplateError)
