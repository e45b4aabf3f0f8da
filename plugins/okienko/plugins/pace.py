"""How fast a system may be asked: one pace for all processes that share an account there.

The core lends each connector a `Pace` (see `PluginContext.pace`) that all workers of the installation share. `LocalPace` is the
same for one process: for tests, the command line and plugins that are tried alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from okienko.plugins.errors import TransientError


class PaceError(TransientError):
    """It is not our turn yet, and nothing was asked of the system: this says nothing about how it is."""


@runtime_checkable
class Pace(Protocol):
    """The turn-taking before one system."""

    async def turn(self) -> None:
        """Return when a request may be sent. Raises PaceError with `retry_after` when that is too far away to wait for."""
        ...

    async def hold(self, seconds: float) -> None:
        """The system asked everyone to wait (Retry-After, quota used up): nobody gets a turn before that."""
        ...


class LocalPace:
    """See Pace. At most `per_hour` requests an hour, evenly, with `burst` at once after a rest; None: as fast as they come."""

    def __init__(
        self,
        per_hour: float | None = None,
        *,
        burst: int = 10,
        longest_wait: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._step = 3600.0 / per_hour if per_hour else 0.0
        self._burst = burst
        self._longest_wait = longest_wait
        self._clock = clock
        self._sleep = sleep
        self._next = clock() - self._step * burst
        self._held = 0.0

    async def turn(self) -> None:
        """See Pace."""
        now = self._clock()
        at = max(self._next, now - self._step * self._burst, self._held)
        wait = at - now
        if wait > self._longest_wait:
            raise PaceError(f"the agreed pace allows the next request in {wait:.0f} s", retry_after=wait)
        self._next = at + self._step
        if wait > 0:
            await self._sleep(wait)

    async def hold(self, seconds: float) -> None:
        """See Pace."""
        self._held = max(self._held, self._clock() + seconds)
