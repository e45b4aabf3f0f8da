"""What several cases ask of the database at the same moment is asked in one transaction, and none pays for another's failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from okienko.core.batching import Batcher
from okienko.plugins.errors import TransientError

T = TypeVar("T")
R = TypeVar("R")
_MOST = 100


class Joined(Generic[T, R]):
    """`work` does any number of things in one transaction and answers each, in order, with its result or its exception."""

    def __init__(self, work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]) -> None:
        self._work = work
        self._batcher: Batcher[T, R] = Batcher(self._together, limit=_MOST)

    async def ask(self, thing: T) -> R:
        """The result for this one. Raises what `work` raises for it alone."""
        answer = asyncio.ensure_future(self._batcher.submit(thing))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            # The transaction goes on. Until it has ended the caller keeps its case, or another worker would work beside it.
            await asyncio.wait([answer])
            raise

    async def _together(self, things: Sequence[T]) -> Sequence[R | Exception]:
        try:
            return await self._work(things)
        except Exception as error:
            if len(things) == 1 or isinstance(error, TransientError):
                return [error] * len(things)
        return [result for thing in things for result in await self._together([thing])]
