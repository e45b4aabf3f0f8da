"""What follows a registration: notes, closing with a solution, opening again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.core.registering import MERGED, find_or_create
from okienko.core.sending import TO_ACTIVATE
from okienko.core.states import move
from okienko.plugins.ports import CsdBackend, NotificationContext, ProcedurePack
from okienko.schemas import CaseState, CsdRef, EventType, NotificationKind

_WANTED = """
SELECT DISTINCT ON (case_id) case_id, solution, who FROM closing
WHERE case_id = ANY($1::uuid[]) AND done_at IS NULL ORDER BY case_id, id DESC
"""
_NOTED = """
SELECT m.envelope_id, m.at, c.csd_backend, c.csd_number FROM case_message m JOIN cases c ON c.id = m.case_id
WHERE m.envelope_id = ANY($1::uuid[]) AND c.csd_number IS NOT NULL
"""
_REOPENED = """
UPDATE cases SET state = $2, closed_at = NULL, csd_backend = $3, csd_number = $4 WHERE id = $1 AND state = 'closed' RETURNING id
"""
_WHY = "the person wrote again"


class FollowUp:
    """Step 5 of a message's way. Each of its jobs can be done again without harm."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        csd: CsdBackend,
        pack: ProcedurePack,
        message_domain: str,
        calls: Calls,
        attempts: Attempts,
    ) -> None:
        self._engine = engine
        self._now = now
        self._csd = csd
        self._pack = pack
        self._domain = message_domain
        self._calls = calls
        self._attempts = attempts

    async def close(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Close each case in the CSD with the solution of the newest request, and tell the person (mail 2)."""
        return await self._attempts.each(Job.CLOSE, ids, self._close)

    async def _close(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await cases.fetch(raw, ids)
            wanted = await raw.fetch(_WANTED, list(ids))
        for request in wanted:
            case = cases.to_case(rows[request["case_id"]])
            if ref := case.csd:
                solution: str = request["solution"]
                await self._calls.call(self._csd, "close", lambda r=ref, s=solution: self._csd.close(r, s))  # type: ignore[misc]  # defaults bind the loop's values
            await self._closed(case.id, request)

    async def _closed(self, case_id: UUID, request: Any) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [case_id], lock=True))[case_id]
            case = cases.to_case(row)
            await raw.execute("UPDATE closing SET done_at = $2 WHERE case_id = $1 AND done_at IS NULL", case_id, now)
            if case.state is CaseState.CLOSED:
                return
            state = move(case.state, CaseState.CLOSED)
            await raw.execute("UPDATE cases SET state = $2, closed_at = $3 WHERE id = $1", case_id, state.value, now)
            data = {"number": case.csd.number if case.csd else None}
            notices = Notices(self._pack, self._domain, now)
            notices.events.append(NewEvent(case_id, EventType.CLOSED, now, data, request["who"]))
            closed = case.model_copy(update={"state": state, "closed_at": now})
            context = NotificationContext(closed, request["solution"])
            # A person closed it: that is told even to a correspondent whom no machine answers.
            told = self._calls.ask(self._pack, lambda: notices.add(row, NotificationKind.CLOSED, context))
            if told is None:
                await enqueue(connection, Job.ACTIVATE, [str(r["id"]) for r in await raw.fetch(TO_ACTIVATE, [case_id])])
            await notices.write(connection, raw)
            await append(raw, notices.events)

    async def reopen(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Open closed cases again, here and in the CSD; one that was closed without a ticket gets one now."""
        return await self._attempts.each(Job.REOPEN, ids, self._reopen)

    async def _reopen(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            rows = await cases.fetch(await raw_connection(connection), ids)
        for row in rows.values():
            case = cases.to_case(row)
            if case.state is not CaseState.CLOSED:
                continue
            ref = case.csd
            if ref is None:
                ref = await find_or_create(self._calls, self._csd, self._pack, row)
            await self._calls.call(self._csd, "reopen", lambda r=ref: self._csd.reopen(r, _WHY))  # type: ignore[misc]  # as in _close
            await self._reopened(case.id, ref, new=case.csd is None)

    async def _reopened(self, case_id: UUID, ref: CsdRef, *, new: bool) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            state = move(CaseState.CLOSED, CaseState.REOPENED).value
            if not await raw.fetch(_REOPENED, case_id, state, ref.backend, ref.number):
                return
            events = [NewEvent(case_id, EventType.REOPENED, now, {"why": _WHY})]
            if new:
                data = {"backend": ref.backend, "number": ref.number}
                events.append(NewEvent(case_id, EventType.REGISTERED, now, data, ref.backend))
                merged = await raw.fetch(MERGED, [case_id])
                await enqueue(connection, Job.FOLLOW_UP, [str(row["envelope_id"]) for row in merged])
            await append(raw, events)

    async def follow_up(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Note in the CSD's ticket that a message was added to the case.

        A case without a ticket has nowhere to note it: who gives it one asks again (see MERGED).
        """
        return await self._attempts.each(Job.FOLLOW_UP, ids, self._follow_up)

    async def _follow_up(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            rows = await (await raw_connection(connection)).fetch(_NOTED, list(ids))
        for row in rows:
            ref, key = CsdRef(backend=row["csd_backend"], number=row["csd_number"]), str(row["envelope_id"])
            text = f"A further message was added to the case at {row['at']:%Y-%m-%d %H:%M} UTC (envelope {key})."
            await self._calls.call(
                self._csd,
                "comment",
                lambda r=ref, k=key, t=text: self._csd.comment(r, k, t),  # type: ignore[misc]  # as in _close
            )
