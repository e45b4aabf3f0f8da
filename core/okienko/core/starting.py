"""An identity backend is started by the first job that needs it, and again until it comes up.

Mail is taken in and answered while a directory is away; only the look at accounts waits for it. Until a backend was started it does
not know what it can do, so nobody reads its `operations` before that.
"""

from __future__ import annotations

import asyncio

from okienko.core.calls import Calls
from okienko.plugins.identity import IdentityBackend


class Starting:
    """Starts one backend, once."""

    def __init__(self, backend: IdentityBackend, calls: Calls) -> None:
        self._backend = backend
        self._calls = calls
        self._started = False
        self._lock = asyncio.Lock()

    async def ready(self) -> IdentityBackend:
        """The backend, started. Raises TransientError while it cannot be."""
        if not self._started:
            async with self._lock:
                if not self._started:
                    await self._calls.call(self._backend, "start", self._backend.start)
                    self._started = True
        return self._backend
