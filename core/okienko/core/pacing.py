"""The pace that all processes of an installation share, kept in PostgreSQL: one row for each system.

A turn is one atomic UPDATE: it takes the next free moment and moves it on (GCRA, the virtual scheduling of ITU-T I.371). Rows are
locked for that statement only, in the order in which they are asked for, so that nobody is passed over. What the burst takes at
once is taken off the steady pace: in no hour, wherever it begins, are there more requests than agreed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.plugins.errors import TransientError
from okienko.plugins.limits import patience, waits
from okienko.plugins.pace import Pace, PaceError

_ADD = """
INSERT INTO pace (name, next_at, held_until) VALUES ($1, coalesce($2, clock_timestamp()) - $3::interval, '-infinity')
ON CONFLICT DO NOTHING
"""
_TURN = """
WITH free AS (
    SELECT p.name, n.now, greatest(p.next_at, n.now - $4::interval, p.held_until) AS at
    FROM pace p, (SELECT coalesce($2::timestamptz, clock_timestamp()) AS now) n WHERE p.name = $1 FOR UPDATE OF p
)
UPDATE pace SET next_at = CASE WHEN free.at <= free.now + $5::interval THEN free.at + $3::interval ELSE pace.next_at END
FROM free WHERE pace.name = free.name RETURNING extract(epoch FROM free.at - free.now)::float8 AS wait
"""
_HELD = """
SELECT extract(epoch FROM held_until - coalesce($2::timestamptz, clock_timestamp()))::float8 AS wait FROM pace
WHERE name = $1 AND held_until > coalesce($2::timestamptz, clock_timestamp())
"""
_HOLD = """
UPDATE pace SET held_until = greatest(held_until, coalesce($2::timestamptz, clock_timestamp()) + $3::interval) WHERE name = $1
"""
_AHEAD = 3
"""Who is sent away comes back when so many further turns have gathered: a look-up without a turn for what it is for is wasted."""
_FRESH = 1.0
"""Seconds for which a system without a quota is taken for not held since it was last looked up."""


class SharedPace:
    """See Pace. `per_hour` None: as fast as they come, but a hold is for everyone."""

    def __init__(
        self,
        engine: AsyncEngine,
        name: str,
        per_hour: int | None = None,
        *,
        burst: int = 10,
        longest_wait: float = 30.0,
        now: Callable[[], datetime] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`now` None: the database's clock, which all machines share; a test's clock goes into both `now` and `clock`."""
        self._engine = engine
        self._name = name
        self._longest_wait = longest_wait
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._step = 0.0
        self._saved = 0.0
        if per_hour is not None:
            burst = max(1, min(burst, per_hour // 2))
            # Of any hour's turns `burst` may come at once; see the module.
            self._step = 3600.0 / max(per_hour - burst, 0.5)
            self._saved = self._step * (burst - 1)
        self._added = False
        self._away = 0.0
        self._fresh = 0.0

    async def turn(self) -> None:
        """See Pace."""
        away = self._away - self._clock()
        if away > 0:
            # It was said a moment ago; the database need not be asked again.
            raise self._later(away)
        longest = min(self._longest_wait, patience())
        wait = await (self._take(longest) if self._step else self._held())
        if wait <= 0:
            return
        if wait > longest:
            back = wait + self._step * _AHEAD
            self._away = self._clock() + min(back, self._longest_wait)
            raise self._later(back)
        waits(wait)
        await self._sleep(wait)

    async def hold(self, seconds: float) -> None:
        """See Pace."""
        await self._run(_HOLD, timedelta(seconds=seconds))
        self._fresh = 0.0

    async def _take(self, longest: float) -> float:
        step, saved = timedelta(seconds=self._step), timedelta(seconds=self._saved)
        return float(await self._run(_TURN, step, saved, timedelta(seconds=longest)))

    async def _held(self) -> float:
        if self._clock() < self._fresh:
            return 0.0
        wait = float(await self._run(_HELD) or 0.0)
        if wait <= 0:
            self._fresh = self._clock() + _FRESH
        return wait

    async def _run(self, statement: str, *arguments: object) -> Any:
        try:
            async with transaction(self._engine) as connection:
                raw = await raw_connection(connection)
                now = self._now() if self._now is not None else None
                if not self._added:
                    await raw.execute(_ADD, self._name, now, timedelta(seconds=self._saved))
                    self._added = True
                return await raw.fetchval(statement, self._name, now, *arguments)
        except TransientError as error:
            # The database is away, not the system: its breaker need not know.
            raise PaceError(str(error)) from error

    def _later(self, seconds: float) -> PaceError:
        return PaceError(f"the agreed pace of {self._name} has no turn for {seconds:.0f} s", retry_after=seconds)


def shared_paces(engine: AsyncEngine, per_hour: Mapping[str, int], burst: int) -> Callable[[str], Pace]:
    """For PluginContext.paces. `per_hour`: requests by the name of the CSD or of the pace."""

    def pace(name: str) -> Pace:
        quota = per_hour.get(name, per_hour.get(name.removeprefix("csd ")))
        return SharedPace(engine, name, quota, burst=burst)

    return pace
