"""Work that arrives one by one and is cheaper done together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects what concurrent callers submit and hands it over in batches; each caller gets its own result.

    Nobody waits for a batch to fill: while one batch is in work the next gathers, so a lone item goes at once and load
    makes the batches large. `work` returns one result or exception for each item, in order; what it raises goes to all
    of its callers.
    """

    def __init__(
        self, work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, limit: int, parallel: int = 1
    ) -> None:
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._idle = parallel
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """The result for `item`, once its batch is through."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._kick()
        return await future

    def _kick(self) -> None:
        if self._idle and self._waiting:
            self._idle -= 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            # One turn of the loop lets callers that are ready in the same moment join the first batch.
            await asyncio.sleep(0)
            while self._waiting:
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                # Who has gone away meanwhile was never promised anything.
                wanted = [(item, future) for item, future in batch if not future.done()]
                if wanted:
                    await self._run_batch(wanted)
        finally:
            self._idle += 1
            self._kick()

    async def _run_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items were handed over, {len(results)} results came back")  # noqa: TRY301  the callers must hear of it
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    if isinstance(error, Exception):
                        future.set_exception(error)
                    else:
                        future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
