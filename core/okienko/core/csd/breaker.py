"""A system that does not answer is left alone for a while, so that the rest goes on and it can come back.

Closed: every call goes through. After `failures` transient failures in a row it opens: calls are refused at once, and after a wait
one call is let through as a trial (half open). When the trial succeeds the breaker closes; when not, the wait doubles up to `longest`.
A system that asks for a pause (Retry-After) gets it; that it can ask says that it is not down, so that this alone opens nothing.
Source: Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

import time
from collections.abc import Callable

from okienko.plugins.errors import TransientError


class Breaker:
    """The breaker before one system, for one process."""

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        shortest: float = 5.0,
        longest: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None] = lambda _open: None,
    ) -> None:
        self._name = name
        self._failures = failures
        self._shortest = shortest
        self._longest = longest
        self._clock = clock
        self._on_change = on_change
        self._in_a_row = 0
        self._wait = shortest
        self._until: float | None = None
        self._held = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused or only tried."""
        return self._until is not None

    @property
    def in_a_row(self) -> int:
        """Failures since the last answer."""
        return self._in_a_row

    def enter(self) -> None:
        """Before a call. Raises TransientError, with the seconds to wait, while the system is left alone."""
        now = self._clock()
        if now < self._held:
            raise TransientError(f"{self._name} asked to be left alone for now", retry_after=self._held - now)
        if self._until is None:
            return
        if now < self._until:
            raise TransientError(
                f"{self._name} did not answer {self._in_a_row} times in a row and is left alone for now",
                retry_after=self._until - now,
            )
        self._until = now + self._wait  # this call is the trial; the others go on waiting

    def succeeded(self) -> None:
        """After a call that the system answered, even if with a refusal."""
        self._in_a_row = 0
        if self._until is not None:
            self._until = None
            self._wait = self._shortest
            self._on_change(False)

    def failed(self, retry_after: float | None = None) -> None:
        """After a call that got no answer, or one that asks for a pause of `retry_after` seconds."""
        if retry_after:
            self._held = max(self._held, self._clock() + retry_after)
            return
        self._in_a_row += 1
        if self._until is not None:
            self._wait = min(self._wait * 2, self._longest)
            self._until = self._clock() + self._wait
        elif self._in_a_row >= self._failures:
            self._wait = self._shortest
            self._until = self._clock() + self._wait
            self._on_change(True)
