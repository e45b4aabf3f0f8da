"""How often one address may try something. Kept in memory, for each process on its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

_MOST_KEYS = 10_000


class RateLimiter:
    """A bucket of `burst` attempts for each key that fills up again in `period`."""

    def __init__(self, now: Callable[[], datetime], *, burst: int, period: timedelta) -> None:
        self._now = now
        self._burst = burst
        self._per_second = burst / period.total_seconds()
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Use one attempt up; False when there is none left."""
        now = self._now()
        left, at = self._buckets.pop(key, (float(self._burst), now))
        left = min(self._burst, left + max(0.0, (now - at).total_seconds()) * self._per_second)
        allowed = left >= 1
        self._buckets[key] = (left - 1 if allowed else left, now)
        if len(self._buckets) > _MOST_KEYS:
            self._buckets.popitem(last=False)
        return allowed
