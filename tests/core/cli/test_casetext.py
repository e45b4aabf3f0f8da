"""A case as text, for the person on night duty."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from okienko.core.cli import casetext
from okienko.core.cli.casetext import describe, sentence
from okienko.core.parking import Parked
from okienko.schemas import CaseState, EventType

AT = datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)
CASE_ID = "11111111-2222-3333-4444-555555555555"


def result(rule: str, verdict: str) -> dict[str, str]:
    return {
        "rule": rule,
        "verdict": verdict,
        "evidence": f"why {rule}",
        "text_pl": "",
        "text_en": f"Requirement {rule}.",
    }


def case(*verdicts: tuple[str, str], state: str = "human_review", **changes: Any) -> dict[str, Any]:
    return {
        "id": CASE_ID, "kind": "recovery", "procedure": "emergency_password", "state": state, "channel": "email",
        "mailbox": "default", "subject": "HASŁO", "requester": {"address": "jan@poczta.example", "name": "Jan Próbny"},
        "person": {"given_name": "Jan", "family_name": "Próbny", "birth_year": 1980, "pesel": "*********42"},
        "decision": {"results": [result(*pair) for pair in verdicts]}, "csd": {"backend": "builtin", "number": "ZGL1"},
        "opened_at": AT.isoformat(), "closed_at": None,
    } | changes  # fmt: skip


NOTHING: dict[str, Any] = {
    "fields": {"priority": "normal", "queue": None, "assignee": None},
    "waits": [],
    "followed": None,
    "lost": None,
    "notes": [],
    "conflicts": [],
}


def text(
    shown: dict[str, Any],
    actions: list[Any] | None = None,
    parked: list[Parked] | None = None,
    width: int = 200,
    csd: dict[str, Any] | None = None,
) -> str:
    return describe({"case": shown, "events": [], "csd": csd or NOTHING}, actions or [], parked or [], width)


def test_it_says_what_the_csd_has_and_where_both_did_not_agree() -> None:
    assert "In the CSD" not in text(case(("A1", "met")))
    note = {"kind": "note", "public": True, "author": "ola", "text": "Prosimy\x1b[31m o skan.", "at": AT}
    conflict = {
        "field": "assignee", "base": None, "okienko": "tu", "csd": "tam", "winner": "csd", "rule": "newest", "at": AT,
    }  # fmt: skip
    csd = NOTHING | {"fields": {"priority": "high", "queue": "konta", "assignee": None}, "waits": ["close"]}
    said = text(case(("A1", "met")), csd=csd | {"notes": [note], "conflicts": [conflict], "followed": "ZGL2"})
    assert "priority high, queue konta" in said
    assert "to be told: close" in said
    assert "merged into ZGL2" in said
    assert "public note by ola: Prosimy\N{REPLACEMENT CHARACTER}[31m o skan." in said
    assert "conflict on assignee: okienko 'tu', CSD 'tam', before ''; csd won by the rule newest" in said


def test_it_says_who_asks_and_for_whom_without_the_pesel() -> None:
    said = text(case(("A1", "met")))
    assert "from      Jan Próbny <jan@poczta.example>" in said
    assert "about     Jan Próbny, born 1980, PESEL given (not shown)" in said
    assert "42" not in said


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ([("A1", "met")], "Decision: every rule is met"),
        ([("A1", "unmet"), ("A4", "unknown")], "Decision: refused: A1 not met"),
        ([("A1", "met"), ("A4", "unknown")], "Decision: a person must decide: A4 could not be checked by okienko"),
        ([], "Decision: no rule applies"),
    ],
)
def test_it_says_the_decision_and_each_rule_with_its_evidence(verdicts: list[tuple[str, str]], sentence: str) -> None:
    said = text(case(*verdicts))
    assert sentence in said
    for rule, _ in verdicts:
        assert f"Requirement {rule}." in said
        assert f"why {rule}" in said


def action(state: str = "waiting", **changes: Any) -> dict[str, Any]:
    return {
        "id": "act", "state": state, "risk": "high", "must_check": ["A4", "A5"], "steps": ["by_hand"], "approvals": [],
        "not_before": AT,
    } | changes  # fmt: skip


def test_it_gives_the_command_for_what_waits() -> None:
    said = text(case(), [action(approvals=[{"who": "cli:ewa", "counts": True}, {"who": "zły", "counts": False}])])
    assert "okienko action done act --code CODE --checked A4 --checked A5 --solution '…'" in said
    assert "(high risk) waits for an administrator, who must check A4, A5; approved so far by cli:ewa" in said
    assert "okienko action show act" in said
    assert "okienko close ZGL1" in text(case(state="registered"))
    assert "What waits" not in text(case(state="closed"), [action("done")])


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (action("cooling"), "the holder may stop it until 2026-11-23 09:00:01 UTC"),
        (action("ready"), "okienko action done act --solution '…'"),
        (action("ready", steps=["activate"]), "is being carried out by okienko"),
        (action("executing", steps=["activate"]), "is being carried out by okienko"),
    ],
)
def test_it_says_what_an_approved_action_waits_for(shown: dict[str, Any], sentence: str) -> None:
    said = text(case(), [shown])
    assert sentence in said
    assert "okienko close" not in said


def test_only_what_okienko_does_itself_is_never_done_by_hand() -> None:
    said = text(case(), [action(steps=["change_login", "activate"])])
    assert "okienko action show act" in said
    assert "action done" not in said


def test_it_names_parked_work_of_the_case() -> None:
    item = Parked(7, "notify", UUID(int=1), None, "refused", "the relay says 550", AT, "parked", None, None)
    said = text(case(), parked=[item])
    assert "parked as 7 (notify, refused): the relay says 550" in said
    assert "okienko parked replay 7" in said


@pytest.mark.parametrize("state", CaseState)
def test_every_state_is_explained(state: CaseState) -> None:
    assert re.search(rf"state     {state.value}: \w+", text(case(state=state.value)))


@pytest.mark.parametrize("kind", EventType)
def test_every_kind_of_event_has_a_sentence_that_survives_missing_data(kind: EventType) -> None:
    said = sentence({"type": kind.value, "actor": "okienko", "data": {}})
    assert kind.value in casetext._SENTENCES
    assert said.endswith(" [okienko]")


def test_what_was_decided_is_told_rule_by_rule_whenever_it_was_written() -> None:
    for rules in ({"A1": "met", "A4": "unknown"}, {"A1": {"verdict": "met"}, "A4": {"verdict": "unknown"}}):
        event = {"type": "decided", "actor": "puesc", "data": {"outcome": "human", "rules": rules}}
        assert sentence(event) == "decided: human (met A1; unknown A4) [puesc]"


def test_an_event_of_a_newer_okienko_is_told_with_its_data() -> None:
    assert sentence({"type": "teleported", "actor": "x", "data": {"to": "mars"}}) == "teleported: to mars [x]"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    said = text(case(("A1", "unmet"), ("A4", "unknown"), subject="słowo " * 40), width=width)
    assert max(map(len, said.splitlines())) <= width


def test_a_subject_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in text(case(subject="\x1b[2Jboo"))
