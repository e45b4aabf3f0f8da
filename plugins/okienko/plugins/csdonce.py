"""Creating tickets exactly once in a system that has no idea of "once": what the CSD connectors share.

The look-up comes before the creation and again after an answer that was lost; the same case is never created twice at the same time
by one process (the core holds a lock for each case across processes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from uuid import UUID
from weakref import WeakValueDictionary

from okienko.plugins.csd import Registration
from okienko.plugins.errors import TransientError
from okienko.schemas import CsdRef

Find = Callable[[Sequence[UUID]], Awaitable[dict[UUID, CsdRef]]]
CreateOne = Callable[[Registration], Awaitable[CsdRef]]


class CreateOnce:
    """`CsdBackend.create` from a `find` and the creation of one ticket."""

    def __init__(self, find: Find, create_one: CreateOne, *, connections: int = 4) -> None:
        self._find = find
        self._create_one = create_one
        self._connections = connections
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend. Tickets are begun in the given order, several at a time.

        After the first failure none is begun any more, those in hand are finished, and the failure is raised.
        """
        wanted = {r.correlation_id: r for r in reversed(registrations)}
        async with AsyncExitStack() as stack:
            # In one order everywhere, so that two calls with the same cases cannot wait for each other.
            locks = [self._locks.setdefault(key, asyncio.Lock()) for key in sorted(wanted)]
            for lock in locks:
                await stack.enter_async_context(lock)
            refs = await self._find(list(wanted)) if wanted else {}
            order = dict.fromkeys(r.correlation_id for r in registrations)
            waiting = iter([wanted[key] for key in order if key not in refs])
            workers = [self._work(waiting, refs) for _ in range(min(self._connections, len(wanted)))]
            for failure in await asyncio.gather(*workers):
                if failure is not None:
                    raise failure
        return refs

    async def _work(self, waiting: Iterator[Registration], refs: dict[UUID, CsdRef]) -> Exception | None:
        for registration in waiting:
            try:
                refs[registration.correlation_id] = await self._one(registration)
            except Exception as failure:  # raised by `create` when the others are done
                for _ in waiting:
                    """Nothing further is begun."""
                return failure
        return None

    async def _one(self, registration: Registration) -> CsdRef:
        try:
            return await self._create_one(registration)
        except TransientError as lost:
            if lost.retry_after is not None:
                raise  # refused before it began
            found = await self._find([registration.correlation_id])
            if registration.correlation_id not in found:
                raise
            return found[registration.correlation_id]
