"""What goes wrong on the way to a CSD and back, by order or by chance."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from random import Random
from typing import TypeVar

from okienko.plugins.errors import TransientError

T = TypeVar("T")


class Fault(StrEnum):
    """One way for a request to fail."""

    LOST_ANSWER = "lost_answer"
    """The system did it, and the answer never came: a time-out after the commit."""
    TIMEOUT = "timeout"
    """A time-out, and nothing was done."""
    BUSY = "busy"
    """429 with Retry-After: nothing was done."""
    ERROR = "error"
    """500: nothing was done."""
    RESET = "reset"
    """The connection was reset, before or after it was done."""
    SLOW = "slow"
    """It was done, late."""


async def no_pause() -> None:
    """Another task gets its turn, as it would while a request is on its way."""
    await asyncio.sleep(0)


class Faults:
    """Decides how each request goes. `rates` are the chances of each fault, drawn from `rng`; orders come before chance."""

    def __init__(
        self,
        rates: Mapping[Fault, float] | None = None,
        rng: Random | None = None,
        *,
        retry_after: float = 0.0,
        slow: Callable[[], Awaitable[None]] = no_pause,
    ) -> None:
        if sum((rates or {}).values()) > 1:
            raise ValueError("the rates add up to more than 1")
        if rates and rng is None:
            raise ValueError("chance needs an rng: pass a seeded random.Random")
        self.rates = dict(rates or {})
        self.retry_after = retry_after
        self._rng = rng
        self._slow = slow
        self._ordered: deque[tuple[Fault, tuple[str, ...]]] = deque()
        self.happened: Counter[Fault] = Counter()

    def order(self, fault: Fault, *requests: str, times: int = 1) -> None:
        """The next requests with one of these names (none given: any) go this way."""
        self._ordered.extend([(fault, requests)] * times)

    def clear(self) -> None:
        """From now on nothing fails."""
        self._ordered.clear()
        self.rates = {}

    async def carry(self, request: str, work: Callable[[], T]) -> T:
        """Do `work` as one request. Raises TransientError for a fault, also when the work was done."""
        fault = self._next(request)
        if fault is None:
            return work()
        self.happened[fault] += 1
        if fault is Fault.BUSY:
            raise TransientError(f"{request}: the server is busy (429)", retry_after=self.retry_after)
        if fault is Fault.ERROR:
            raise TransientError(f"{request}: the server failed with 500")
        if fault is Fault.TIMEOUT or (fault is Fault.RESET and self._rng is not None and self._rng.random() < 0.5):
            raise TransientError(f"{request}: {_WORDS[fault]}")
        if fault is Fault.SLOW:
            await self._slow()
            return work()
        work()
        raise TransientError(f"{request}: {_WORDS[fault]}")

    def _next(self, request: str) -> Fault | None:
        for place, (fault, wanted) in enumerate(self._ordered):
            if not wanted or request in wanted:
                del self._ordered[place]
                return fault
        if self.rates and self._rng is not None:
            drawn = self._rng.random()
            for fault, rate in self.rates.items():
                drawn -= rate
                if drawn < 0:
                    return fault
        return None


_WORDS = {
    Fault.TIMEOUT: "no answer within 15 s",
    Fault.LOST_ANSWER: "no answer within 15 s",
    Fault.RESET: "the connection broke (ReadError)",
}
