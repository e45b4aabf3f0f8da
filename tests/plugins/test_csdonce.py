"""OnceOnly: in order, so many at once, and never two tasks with one case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from okienko.plugins.csd import Registration
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.errors import TransientError
from okienko.plugins.testing.conformance.csdbase import registration
from okienko.schemas import CsdRef


class Slow:
    """A system that answers when it is told to."""

    def __init__(self) -> None:
        self.begun: list[UUID] = []
        self.done: dict[UUID, CsdRef] = {}
        self.go = asyncio.Event()
        self.looked: list[int] = []

    async def find(self, ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        self.looked.append(len(ids))
        return {key: self.done[key] for key in ids if key in self.done}

    async def create_one(self, one: Registration) -> CsdRef:
        self.begun.append(one.correlation_id)
        await self.go.wait()
        self.done[one.correlation_id] = CsdRef(backend="slow", number=str(len(self.done) + 1))
        return self.done[one.correlation_id]


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_so_many_at_once_begun_in_order() -> None:
    system = Slow()
    batch = [registration() for _ in range(7)]
    task = asyncio.create_task(OnceOnly(system.find, system.create_one, at_once=3).create(batch))
    await until_idle()
    assert system.begun == [r.correlation_id for r in batch[:3]]
    system.go.set()
    refs = await task
    assert list(refs) == system.begun == [r.correlation_id for r in batch]
    assert [ref.number for ref in refs.values()] == list("1234567")
    assert system.looked == [7], "one look for the whole batch"


async def test_overlapping_batches_wait_for_each_other() -> None:
    system = Slow()
    once = OnceOnly(system.find, system.create_one, at_once=9)
    a, b, c = (registration() for _ in range(3))
    first = asyncio.create_task(once.create([a, b]))
    second = asyncio.create_task(once.create([c, b, a]))
    await until_idle()
    assert system.begun == [a.correlation_id, b.correlation_id]
    system.go.set()
    assert (await first).items() <= (await second).items()
    assert len(system.begun) == len(system.done) == 3
    assert not once._locks, "locks are not kept"


async def test_who_is_cancelled_lets_others_go_on() -> None:
    system = Slow()
    once = OnceOnly(system.find, system.create_one)
    one = registration()
    first = asyncio.create_task(once.create([one]))
    await until_idle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    system.go.set()
    assert len(await once.create([one])) == 1


async def test_a_doubtful_answer_that_stays_doubtful() -> None:
    """Not found after the time-out: it may still come, so that nothing is created again at once."""
    attempts = 0

    async def fails(one: Registration) -> CsdRef:
        nonlocal attempts
        attempts += 1
        raise TransientError("no answer", retry_after=3.0)

    system = Slow()
    with pytest.raises(TransientError) as caught:
        await OnceOnly(system.find, fails).create([registration()])
    assert (attempts, caught.value.retry_after, system.looked) == (1, 3.0, [1, 1])
