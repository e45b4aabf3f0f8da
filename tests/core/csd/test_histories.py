"""A sample of random concurrent histories; `python -m bench.histories 20000` runs as many as wanted."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import histories
from histories import World, history
from okienko.core.csd import twoway
from okienko.core.csd.statuses import WRITTEN
from okienko.core.csd.twoway import Plan, Settled


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_any_history_ends_well(seed: int) -> None:
    history(seed)


def broken(name: str, value: object) -> bool:
    """Whether any of 200 histories fails when a part of the machinery is taken out."""
    with patch.object(*_PLACES[name], value):
        for seed in range(200):
            try:
                history(seed)
            except AssertionError:
                return True
    return False


_PLACES: dict[str, tuple[object, str]] = {
    "foreseen": (Plan, "foreseen"),
    "sending": (Plan, "sending"),
    "settle": (histories, "settle"),
    "stands_for": (twoway, "stands_for"),
}


def careless(plan: Plan, now: object) -> Settled:
    """Takes no notice of what was changed here while the CSD was asked."""
    del now
    return twoway.settle(plan, plan.seen)


def forgetful(plan: Plan, now: twoway.Local) -> Settled:
    """Does not keep what was agreed."""
    return replace(twoway.settle(plan, now), shadow=replace(plan.shadow, sent={}))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("foreseen", property(lambda _: ())),
        ("sending", property(lambda _: {})),
        ("settle", careless),
        ("settle", forgetful),
        ("stands_for", lambda state, _status, **_: WRITTEN[state]),
    ],
    ids=[
        "ledger before the write",
        "what is on its way",
        "changes meanwhile",
        "the agreement",
        "states that stand for two",
    ],
)
def test_the_histories_find_what_is_taken_out(part: str, value: object) -> None:
    assert broken(part, value)


def test_a_history_is_repeatable() -> None:
    one, two = history(7), history(7)
    assert isinstance(one, World)
    assert (one.local, one.written, one.lost) == (two.local, two.written, two.lost)
