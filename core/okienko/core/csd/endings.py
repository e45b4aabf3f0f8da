"""A case is closed, on record and for the person, whoever ended it: this window or the CSD."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

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

_CLOSED = "UPDATE cases SET state = $2, closed_at = $3 WHERE id = ANY($1::uuid[])"
_DONE = "UPDATE closing SET done_at = $2 WHERE case_id = ANY($1::uuid[]) AND done_at IS NULL"


async def close(
    connection: AsyncConnection,
    raw: Any,
    ended: Sequence[tuple[Any, str]],
    *,
    who: str,
    notices: Notices,
    calls: Calls,
    pack: ProcedurePack,
    now: datetime,
) -> None:
    """Close cases (locked rows, each with its solution) and queue mail 2; the caller writes the notices and appends their events."""
    if not ended:
        return
    ids: list[UUID] = [row["id"] for row, _ in ended]
    untold: list[UUID] = []
    for row, solution in ended:
        case = cases.to_case(row)
        state = move(case.state, CaseState.CLOSED)
        notices.events.append(
            NewEvent(case.id, EventType.CLOSED, now, {"number": case.csd.number if case.csd else None}, who)
        )
        context = NotificationContext(case.model_copy(update={"state": state, "closed_at": now}), solution)
        # A person closed it: that is told even to a correspondent whom no machine answers.
        told = calls.ask(pack, lambda r=row, c=context: notices.add(r, NotificationKind.CLOSED, c))  # type: ignore[misc]  # a default binds the loop's value
        if told is None:
            untold.append(case.id)
    await raw.execute(_CLOSED, ids, CaseState.CLOSED.value, now)
    await raw.execute(_DONE, ids, now)
    if untold:
        await enqueue(connection, Job.ACTIVATE, [str(r["id"]) for r in await raw.fetch(TO_ACTIVATE, untold)])
