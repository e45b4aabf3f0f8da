"""How often one address may try something: one allowance for all web processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.core.limits import Allowance, Limit
from okienko.metrics import catalogue as metrics

HOLDER = Allowance(Limit.HOLDER, 30, timedelta(minutes=5))
SIGN_IN = Allowance(Limit.SIGN_IN, 20, timedelta(minutes=5))
_MOST_KEYS = 10_000
# What a crash of the database's machine may lose of it is a fraction of a second of counting: no visitor waits for the disk.
_IN_PASSING = "SET LOCAL synchronous_commit = off"


class Taken(Enum):
    """What became of an attempt."""

    ALLOWED = auto()
    REFUSED = auto()
    FIRST_REFUSED = auto()
    """Refused, and the first such of that key in a period: this one is worth a line in the audit."""


class RateLimiter:
    """Counts in the database. Who was refused is remembered here until their next use is due, so that a flood stays out of it."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime], allowance: Allowance) -> None:
        self._engine = engine
        self._now = now
        self.allowance = allowance
        # Until when the key is refused without asking, and until when its refusals are told.
        self._refused: OrderedDict[str, tuple[datetime, datetime]] = OrderedDict()

    async def take(self, key: str) -> Taken:
        """Use one attempt up, if there is one left. Raises TransientError while the database is away."""
        now = self._now()
        until, _ = self._refused.get(key, (now, now))
        if now >= until and await self._ask(key, now):
            return Taken.ALLOWED
        metrics.LIMITS.labels(self.allowance.limit.value).inc()
        # Read again: others of the same key came while the database was asked.
        until, told = self._refused.get(key, (now, now))
        first = now >= told
        self._refused[key] = (
            now + self.allowance.cost if now >= until else until,
            now + self.allowance.period if first else told,
        )
        self._refused.move_to_end(key)
        if len(self._refused) > _MOST_KEYS:
            self._refused.popitem(last=False)
        return Taken.FIRST_REFUSED if first else Taken.REFUSED

    async def _ask(self, key: str, now: datetime) -> bool:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(_IN_PASSING)
            return await self.allowance.take(raw, now, key)
