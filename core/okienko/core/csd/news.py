"""What the CSD says has changed: asked by the clock with a cursor, and told by webhook. Either only makes jobs; the tickets are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.calls import Calls
from okienko.core.csd import outbox, shadows
from okienko.core.database import raw_connection, transaction
from okienko.plugins.csd import Capability, Changes, CsdBackend
from okienko.plugins.errors import OkienkoError
from okienko.schemas import CsdRef

log = structlog.get_logger(__name__)

PAGE = 100
_PAGES = 50
"""Pages read in one go; what is left comes with the next."""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('okienko csd poll ' || $1, 0))"
_CURSOR = "SELECT cursor, asked_at FROM csd_cursor WHERE backend = $1"
_SAVE = """
INSERT INTO csd_cursor (backend, cursor, asked_at) VALUES ($1, $2, $3)
ON CONFLICT (backend) DO UPDATE SET cursor = excluded.cursor, asked_at = excluded.asked_at
"""


async def take(engine: AsyncEngine, backend: str, refs: Sequence[CsdRef]) -> int:
    """These tickets may have changed: their cases are read by jobs. How many are none of ours."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        fresh, known = await shadows.news(raw, backend, refs)
        await outbox.wake(connection, fresh)
    return max(0, len({(ref.number, ref.id) for ref in refs}) - known)


class Poll:
    """Asks the CSD what has changed. Of all processes one does it at a time, and none before the interval is over."""

    def __init__(
        self, engine: AsyncEngine, now: Callable[[], datetime], csd: CsdBackend, calls: Calls, *, interval: timedelta
    ) -> None:
        self._engine = engine
        self._now = now
        self._csd = csd
        self._calls = calls
        self._interval = interval

    async def run(self) -> None:
        """Ask for ever, until cancelled. A CSD that cannot tell is never asked."""
        if Capability.CHANGES not in self._csd.capabilities:
            return
        while True:
            try:
                await self.once()
            except OkienkoError as error:
                log.warning("csd not asked what has changed", action="csd_poll", problem=str(error))
            await asyncio.sleep(self._interval.total_seconds())

    async def once(self) -> bool:
        """Ask now, if nobody else does or has just done. Whether the CSD was asked. Raises what the call raises."""
        name = self._csd.name
        async with transaction(self._engine) as holding:
            lock = await raw_connection(holding)
            if not await lock.fetchval(_LOCK, name):
                return False
            kept = await lock.fetchrow(_CURSOR, name)
            # A little early is on time: two processes' clocks are never quite alike.
            if kept is not None and self._now() - kept["asked_at"] < self._interval * 0.9:
                return False
            cursor: str | None = kept["cursor"] if kept is not None else None
            for _ in range(_PAGES):
                told = await self._ask(cursor)
                await self._keep(told, first=cursor is None)
                cursor = told.cursor
                if not told.more:
                    break
        return True

    async def _ask(self, cursor: str | None) -> Changes:
        return await self._calls.call(self._csd, "changes", lambda: self._csd.changes(cursor, limit=PAGE))

    async def _keep(self, told: Changes, *, first: bool) -> None:
        """The jobs and the cursor in one commit, so that nothing is skipped."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            fresh, _ = await shadows.news(raw, self._csd.name, told.refs)
            if first:
                # Of what happened before the first question nothing is known.
                fresh += await shadows.all_open(raw, self._csd.name)
            await raw.execute(_SAVE, self._csd.name, told.cursor, self._now())
            await outbox.wake(connection, fresh)
