"""What the page of one action shows and which decisions it offers, worked out without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from okienko.core.actions import machine
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Action, ActionPolicy
from okienko.core.actions.seals import Trust
from okienko.core.site.people import Person
from okienko.core.site.queue import Whole
from okienko.schemas import ActionState, CaseEvent, RuleResult

MOST_TEXT = 4000
_ELEVEN_DIGITS = re.compile(r"(?<!\d)\d{11}(?!\d)")
_DETAILS = ("kind", "state", "number", "reason", "why", "checked", "fields")
_OPEN = (ActionState.WAITING, ActionState.COOLING, ActionState.READY)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something cannot be done: key of a text, what stands in its braces, and the field that it is about."""

    key: str
    values: Mapping[str, str]
    field: str = ""


def problem(key: str, *, field: str = "", **values: str) -> Problem:
    """A Problem with a text of the section `obstacle`."""
    return Problem(f"obstacle.{key}", values, field)


def cannot_approve(action: Action, person: Person, *, unchanged: bool, now: datetime) -> Problem | None:
    """Why this person cannot approve this action now, or None. The engine decides again, under its lock."""
    if action.state is not ActionState.WAITING:
        return problem("state", state=action.state.value)
    if now >= action.expires_at:
        return problem("expired")
    if not unchanged:
        return problem("changed")
    if action.barred(person.who, person.emails):
        return problem("barred")
    if any(approval.trust is not Trust.GENUINE for approval in action.approvals):
        return problem("forged")
    if action.trust is not Trust.GENUINE:
        return problem("unsealed")
    if action.approved_as(person.who, person.emails):
        return problem("already")
    return None


def cannot_refuse(action: Action, now: datetime) -> Problem | None:
    """Why this action cannot be refused now, or None."""
    if action.state not in _OPEN:
        return problem("state", state=action.state.value)
    return problem("expired") if now >= action.expires_at else None


def cannot_finish(action: Action, policy: ActionPolicy, now: datetime) -> Problem | None:
    """Why this action cannot be marked as done by hand, or None."""
    if Step.BY_HAND not in action.frozen.steps:
        return problem("not_by_hand")
    if action.state not in (*_OPEN, ActionState.EXECUTING):
        return problem("state", state=action.state.value)
    try:
        machine.begin(machine.ripen(action, policy, now=now), policy, now=now)
    except machine.ForgedApprovalError:
        return problem("forged")
    except machine.ActionRefusedError:
        return problem("not_ready")
    return None


def wrong_text(text: str, *, field: str, missing: str) -> Problem | None:
    """What is wrong with a text that somebody wrote, or None."""
    if not text.strip():
        return problem(missing, field=field)
    if len(text) > MOST_TEXT:
        return problem("too_long", field=field, most=str(MOST_TEXT))
    if _ELEVEN_DIGITS.search(text):
        return problem("secret", field=field)
    return None


def rules_to_check(whole: Whole) -> list[tuple[str, RuleResult | None]]:
    """The rules that each approver has to check, with what is known of them."""
    known = {result.rule: result for result in whole.case.decision.results}
    return [(rule, known.get(rule)) for rule in whole.action.frozen.must_check]


def people(whole: Whole) -> Mapping[str, str]:
    """A name for people for everyone in the story, by lasting name."""
    found = {a.who for a in whole.action.approvals} | {e.actor for e in whole.events} | {whole.ended_by or ""}
    return {who: whole.names.get(who) or plain_name(who) for who in found}


def plain_name(who: str) -> str:
    """What a lasting name says by itself: `local:anna` is anna, `oidc:https://idp.example:17` is 17."""
    kind, _, rest = who.partition(":")
    if kind in ("local", "cli"):
        return rest or who
    return rest.rpartition(":")[2] or who if kind == "oidc" else who


def details(event: CaseEvent) -> Iterator[tuple[str, str]]:
    """What of an event's data people are shown: names of texts of the section `detail`, and values."""
    for name in _DETAILS:
        value = event.data.get(name)
        if isinstance(value, str) and value:
            yield name, value
        elif isinstance(value, Sequence) and not isinstance(value, str) and value:
            yield name, ", ".join(str(v) for v in value)
