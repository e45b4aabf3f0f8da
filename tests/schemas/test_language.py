"""The models: immutable, strict, in UTC, and their JSON Schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from okienko import schemas
from okienko.schemas import (
    ActionState,
    Address,
    Case,
    CaseEvent,
    CaseKind,
    CaseState,
    ChannelName,
    Decision,
    DecisionOutcome,
    Envelope,
    EventType,
    Model,
    NotificationKind,
    OutboundMessage,
    Person,
    Pesel,
    Procedure,
    ResetAction,
    RuleResult,
    Verdict,
)
from okienko.schemas.export import json_schema

NOW = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
ID = UUID(int=7)
JAN = Address(name="Jan Kowalski", address="jan@poczta.example")
PESEL = "02670803626"
SAMPLES: list[Model] = [
    Envelope(id=ID, channel=ChannelName.EMAIL, connector="email", source="lmtp", received_at=NOW, size=3),
    Person(given_name="Jan", family_name="Kowalski", birth_year=2000, pesel=Pesel(PESEL)),
    Case(
        id=ID, kind=CaseKind.RECOVERY, procedure=Procedure.EMERGENCY_PASSWORD, state=CaseState.DECIDED,
        channel=ChannelName.EMAIL, subject="x", requester=JAN, decision=Decision(), opened_at=NOW,
    ),
    ResetAction(
        id=ID, case_id=ID, backend="manual", procedure=Procedure.UNLOCK, state=ActionState.WAITING, created_at=NOW
    ),
    OutboundMessage(
        id=ID, case_id=ID, kind=NotificationKind.REGISTERED, to=JAN, subject="s", text="t", message_id="7@x.example",
        created_at=NOW,
    ),
    CaseEvent(id=1, case_id=ID, at=NOW, type=EventType.OPENED, actor="email"),
]  # fmt: skip
MODELS = [
    m
    for name in schemas.__all__
    if isinstance(m := getattr(schemas, name), type) and issubclass(m, Model) and m is not Model
]


def sample_id(sample: Any) -> str:
    return type(sample).__name__


def test_the_whole_language_is_there() -> None:
    """Issue 2, point 2."""
    assert {"Envelope", "Person", "Case", "Attachment", "Decision", "ResetAction", "OutboundMessage", "CaseEvent"} <= {
        model.__name__ for model in MODELS
    }
    assert {kind.value for kind in CaseKind} == {"ticket", "service_request", "recovery", "complaint", "follow_up"}
    assert {"email_change", "email_change_no_passwords", "pesel_conflict", "unlock"} <= {p.value for p in Procedure}
    assert {v.value for v in Verdict} == {"met", "unmet", "unknown"}


@pytest.mark.parametrize("sample", SAMPLES, ids=sample_id)
def test_immutable_and_strict(sample: Model) -> None:
    field = next(iter(type(sample).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(sample, field, None)
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(sample).model_validate({**dict(sample), "no_such_field": 1})


@pytest.mark.parametrize("sample", [s for s in SAMPLES if not isinstance(s, Person)], ids=sample_id)
def test_json_there_and_back(sample: Model) -> None:
    assert type(sample).model_validate_json(sample.model_dump_json()) == sample


def test_a_pesel_leaves_json_as_a_mask_that_is_no_pesel() -> None:
    person = SAMPLES[1]
    text = person.model_dump_json() + repr(person) + str(person) + f"{person}" + repr([person])
    assert PESEL not in text
    with pytest.raises(ValidationError) as caught:
        Person.model_validate_json(person.model_dump_json())
    assert PESEL not in str(caught.value)


def test_a_wrong_pesel_shows_in_no_error() -> None:
    wrong = PESEL[:-1] + str((int(PESEL[-1]) + 1) % 10)
    for data in ({"pesel": wrong}, {"pesel": int(wrong)}, {"pesel": PESEL, "no_such": wrong}):
        with pytest.raises(ValidationError) as caught:
            Person.model_validate(data)
        shown = str(caught.value) + repr(caught.value)
        if "no_such" not in data:
            shown += caught.value.json() + repr(caught.value.errors())
        assert wrong not in shown
        assert PESEL not in shown


@given(st.lists(st.sampled_from(Verdict)))
def test_the_outcome_of_a_decision(verdicts: list[Verdict]) -> None:
    decision = Decision(results=tuple(RuleResult(rule=f"R{n}", verdict=v, evidence="") for n, v in enumerate(verdicts)))
    expected = None
    if verdicts:
        expected = DecisionOutcome.MET
        if Verdict.UNKNOWN in verdicts:
            expected = DecisionOutcome.HUMAN
        if Verdict.UNMET in verdicts:
            expected = DecisionOutcome.UNMET
    assert decision.outcome is expected
    by_verdict = [rule for verdict in Verdict for rule in decision.rules(verdict)]
    assert sorted(by_verdict) == sorted(result.rule for result in decision.results)


def test_times_are_utc() -> None:
    warsaw = timezone(timedelta(hours=1))
    event = CaseEvent(id=1, case_id=ID, at=NOW.astimezone(warsaw), type=EventType.OPENED, actor="x")
    assert event.at == NOW
    assert event.at.tzinfo is UTC
    with pytest.raises(ValidationError, match="timezone"):
        CaseEvent(id=1, case_id=ID, at=NOW.replace(tzinfo=None), type=EventType.OPENED, actor="x")


def test_json_schema_knows_every_model() -> None:
    document = json_schema()
    assert {model.__name__ for model in MODELS} <= set(document["$defs"])
    assert document["$defs"]["Person"]["properties"]["pesel"]["anyOf"][0]["type"] == "string"
    json.dumps(document)


def test_json_schema_is_valid_and_accepts_the_samples() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is in the group dev of pyproject.toml")
    document = json_schema()
    jsonschema.Draft202012Validator.check_schema(document)
    for name in document["$defs"]:
        jsonschema.Draft202012Validator.check_schema({**document, "$ref": f"#/$defs/{name}"})
    for sample in SAMPLES:
        schema = {**document, "$ref": f"#/$defs/{type(sample).__name__}"}
        jsonschema.Draft202012Validator(schema).validate(sample.model_dump(mode="json"))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({**sample.model_dump(mode="json"), "no_such_field": 1})
