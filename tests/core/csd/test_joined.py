"""Many cases in one transaction: none pays for another's failure, and who is cancelled keeps its case until the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from okienko.core.csd.joined import Joined
from okienko.plugins.errors import PermanentError, TransientError

pytestmark = pytest.mark.asyncio


async def test_what_is_asked_at_the_same_moment_is_done_together() -> None:
    batches: list[list[int]] = []

    async def work(things: Sequence[int]) -> list[int | Exception]:
        batches.append(list(things))
        return [thing * 2 for thing in things]

    joined = Joined(work)
    assert await asyncio.gather(*map(joined.ask, range(5))) == [0, 2, 4, 6, 8]
    assert batches == [[0, 1, 2, 3, 4]]


async def test_a_failure_is_its_own_only() -> None:
    async def work(things: Sequence[int]) -> list[int | Exception]:
        if 3 in things:
            raise ValueError("three")
        return [PermanentError("one") if thing == 1 else thing for thing in things]

    results = await asyncio.gather(*map(Joined(work).ask, range(5)), return_exceptions=True)
    assert [type(one) for one in results] == [int, PermanentError, int, ValueError, int]


async def test_a_database_that_is_away_is_not_tried_for_each() -> None:
    tried = 0

    async def work(things: Sequence[int]) -> list[int | Exception]:
        nonlocal tried
        tried += 1
        raise TransientError("away")

    results = await asyncio.gather(*map(Joined(work).ask, range(5)), return_exceptions=True)
    assert all(isinstance(one, TransientError) for one in results)
    assert tried == 1


async def test_who_is_cancelled_waits_for_the_transaction() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), False

    async def work(things: Sequence[int]) -> list[int | Exception]:
        nonlocal ended
        begun.set()
        await go_on.wait()
        ended = True
        return list(things)

    task = asyncio.create_task(Joined(work).ask(1))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
