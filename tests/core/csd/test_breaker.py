"""The breaker, by an injected clock."""

from __future__ import annotations

import pytest

from okienko.core.csd.breaker import Breaker
from okienko.plugins.errors import TransientError


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(time: Time, told: list[bool]) -> Breaker:
    breaker = Breaker("the CSD rt", failures=3, shortest=5, longest=15, clock=time, on_change=told.append)
    for _ in range(3):
        breaker.enter()
        breaker.failed()
    return breaker


def test_a_success_in_between_keeps_it_closed() -> None:
    told: list[bool] = []
    breaker = Breaker("the CSD rt", failures=2, on_change=told.append)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    breaker.enter()
    assert told == []


def test_open_it_refuses_with_the_time_to_wait() -> None:
    told: list[bool] = []
    breaker = opened(Time(), told)
    with pytest.raises(TransientError, match="the CSD rt did not answer 3 times in a row") as refused:
        breaker.enter()
    assert refused.value.retry_after == 5
    assert told == [True]


def test_one_trial_at_a_time_and_longer_waits() -> None:
    time = Time()
    breaker = opened(time, [])
    for wait in (5, 10, 15, 15):
        time.now += wait
        breaker.enter()
        with pytest.raises(TransientError):
            breaker.enter()
        breaker.failed()


def test_a_trial_that_succeeds_closes_it() -> None:
    time, told = Time(), []
    breaker = opened(time, told)
    time.now += 5
    breaker.enter()
    breaker.succeeded()
    for _ in range(10):
        breaker.enter()
    assert told == [True, False]
    assert not breaker.is_open


def test_a_trial_without_an_end_is_followed_by_another() -> None:
    time = Time()
    breaker = opened(time, [])
    time.now += 5
    breaker.enter()
    time.now += 5
    breaker.enter()
