"""One writer at a time for each ticket within this process; between processes the core sees to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class TicketLocks:
    """Look, write, look again: nobody else of this process may write to the same ticket in between.

    Locks exist only while somebody holds or waits for them, so that their number stays that of the calls under way.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, *keys: str) -> AsyncIterator[None]:
        """Alone with these tickets. Two callers with the same tickets cannot wait for each other."""
        async with AsyncExitStack() as stack:
            for lock in [self._locks.setdefault(key, asyncio.Lock()) for key in sorted(set(keys))]:
                await stack.enter_async_context(lock)
            yield
