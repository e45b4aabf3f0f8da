"""What a person at the desk does to cases: look, close with a solution, end a reset action."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.states import move
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState, CaseState, EventType

_LIST = """
SELECT c.id, c.csd_number AS number, c.kind, c.procedure, c.state, c.decision::text AS decision, c.subject, c.opened_at, c.closed_at FROM cases c
WHERE ($1::text IS NULL OR c.state = $1) ORDER BY c.seq DESC LIMIT $2
"""


async def list_cases(engine: AsyncEngine, *, state: CaseState | None, limit: int) -> list[Any]:
    """The newest cases first."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows: list[Any] = await raw.fetch(_LIST, state.value if state else None, limit)
    return rows


async def show_case(engine: AsyncEngine, key: str) -> dict[str, Any]:
    """A case with its time line, by id or number. Raises PermanentError when there is none."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        case_id = await _find(raw, key)
        row = (await cases.fetch(raw, [case_id]))[case_id]
        events = await raw.fetch(
            "SELECT at, type, actor, data::text AS data FROM event WHERE case_id = $1 ORDER BY id", case_id
        )
    case = cases.to_case(row)
    lines = [{"at": e["at"], "type": e["type"], "actor": e["actor"], "data": cases.loads(e["data"])} for e in events]
    return {"case": case.model_dump(mode="json"), "events": lines}


async def request_close(engine: AsyncEngine, key: str, solution: str, who: str, now: datetime) -> UUID:
    """Ask for a case to be closed: the CSD is told and mail 2 goes out by jobs. Raises PermanentError when it cannot be."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        case_id = await _find(raw, key)
        row = (await cases.fetch(raw, [case_id], lock=True))[case_id]
        if row["state"] == CaseState.DECIDED:
            raise PermanentError("the case waits for its registration in the CSD: close it afterwards")
        move(CaseState(row["state"]), CaseState.CLOSED)
        await _request(connection, raw, case_id, solution, who, now)
        record(raw, [NewEntry(AuditAction.CLOSE_REQUESTED, now, who, case_id)])
    return case_id


async def _request(connection: Any, raw: Any, case_id: UUID, solution: str, who: str, now: datetime) -> None:
    await raw.execute(
        "INSERT INTO closing (case_id, solution, who, at) VALUES ($1, $2, $3, $4)", case_id, solution, who, now
    )
    await enqueue(connection, Job.CLOSE, [str(case_id)])


async def list_actions(engine: AsyncEngine, *, everything: bool) -> list[Any]:
    """Reset actions that wait, oldest first; with `everything` also those that ended."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows: list[Any] = await raw.fetch(
            "SELECT a.id, a.case_id, c.csd_number AS number, a.backend, a.procedure, a.state, a.must_check, a.created_at, a.ended_by "
            "FROM reset_action a JOIN cases c ON c.id = a.case_id WHERE a.state = 'waiting' OR $1 ORDER BY a.created_at",
            everything,
        )
    return rows


async def end_action(
    engine: AsyncEngine,
    action_id: UUID,
    *,
    done: bool,
    checked: Sequence[str],
    who: str,
    solution: str,
    now: Callable[[], datetime],
) -> UUID:
    """Mark a reset action done or refused; its case is closed with the solution. Returns the case id.

    Done needs every rule that nobody could decide to be named in `checked`: the administrator says that they looked.
    Raises PermanentError when one is missing, or the action does not wait any more.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        row = await raw.fetchrow(
            "SELECT case_id, state, must_check FROM reset_action WHERE id = $1 FOR UPDATE", action_id
        )
        if row is None:
            raise PermanentError(f"there is no reset action {action_id}: `okienko actions` lists them")
        if row["state"] != ActionState.WAITING:
            raise PermanentError(f"the reset action {action_id} is {row['state']} already; nothing was changed")
        if missing := [rule for rule in row["must_check"] if done and rule not in checked]:
            raise PermanentError(
                f"these rules could not be decided and must be checked by you first: {', '.join(missing)}; "
                + "then say so: "
                + " ".join(f"--checked {rule}" for rule in row["must_check"])
            )
        state, at = (ActionState.DONE if done else ActionState.REFUSED).value, now()
        await raw.execute(
            "UPDATE reset_action SET state = $2, ended_at = $3, ended_by = $4 WHERE id = $1", action_id, state, at, who
        )
        data = {"action": str(action_id), "state": state, "checked": list(checked)}
        await append(raw, [NewEvent(row["case_id"], EventType.ACTION_ENDED, at, data, who)])
        await _request(connection, raw, row["case_id"], solution, who, at)
        case_id: UUID = row["case_id"]
    return case_id


async def _find(raw: Any, key: str) -> UUID:
    case_id = await cases.find(raw, key)
    if case_id is None:
        raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
    return case_id
