"""The queue of reset actions as the pages and the API read it: lists by state, page by page, and one action with its story."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.actions import store
from okienko.core.actions.machine import Action, Risk
from okienko.core.actions.people import distinct
from okienko.core.actions.seals import Seals
from okienko.core.database import raw_connection, transaction
from okienko.schemas import ActionState, Case, CaseEvent, EventType, Procedure

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tab(StrEnum):
    """Actions that belong together for people."""

    WAITING = "waiting"
    COOLING = "cooling"
    READY = "ready"
    ENDED = "ended"


STATES: Mapping[Tab, tuple[ActionState, ...]] = {
    Tab.WAITING: (ActionState.WAITING,),
    Tab.COOLING: (ActionState.COOLING,),
    Tab.READY: (ActionState.READY, ActionState.EXECUTING),
    Tab.ENDED: (
        ActionState.DONE, ActionState.REFUSED, ActionState.EXPIRED, ActionState.STOPPED, ActionState.FAILED,
        ActionState.SUPERSEDED,
    ),
}  # fmt: skip
MOST_MESSAGES = 500
MOST_NUMBERS = 20


class BadCursorError(ValueError):
    """A cursor that we did not make."""


@dataclass(frozen=True, slots=True)
class Line:
    """One action in a list."""

    id: UUID
    case_id: UUID
    number: str | None
    procedure: Procedure
    risk: Risk
    state: ActionState
    old_login: str
    new_login: str | None
    by_hand: bool
    created_at: datetime
    expires_at: datetime
    not_before: datetime | None
    ended_at: datetime | None
    approvers: tuple[str, ...]
    further: int
    """Further requests: the same one again, and other cases for the same account."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, and the cursor of those that follow."""

    lines: tuple[Line, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Further:
    """What else came in for the account while the action was open."""

    repeats: int
    """How often the same request came again."""
    others: int
    """Other cases, which wait for a human because of this action."""
    numbers: tuple[str, ...]
    """CSD numbers of the newest of them, at most MOST_NUMBERS."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One action with all that a person needs to decide."""

    action: Action
    procedure: Procedure
    ended_by: str | None
    ended_at: datetime | None
    case: Case
    events: tuple[CaseEvent, ...]
    envelopes: tuple[UUID, ...]
    typed_beside: bool
    """Whether the case's application could not be read in full, so that people type it beside its picture."""
    further: Further
    names: Mapping[str, str]
    """Names for people, by lasting name."""


_LIST = """
SELECT a.id, a.case_id, c.csd_number, a.procedure, a.risk, a.state, a.old_login, a.new_login, a.steps, a.created_at, a.expires_at,
       a.not_before, a.ended_at, a.digest,
       c.repeats + (SELECT count(*) FROM cases h WHERE h.held_by = a.id) AS further
FROM reset_action a JOIN cases c ON c.id = a.case_id
WHERE a.state = ANY($1::text[]) AND ($2::timestamptz IS NULL OR {after})
ORDER BY a.created_at {order}, a.id {order} LIMIT $4
"""
_OLDEST_FIRST = _LIST.format(after="(a.created_at, a.id) > ($2, $3::uuid)", order="ASC")
_NEWEST_FIRST = _LIST.format(after="(a.created_at, a.id) < ($2, $3::uuid)", order="DESC")
# What opened the case and what was added comes before the same request again, of which there may be a flood.
_MESSAGES = """
SELECT envelope_id FROM case_message WHERE case_id = $1
ORDER BY role = 'opened' DESC, role = 'repeated', at, envelope_id LIMIT $2
"""
_HELD = "SELECT csd_number, count(*) OVER () AS n FROM cases WHERE held_by = $1 ORDER BY seq DESC LIMIT $2"
# A name that somebody bears now: their last session's, or the local administrator's own.
_NAMES = "SELECT DISTINCT ON (who) who, name FROM web_session WHERE who = ANY($1::text[]) ORDER BY who, seen_at DESC"


class Queue:
    """Reads; never writes."""

    def __init__(self, engine: AsyncEngine, seals: Seals) -> None:
        self._engine = engine
        self._seals = seals

    async def page(
        self, states: Sequence[ActionState], *, limit: int, cursor: str | None = None, newest_first: bool = False
    ) -> Page:
        """At most `limit` actions in those states. Raises BadCursorError."""
        at, after = decode_cursor(cursor) if cursor else (None, None)
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            sql = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
            rows = await raw.fetch(sql, [s.value for s in states], at, after, limit + 1)
            approvals = await store.counted(raw, self._seals, {row["id"]: row["digest"] for row in rows[:limit]})
        lines = tuple(_line(row, approvals.get(row["id"], ())) for row in rows[:limit])
        return Page(lines, encode_cursor(lines[-1].created_at, lines[-1].id) if len(rows) > limit else None)

    async def counts(self) -> dict[Tab, int]:
        """How many there are under each tab."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch("SELECT state, count(*) AS n FROM reset_action GROUP BY state")
        by_state = {row["state"]: row["n"] for row in rows}
        return {tab: sum(by_state.get(state.value, 0) for state in states) for tab, states in STATES.items()}

    async def whole(self, action_id: UUID) -> Whole:
        """One action. Raises PermanentError when there is none, TamperedError when it is not what was proposed."""
        async with transaction(self._engine, snapshot=True) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self._seals, action_id)
            more = await raw.fetchrow("SELECT procedure, ended_by, ended_at FROM reset_action WHERE id = $1", action_id)
            case_id = action.frozen.case_id
            row = (await cases.fetch(raw, [case_id]))[case_id]
            events = await raw.fetch(
                "SELECT id, case_id, at, type, actor, data::text AS data FROM event WHERE case_id = $1 ORDER BY id",
                case_id,
            )
            envelopes = await raw.fetch(_MESSAGES, case_id, MOST_MESSAGES)
            typed_beside = await raw.fetchval(
                "SELECT EXISTS (SELECT FROM signed_application WHERE case_id = $1)", case_id
            )
            repeats = await raw.fetchval("SELECT repeats FROM cases WHERE id = $1", case_id)
            held = await raw.fetch(_HELD, action_id, MOST_NUMBERS)
            people = {a.who for a in action.approvals} | {e["actor"] for e in events} | {more["ended_by"] or ""}
            names = await names_of(raw, people)
        return Whole(
            action=action,
            procedure=Procedure(more["procedure"]),
            ended_by=more["ended_by"],
            ended_at=more["ended_at"],
            case=cases.to_case(row),
            events=tuple(_event(e) for e in events),
            further=Further(
                repeats, held[0]["n"] if held else 0, tuple(row["csd_number"] for row in held if row["csd_number"])
            ),
            envelopes=tuple(row["envelope_id"] for row in envelopes),
            typed_beside=typed_beside,
            names=names,
        )


async def names_of(raw: Any, people: Iterable[str]) -> dict[str, str]:
    """Names for people, by lasting name, of those who have signed in."""
    return {row["who"]: row["name"] for row in await raw.fetch(_NAMES, sorted(people))}


def _line(row: Any, approvals: Sequence[tuple[str, frozenset[str]]]) -> Line:
    return Line(
        row["id"], row["case_id"], row["csd_number"], Procedure(row["procedure"]), Risk(row["risk"]), ActionState(row["state"]),
        row["old_login"], row["new_login"], "by_hand" in row["steps"], row["created_at"], row["expires_at"], row["not_before"],
        row["ended_at"], tuple(distinct(approvals)), row["further"],
    )  # fmt: skip


def _event(row: Any) -> CaseEvent:
    return CaseEvent(
        id=row["id"], case_id=row["case_id"], at=row["at"], type=EventType(row["type"]), actor=row["actor"],
        data=cases.loads(row["data"]),
    )  # fmt: skip


def encode_cursor(at: datetime, action_id: UUID) -> str:
    """The cursor of what follows that moment and id."""
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(struct.pack(">q", microseconds) + action_id.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Back from `encode_cursor`. Raises BadCursorError."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        (microseconds,) = struct.unpack(">q", data[:8])
        return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=data[8:])
    except (binascii.Error, struct.error, ValueError, OverflowError):
        raise BadCursorError("this cursor is none of ours: begin again without one") from None
