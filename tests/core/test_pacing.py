"""The pace that processes share: never more than agreed, whoever asks; a hold is for all; a quota is used and not run against."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import make_engine
from okienko.core.pacing import SharedPace, shared_paces
from okienko.core.service import csd_breaker
from okienko.plugins.csd import Capability
from okienko.plugins.errors import TransientError
from okienko.plugins.limits import LONGEST_WAITS, guarded
from okienko.plugins.pace import PaceError
from okienko.plugins.testing import FixedClock, MemoryCsd
from okienko.plugins.testing.csdsystem import MemorySystem

T = TypeVar("T")
HOUR = 3600.0


class Time(FixedClock):
    """A clock that only sleeping moves."""

    def seconds(self) -> float:
        return self().timestamp()

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.advance(timedelta(seconds=seconds))


@pytest.fixture
async def second(migrated_url: str) -> AsyncIterator[AsyncEngine]:
    """Another process's engine on the same database."""
    engine = make_engine(migrated_url)
    yield engine
    await engine.dispose()


def paced(engine: AsyncEngine, time: Any, per_hour: int | None, **more: Any) -> SharedPace:
    return SharedPace(engine, "csd x", per_hour, now=time, clock=time.seconds, sleep=time.sleep, **more)


class Quota:
    """A system that allows so many requests in any hour, and answers all others with 429."""

    def __init__(self, per_hour: int, time: Time) -> None:
        self.per_hour = per_hour
        self.time = time
        self.served: deque[float] = deque()
        self.refused = 0

    def ask(self) -> None:
        now = self.time.seconds()
        while self.served and self.served[0] <= now - HOUR:
            self.served.popleft()
        if len(self.served) >= self.per_hour:
            self.refused += 1
            raise TransientError("429", retry_after=self.served[0] + HOUR - now)
        self.served.append(now)


@pytest.mark.parametrize("burst", [1, 10, 400])
async def test_two_processes_keep_one_quota(store: AsyncEngine, second: AsyncEngine, burst: int) -> None:
    time = Time()
    quota = Quota(500, time)
    paces = [paced(engine, time, 500, burst=burst) for engine in (store, second)]
    rng = random.Random(4)
    begun = time.seconds()
    for _ in range(700):
        pace = rng.choice(paces)
        try:
            await pace.turn()
        except PaceError as error:
            time.advance(timedelta(seconds=error.retry_after or 0))
            continue
        quota.ask()
    assert quota.refused == 0
    assert len(quota.served) > 100
    assert time.seconds() - begun < 3 * HOUR


async def test_a_burst_comes_at_once_and_again_after_a_rest(store: AsyncEngine, second: AsyncEngine) -> None:
    time = Time()
    paces = [paced(engine, time, 110, burst=10, longest_wait=0) for engine in (store, second)]

    async def at_once() -> int:
        for count in range(100):
            try:
                await paces[count % 2].turn()
            except PaceError:
                return count
        raise AssertionError("nobody is ever turned away")

    assert await at_once() == 10
    time.advance(timedelta(hours=5))
    assert await at_once() == 10


@pytest.mark.parametrize("per_hour", [None, 10_000])
async def test_a_hold_holds_the_other_process(store: AsyncEngine, second: AsyncEngine, per_hour: int | None) -> None:
    time = Time()
    one, two = (paced(engine, time, per_hour) for engine in (store, second))
    await one.turn()
    await one.hold(20)
    await one.hold(3)
    begun = time.seconds()
    await two.turn()
    assert time.seconds() - begun == pytest.approx(20)
    await two.hold(600)
    with pytest.raises(PaceError) as caught:
        await one.turn()
    assert caught.value.retry_after == pytest.approx(600, abs=5)
    time.advance(timedelta(seconds=620))
    await one.turn()


async def test_who_is_turned_away_takes_no_turn(store: AsyncEngine) -> None:
    time = Time()
    pace = paced(store, time, 60, burst=1, longest_wait=0)
    await pace.turn()
    for _ in range(50):
        with pytest.raises(PaceError):
            await pace.turn()
    time.advance(timedelta(seconds=70))
    await pace.turn()


async def test_waiting_does_not_count_against_the_calls_time_limit(store: AsyncEngine) -> None:
    """Twenty turns at 2 s each in a call that may take 1 s; but a call never waits longer than a minute in all."""
    time = Time()
    pace = paced(store, time, 1800, burst=1)
    begun = time.seconds()

    async def turns(count: int) -> None:
        for _ in range(count):
            await pace.turn()

    await guarded(turns(20), plugin="x", operation="create", seconds=1)
    assert time.seconds() - begun == pytest.approx(38, rel=0.02)
    begun = time.seconds()
    with pytest.raises(PaceError):
        await guarded(turns(100), plugin="x", operation="create", seconds=1)
    assert time.seconds() - begun <= LONGEST_WAITS


async def test_a_database_that_is_away_says_nothing_of_the_csd(store: AsyncEngine) -> None:
    engine = make_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(PaceError, match="the database does not answer"):
        await SharedPace(engine, "csd x", 500).turn()
    await engine.dispose()


async def test_the_setting_names_a_backend_or_a_pace(store: AsyncEngine) -> None:
    paces = shared_paces(store, {"znuny": 3600, "glpi": 7200}, 1)
    steps = {name: vars(paces(name))["_step"] for name in ("csd znuny", "glpi", "csd rt")}
    assert steps["csd znuny"] == pytest.approx(1, rel=0.001)
    assert steps["glpi"] == pytest.approx(0.5, rel=0.001)
    assert steps["csd rt"] == 0


class Metered(MemoryCsd):
    """A CSD behind a quota, with a connector that keeps to the shared pace and hands on Retry-After."""

    def __init__(self, pace: SharedPace, quota: Quota, system: Any = None) -> None:
        super().__init__(capabilities=frozenset(Capability) - {Capability.UNIQUE}, system=system)
        self.pace = pace
        self.quota = quota

    async def _request(self, name: str, work: Callable[[], T]) -> T:
        await self.pace.turn()
        try:
            self.quota.ask()
        except TransientError as busy:
            await self.pace.hold(busy.retry_after or 0)
            raise
        return await super()._request(name, work)


@pytest.mark.parametrize("agreed", [500, None], ids=["told", "not told of the quota"])
async def test_a_small_quota_is_drained_without_a_loop_of_refusals(
    store: AsyncEngine, second: AsyncEngine, bench: Any, mail: Any, tmp_path: Path, agreed: int | None
) -> None:
    """400 cases, 500 requests an hour, two workers whose jobs wake at random. All are registered, in order."""
    time = Time()
    quota = Quota(500, time)
    desk, other = bench(store, tmp_path / "one"), bench(second, tmp_path / "two")
    system = MemorySystem()
    for worker, engine in ((desk, store), (other, second)):
        worker.clock = time
        worker.build(
            csd=Metered(paced(engine, time, agreed), quota, system), breaker=csd_breaker("memory", time.seconds)
        )
    await desk.take(*(mail(sender=f"p{n}@poczta.example") for n in range(400)))
    await desk.step()
    waiting = [row["id"] for row in await desk.rows("SELECT id FROM cases ORDER BY seq")]
    rng = random.Random(8)
    time.advance(timedelta(minutes=2))
    for _ in range(2000):
        if not waiting:
            break
        worker = rng.choice((desk, other))
        time.advance(timedelta(seconds=15))
        await worker.delivery.register(rng.sample(waiting, min(3, len(waiting))))
        waiting = [row["id"] for row in await desk.rows("SELECT id FROM cases WHERE state = 'decided'")]
    assert not waiting
    assert (len(system.by_number), system.doubles) == (400, 0)
    assert quota.refused <= (0 if agreed else 5)
    if agreed:
        order = [row["csd_number"] for row in await desk.rows("SELECT csd_number FROM cases ORDER BY seq")]
        assert order == sorted(order)
