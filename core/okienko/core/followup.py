"""Jobs of before there were outboxes: what a live installation had queued or parked then goes into the outbox of its case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.attempts import Attempts
from okienko.core.csd import outbox
from okienko.core.csd.outbox import Kind, New
from okienko.core.database import raw_connection, transaction
from okienko.core.jobs import Job

_CLOSING = """
SELECT DISTINCT w.case_id FROM closing w WHERE w.case_id = ANY($1::uuid[]) AND w.done_at IS NULL
AND NOT EXISTS (SELECT FROM csd_outbox o WHERE o.case_id = w.case_id AND o.kind = 'close' AND o.state IN ('waiting', 'parked'))
"""
_CLOSED = """
SELECT c.id AS case_id FROM cases c WHERE c.id = ANY($1::uuid[]) AND c.state = 'closed'
AND NOT EXISTS (SELECT FROM csd_outbox o WHERE o.case_id = c.id AND o.kind = 'reopen' AND o.state IN ('waiting', 'parked'))
"""
_MERGED = """
SELECT m.case_id, m.envelope_id AS ref FROM case_message m JOIN cases c ON c.id = m.case_id
WHERE m.envelope_id = ANY($1::uuid[]) AND c.csd_number IS NOT NULL ORDER BY m.at
"""


class FollowUp:
    """Each of them can be done again without harm."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime], *, attempts: Attempts) -> None:
        self._engine = engine
        self._now = now
        self._attempts = attempts

    async def close(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Cases with a request to close."""
        return await self._attempts.each(Job.CLOSE, ids, lambda some: self._put(_CLOSING, Kind.CLOSE, some))

    async def reopen(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Closed cases to be opened again."""
        return await self._attempts.each(Job.REOPEN, ids, lambda some: self._put(_CLOSED, Kind.REOPEN, some))

    async def follow_up(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Envelopes that were merged. A case without a ticket takes its mails along when it gets one (see MERGED)."""
        return await self._attempts.each(Job.FOLLOW_UP, ids, lambda some: self._put(_MERGED, Kind.MAIL, some))

    async def _put(self, query: str, kind: Kind, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            found = await raw.fetch(query, list(ids))
            rows: list[New] = [(row["case_id"], kind, row.get("ref")) for row in found]
            await outbox.put(raw, rows, self._now())
            await outbox.wake(connection, [case_id for case_id, _, _ in rows])
