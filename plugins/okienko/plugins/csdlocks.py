"""One writer at a time for each ticket or case within this process; between processes the core sees to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class TicketLocks:
    """Look, write, look again: nobody else of this process may write to the same ticket in between.

    Locks exist only while somebody holds or waits for them, so that their number stays that of the calls under way.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        """How many are held or waited for."""
        return len(self._locks)

    @asynccontextmanager
    async def held(self, *keys: Hashable) -> AsyncIterator[None]:
        """Alone with these: numbers of tickets, ids of cases. Two callers with the same ones cannot wait for each other."""
        async with AsyncExitStack() as stack:
            for lock in [self._locks.setdefault(key, asyncio.Lock()) for key in sorted(set(map(str, keys)))]:
                await stack.enter_async_context(lock)
            yield
