"""Allowances: never more than they say, whoever asks how often at the same moment; and what is over goes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import make_engine, raw_connection, transaction
from okienko.core.limits import Allowance, Limit, sweep
from okienko.core.site.limits import RateLimiter, Taken
from okienko.metrics.catalogue import REGISTRY
from okienko.plugins.errors import TransientError
from okienko.plugins.testing import FixedClock

FIVE = Allowance(Limit.SIGN_IN, 5, timedelta(seconds=100))
SECOND = timedelta(seconds=1)


async def rows(engine: AsyncEngine) -> int:
    """How many allowances are in use."""
    async with transaction(engine) as connection:
        return int(await (await raw_connection(connection)).fetchval("SELECT count(*) FROM allowance"))


def test_a_limit_lets_through_what_it_says(postgres: Any, template: str) -> None:
    """In any stretch of time, however the attempts are spread over processes; and never less than the burst."""
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {template}")

    async def lived(waits: list[tuple[int, int]]) -> None:
        engine = make_engine(postgres.url(name))
        try:
            clock, key = FixedClock(), uuid4().hex
            processes = [RateLimiter(engine, clock, FIVE) for _ in range(3)]
            allowed, begun, asked = 0, clock(), 0
            for wait, at_once in waits:
                clock.advance(timedelta(seconds=wait))
                answers = await asyncio.gather(*(processes[n % 3].take(key) for n in range(at_once)))
                allowed += answers.count(Taken.ALLOWED)
                asked += at_once
            assert allowed <= 5 + (clock() - begun).total_seconds() * 5 / 100
            assert allowed >= min(5, asked)
        finally:
            await engine.dispose()

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 7)), max_size=12))
    def any_visits(waits: list[tuple[int, int]]) -> None:
        asyncio.run(lived(waits))

    any_visits()
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("burst", [1, 7, 20, 30, 59])
async def test_the_whole_burst_fits_whatever_the_period(store: AsyncEngine, burst: int) -> None:
    clock = FixedClock()
    allowance = Allowance(Limit.HOLDER, burst, timedelta(days=1))
    async with transaction(store) as connection:
        raw = await raw_connection(connection)
        assert [await allowance.take(raw, clock(), "a") for _ in range(burst + 1)] == [True] * burst + [False]
        assert await allowance.take(raw, clock(), "b"), "each key has its own"
        other = Allowance(Limit.SIGN_IN, burst, timedelta(days=1))
        assert await other.take(raw, clock(), "a"), "and each limit"
        assert not await allowance.take(raw, clock() + allowance.cost - SECOND, "a")
        assert await allowance.take(raw, clock() + allowance.cost, "a")


def test_keys_are_told_apart_by_their_parts() -> None:
    assert FIVE.key("a", "bc") != FIVE.key("ab", "c") != FIVE.key("abc")


async def test_who_is_refused_does_not_reach_the_database(store: AsyncEngine) -> None:
    clock = FixedClock()
    limiter = RateLimiter(store, clock, FIVE)
    before = REGISTRY.get_sample_value("okienko_limits_reached_total", {"limit": "sign_in"}) or 0
    answers = [await limiter.take("a") for _ in range(7)]
    assert answers == [Taken.ALLOWED] * 5 + [Taken.FIRST_REFUSED, Taken.REFUSED]
    await store.dispose()
    away = RateLimiter(make_engine("postgresql://nobody@127.0.0.1:1/none"), clock, FIVE)
    away._refused = limiter._refused
    for _ in range(3):
        assert await away.take("a") is Taken.REFUSED
    with pytest.raises(TransientError):
        await away.take("b")
    clock.advance(FIVE.cost)
    assert await limiter.take("a") is Taken.ALLOWED
    assert await limiter.take("a") is Taken.REFUSED, "told once in a period"
    clock.advance(FIVE.period)
    assert [await limiter.take("a") for _ in range(6)][-1] is Taken.FIRST_REFUSED
    assert (REGISTRY.get_sample_value("okienko_limits_reached_total", {"limit": "sign_in"}) or 0) - before == 7


async def test_memory_and_table_do_not_grow_without_end(store: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("okienko.core.site.limits._MOST_KEYS", 5)
    monkeypatch.setattr("okienko.core.limits._PORTION", 3)
    clock = FixedClock()
    limiter = RateLimiter(store, clock, Allowance(Limit.HOLDER, 1, timedelta(seconds=100)))
    for n in range(8):
        await limiter.take(str(n))
        await limiter.take(str(n))
    assert len(limiter._refused) == 5
    clock.advance(timedelta(seconds=50))
    await limiter.take("late")
    assert await sweep(store, clock()) == 0
    clock.advance(timedelta(seconds=50))
    assert (await sweep(store, clock()), await rows(store)) == (8, 1)
