"""How often one address may try something: one allowance for all web processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.core.limits import Allowance, Limit
from okienko.metrics import catalogue as metrics

HOLDER = Allowance(Limit.HOLDER, 30, timedelta(minutes=5))
SIGN_IN = Allowance(Limit.SIGN_IN, 20, timedelta(minutes=5))
_MOST_KEYS = 10_000
# What a crash of the database's machine may lose of it is a fraction of a second of counting: no visitor waits for the disk.
_IN_PASSING = "SET LOCAL synchronous_commit = off"


class RateLimiter:
    """Counts in the database. Who was refused is remembered here until their next use is due, so that a flood stays out of it."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime], allowance: Allowance) -> None:
        self._engine = engine
        self._now = now
        self._allowance = allowance
        self._refused: OrderedDict[str, datetime] = OrderedDict()

    async def take(self, key: str) -> bool:
        """Use one attempt up; False when there is none left. Raises TransientError while the database is away."""
        now = self._now()
        until = self._refused.get(key)
        allowed = (until is None or now >= until) and await self._ask(key, now)
        if allowed:
            self._refused.pop(key, None)
            return True
        metrics.LIMITS.labels(self._allowance.limit.value).inc()
        if until is None or now >= until:
            self._refused[key] = now + self._allowance.cost
            self._refused.move_to_end(key)
            if len(self._refused) > _MOST_KEYS:
                self._refused.popitem(last=False)
        return False

    async def _ask(self, key: str, now: datetime) -> bool:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(_IN_PASSING)
            return await self._allowance.take(raw, now, key)
