"""The Batcher: order, each its own result, and nobody left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.core.batching import Batcher


class Doubling:
    """Work that doubles numbers; a negative one fails alone. It remembers its batches and waits for `go`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.entered = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.entered.set()
        await self.go.wait()
        return [ValueError(str(n)) if n < 0 else 2 * n for n in items]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 7), st.integers(1, 3))
def test_everyone_gets_their_own(items: list[int], limit: int, parallel: int) -> None:
    async def run() -> None:
        work = Doubling()
        batcher: Batcher[int, int] = Batcher(work, limit=limit, parallel=parallel)
        results = await asyncio.gather(*map(batcher.submit, items), return_exceptions=True)
        for item, result in zip(items, results, strict=True):
            assert str(result) == str(item) if item < 0 else result == 2 * item
        assert [n for batch in work.batches for n in batch] == items
        assert all(len(batch) <= limit for batch in work.batches)

    asyncio.run(run())


async def test_while_one_batch_works_the_next_gathers() -> None:
    work = Doubling()
    work.go.clear()
    batcher: Batcher[int, int] = Batcher(work, limit=10)
    first = asyncio.create_task(batcher.submit(1))
    await work.entered.wait()
    rest = [asyncio.create_task(batcher.submit(n)) for n in range(2, 6)]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10]
    assert work.batches == [[1], [2, 3, 4, 5]]


async def test_what_the_work_raises_goes_to_all() -> None:
    async def work(items: Sequence[int]) -> list[int | Exception]:
        raise OSError("gone")

    batcher: Batcher[int, int] = Batcher(work, limit=10)
    results = await asyncio.gather(*map(batcher.submit, range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["gone"] * 3
    with pytest.raises(OSError, match="gone"):
        await batcher.submit(4)


async def test_work_that_loses_a_result_leaves_nobody_waiting() -> None:
    async def work(items: Sequence[int]) -> list[int | Exception]:
        return [0] * (len(items) - 1)

    batcher: Batcher[int, int] = Batcher(work, limit=10)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*map(batcher.submit, range(3)), return_exceptions=True)
    assert all(isinstance(result, RuntimeError) for result in results)


async def test_who_left_before_the_batch_is_not_worked_for() -> None:
    work = Doubling()
    work.go.clear()
    batcher: Batcher[int, int] = Batcher(work, limit=10)
    first = asyncio.create_task(batcher.submit(1))
    await work.entered.wait()
    gone, stays = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert (await first, await stays) == (2, 6)
    assert work.batches == [[1], [3]]


async def test_cancelled_during_the_batch_hurts_no_neighbour() -> None:
    work = Doubling()
    work.go.clear()
    batcher: Batcher[int, int] = Batcher(work, limit=10)
    gone, stays = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
    await work.entered.wait()
    gone.cancel()
    work.go.set()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone
