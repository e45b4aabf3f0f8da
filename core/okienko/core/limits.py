"""Limits that all processes share: allowances in the database, used up atomically and filling up again with time.

Each is one row that holds one time (GCRA, the generic cell rate algorithm of ITU-T I.371): until when what was used up lasts.
A use costs the period divided by the burst, and there is room while less than a period is used up; so in any stretch of time t
at most burst + t / period x burst uses go through, however many processes ask at the same moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction


class Limit(StrEnum):
    """Every limit; values of the metric's label and words in events."""

    REPEAT = "repeat"
    """The same request again: it is part of the open case."""
    ACCOUNT_OPEN = "account_open"
    """The account has an open reset action: the case gets none of its own."""
    ACCOUNT_DAY = "account_day"
    """The account has had its reset actions of the day."""
    LOOKUPS_DAY = "lookups_day"
    """The account was looked up too often in a day."""
    NOTICE_DAY = "notice_day"
    """The account's holder was told of a change of login within a day."""
    ANSWERS_DAY = "answers_day"
    """The sender has had the automatic answers of the day: the case gets none."""
    SIGN_IN = "sign_in"
    """Attempts to sign in from one address."""
    HOLDER = "holder"
    """Visits of activation and stop links from one address."""


_TAKE = """
INSERT INTO allowance AS a (key, spent_until) VALUES ($1, $2::timestamptz + $3::interval)
ON CONFLICT (key) DO UPDATE SET spent_until = greatest(a.spent_until, $2) + $3
WHERE greatest(a.spent_until, $2) + $3 <= $2 + $4::interval
RETURNING true
"""
# In portions, and past rows that are in use: nobody waits for it.
_SWEEP = """
DELETE FROM allowance WHERE key IN (SELECT key FROM allowance WHERE spent_until <= $1 ORDER BY spent_until LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
_PORTION = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` uses at once, filling up again in `period`, for each key on its own."""

    limit: Limit
    burst: int
    period: timedelta

    @property
    def cost(self) -> timedelta:
        """What one use takes from the period; rounded down, so that the whole burst always fits."""
        return timedelta(microseconds=self.period // timedelta(microseconds=1) // self.burst)

    def key(self, *parts: str) -> bytes:
        """What the row is found by. A hash: it has one size, and an address is not kept in the open."""
        digest = sha256(self.limit.value.encode())
        for part in parts:
            digest.update(b"\0" + part.encode("utf-8", "surrogatepass"))
        return digest.digest()

    async def take(self, raw: Any, now: datetime, *parts: str) -> bool:
        """Use one up, in the transaction of `raw` (an asyncpg connection); False when there is none left.

        Until that transaction ends, others that ask for the same key wait.
        """
        return bool(await raw.fetchval(_TAKE, self.key(*parts), now, self.cost, self.period))


async def sweep(engine: AsyncEngine, now: datetime) -> int:
    """Delete the rows whose time is over: they say nothing any more. How many there were."""
    total = 0
    while True:
        async with transaction(engine) as connection:
            status: str = await (await raw_connection(connection)).execute(_SWEEP, now, _PORTION)
        gone = int(status.rpartition(" ")[2])
        total += gone
        if gone < _PORTION:
            return total
