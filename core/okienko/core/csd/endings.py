"""A case is closed, on record and for the person, whoever ended it: this window or the CSD."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from okienko.core import cases
from okienko.core.calls import Calls
from okienko.core.database import enqueue
from okienko.core.events import NewEvent
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.core.sending import TO_ACTIVATE
from okienko.core.states import move
from okienko.plugins.ports import NotificationContext, ProcedurePack
from okienko.schemas import CaseState, EventType, NotificationKind


async def close(
    connection: AsyncConnection,
    raw: Any,
    row: Any,
    *,
    solution: str,
    who: str,
    notices: Notices,
    calls: Calls,
    pack: ProcedurePack,
    now: datetime,
) -> None:
    """Close the case of `row` (locked) and queue mail 2; the caller writes the notices and appends their events."""
    case = cases.to_case(row)
    state = move(case.state, CaseState.CLOSED)
    await raw.execute("UPDATE cases SET state = $2, closed_at = $3 WHERE id = $1", case.id, state.value, now)
    await raw.execute("UPDATE closing SET done_at = $2 WHERE case_id = $1 AND done_at IS NULL", case.id, now)
    notices.events.append(
        NewEvent(case.id, EventType.CLOSED, now, {"number": case.csd.number if case.csd else None}, who)
    )
    context = NotificationContext(case.model_copy(update={"state": state, "closed_at": now}), solution)
    # A person closed it: that is told even to a correspondent whom no machine answers.
    told = calls.ask(pack, lambda: notices.add(row, NotificationKind.CLOSED, context))
    if told is None:
        await enqueue(connection, Job.ACTIVATE, [str(r["id"]) for r in await raw.fetch(TO_ACTIVATE, [case.id])])
