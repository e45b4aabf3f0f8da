"""LocalPace: never more than was agreed, and a hold holds everyone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.context import PluginContext
from okienko.plugins.errors import TransientError
from okienko.plugins.pace import LocalPace, Pace


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def paced(time: Time, per_hour: float | None, **more: float) -> LocalPace:
    return LocalPace(per_hour, clock=time, sleep=time.sleep, **more)  # type: ignore[arg-type]


def run(story: Callable[[], object]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


@given(per_hour=st.integers(1, 100_000), burst=st.integers(1, 20), rests=st.lists(st.floats(0, 5000), max_size=40))
def test_never_more_than_agreed(per_hour: int, burst: int, rests: list[float]) -> None:
    """In any stretch of time there are at most `burst` turns and one for each step of it."""
    time = Time()
    pace = paced(time, per_hour, burst=burst, longest_wait=1e9)
    turns: list[float] = []

    async def story() -> None:
        for rest in rests:
            await pace.turn()
            turns.append(time.now)
            time.now += rest if rest > 2500 else 0

    run(story)
    step = 3600 / per_hour
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            assert last - first + 1 <= burst + 1 + (turns[last] - turns[first]) / step + 1e-6


async def test_a_burst_then_evenly() -> None:
    time = Time()
    pace = paced(time, 500, burst=3, longest_wait=60)
    turns = []
    for _ in range(6):
        await pace.turn()
        turns.append(round(time.now - 1000, 3))
    step = 7.2
    late = [turn for turn in turns if turn > 0]
    assert all(round(b - a, 3) == step for a, b in itertools.pairwise(late))
    assert 3 <= turns.count(0) <= 4


async def test_too_far_away_is_told() -> None:
    time = Time()
    pace = paced(time, 60, burst=1, longest_wait=5)
    waits = []
    for _ in range(5):
        try:
            await pace.turn()
        except TransientError as error:
            waits.append(error.retry_after)
    assert waits
    assert all(wait == waits[0] for wait in waits), "who is turned away takes no turn"
    time.now += waits[0] or 0
    await pace.turn()


async def test_a_hold_holds_everyone() -> None:
    time = Time()
    pace = paced(time, None, longest_wait=5)
    await pace.hold(4)
    await pace.hold(1)
    await pace.turn()
    assert time.now == 1004
    await pace.hold(30)
    with pytest.raises(TransientError) as caught:
        await pace.turn()
    assert caught.value.retry_after == 30
    time.now += 30
    before = time.now
    for _ in range(100):
        await pace.turn()
    assert time.now == before, "without an agreed rate nobody waits"


def test_the_context_lends_one(tmp_path: object) -> None:
    context = PluginContext(home=tmp_path, environ={})  # type: ignore[arg-type]
    assert isinstance(context.pace("rt"), Pace)
