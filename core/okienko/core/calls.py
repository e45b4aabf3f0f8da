"""Calls into plugins: a time limit for each, and a plugin whose settings are wrong is stopped instead of asked on and on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from okienko.core.csd.breaker import Breaker
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.limits import guarded, in_thread
from okienko.plugins.pace import PaceError

log = structlog.get_logger(__name__)
T = TypeVar("T")

PAUSE = 60.0
"""Seconds that a stopped plugin is left alone before one call tries it again."""


class Named(Protocol):
    """An object that a plugin registered."""

    name: str


@dataclass
class _Stop:
    problem: str
    until: float


class Calls:
    """The way from the core into plugins.

    A MisconfiguredError stops the plugin, loudly: `on_stop` is told once, and the work waits in the queue (TransientError)
    instead of being parked piece by piece for a fault that is not its own. After a pause one call is let through; when the
    plugin answers, `on_resume` is told and the work goes on. A restart begins afresh. A plugin that has a breaker is left alone
    for a while when it did not answer several times in a row.
    """

    def __init__(
        self,
        seconds: float,
        *,
        on_stop: Callable[[str, str], None] = lambda _name, _problem: None,
        on_resume: Callable[[str], None] = lambda _name: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._breakers: dict[int, tuple[Named, Breaker]] = {}
        self._on_stop = on_stop
        self._on_resume = on_resume
        self._clock = clock
        self._stopped: dict[str, _Stop] = {}

    def guard(self, thing: Named, breaker: Breaker) -> None:
        """From now on calls to this object (objects of two kinds may have one name) go through the breaker."""
        self._breakers[id(thing)] = (thing, breaker)

    def breaker_of(self, thing: Named) -> Breaker | None:
        """The object's breaker, if it has one."""
        known = self._breakers.get(id(thing))
        return known[1] if known is not None else None

    async def call(self, thing: Named, operation: str, make: Callable[[], Awaitable[T]]) -> T:
        """The result of the coroutine that `make` gives, within the time limit. Raises as `guarded` does."""
        self._enter(thing.name)
        breaker = self.breaker_of(thing)
        if breaker is not None:
            breaker.enter()
        try:
            result = await guarded(make(), plugin=thing.name, operation=operation, seconds=self.seconds)
        except PaceError:
            raise  # nothing was asked
        except TransientError as error:
            if breaker is not None:
                breaker.failed(error.retry_after)
            raise
        except MisconfiguredError as error:
            raise self._stop(thing.name, error) from error
        except PermanentError:
            self._answered(thing.name)
            if breaker is not None:
                breaker.succeeded()
            raise
        self._answered(thing.name)
        if breaker is not None:
            breaker.succeeded()
        return result

    def resting(self) -> dict[str, str]:
        """The plugins that are left alone, with the reason in words."""
        return {
            thing.name: f"did not answer {breaker.in_a_row} times in a row; work waits and goes on by itself"
            for thing, breaker in self._breakers.values() if breaker.is_open
        }  # fmt: skip

    def ask(self, thing: Named, make: Callable[[], T]) -> T:
        """The result of a plain function of a plugin. For the time limit, run a batch of these in `apart`."""
        self._enter(thing.name)
        try:
            result = make()
        except MisconfiguredError as error:
            raise self._stop(thing.name, error) from error
        self._answered(thing.name)
        return result

    async def apart(self, thing: Named, operation: str, make: Callable[[], T], *, seconds: float | None = None) -> T:
        """The result of plain work that may be long, in a thread of its own. Raises as `in_thread` does."""
        return await in_thread(make, plugin=thing.name, operation=operation, seconds=seconds or self.seconds)

    def _enter(self, plugin: str) -> None:
        stop = self._stopped.get(plugin)
        if stop is None:
            return
        now = self._clock()
        if now < stop.until:
            raise TransientError(
                f"the plugin {plugin} is stopped until it is mended: {stop.problem}", retry_after=stop.until - now + 1
            )
        stop.until = now + PAUSE  # this call is the trial; the others go on waiting

    def _stop(self, plugin: str, error: MisconfiguredError) -> TransientError:
        known = self._stopped.get(plugin)
        self._stopped[plugin] = _Stop(str(error), self._clock() + PAUSE)
        if known is None or known.problem != str(error):
            log.error("plugin stopped", action="plugin_stop", plugin=plugin, problem=str(error))
            self._on_stop(plugin, str(error))
        return TransientError(f"the plugin {plugin} is stopped until it is mended: {error}", retry_after=PAUSE + 1)

    def _answered(self, plugin: str) -> None:
        if self._stopped and self._stopped.pop(plugin, None) is not None:
            log.info("plugin works again", action="plugin_resume", plugin=plugin)
            self._on_resume(plugin)
