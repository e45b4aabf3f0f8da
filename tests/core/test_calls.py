"""Calls into plugins: time limits, and the stop of a plugin whose settings are wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from okienko.core.calls import PAUSE, Calls
from okienko.core.csd.breaker import Breaker
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.pace import PaceError


@dataclass
class Thing:
    """A plugin's object that does what it is told."""

    name: str = "paper"
    errors: list[Exception] = field(default_factory=list)
    asked: int = 0

    async def work(self) -> str:
        return self.plain()

    def plain(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@dataclass
class World:
    """Calls with a clock of their own and a record of what the service was told."""

    seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = Calls(
            5,
            on_stop=lambda name, problem: self.told.append(f"stop {name}: {problem}"),
            on_resume=lambda name: self.told.append(f"resume {name}"),
            clock=lambda: self.seconds,
        )


async def test_a_wrong_setting_stops_only_that_plugin() -> None:
    world, bad, good = World(), Thing(errors=[MisconfiguredError("set X")] * 2), Thing("other")
    for _ in range(3):
        with pytest.raises(TransientError, match="paper is stopped until it is mended: set X") as caught:
            await world.calls.call(bad, "work", bad.work)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 0
    assert bad.asked == 1
    assert world.told == ["stop paper: set X"]
    assert await world.calls.call(good, "work", good.work) == "done"

    world.seconds += PAUSE
    with pytest.raises(TransientError):
        await world.calls.call(bad, "work", bad.work)
    assert bad.asked == 2
    assert world.told == ["stop paper: set X"], "told once, not at each trial"
    world.seconds += PAUSE - 1
    with pytest.raises(TransientError):
        await world.calls.call(bad, "work", bad.work)
    assert bad.asked == 2

    world.seconds += 1
    assert await world.calls.call(bad, "work", bad.work) == "done"
    assert world.told[-1] == "resume paper"
    assert await world.calls.call(bad, "work", bad.work) == "done"
    assert len(world.told) == 2


async def test_only_one_call_is_the_trial() -> None:
    world, thing = World(), Thing(errors=[MisconfiguredError("set X")])
    with pytest.raises(TransientError):
        await world.calls.call(thing, "work", thing.work)
    world.seconds += PAUSE

    async def slow() -> str:
        await asyncio.sleep(0.05)
        return await thing.work()

    results = await asyncio.gather(*(world.calls.call(thing, "work", slow) for _ in range(5)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["TransientError"] * 4 + ["str"]


@pytest.mark.parametrize(("error", "told"), [(PermanentError("no such ticket"), 2), (TransientError("away"), 1)])
async def test_what_ends_the_stop(error: Exception, told: int) -> None:
    """A plugin that refuses one piece of work answers; one that is away has not shown that it is mended."""
    world, thing = World(), Thing(errors=[MisconfiguredError("set X"), error])
    for _ in range(2):
        with pytest.raises((TransientError, PermanentError)):
            await world.calls.call(thing, "work", thing.work)
        world.seconds += PAUSE
    assert len(world.told) == told


def test_plain_functions_too() -> None:
    world, thing = World(), Thing(errors=[MisconfiguredError("set X")])
    for _ in range(2):
        with pytest.raises(TransientError):
            world.calls.ask(thing, thing.plain)
    assert thing.asked == 1
    world.seconds += PAUSE
    assert world.calls.ask(thing, thing.plain) == "done"
    thing.errors.append(ValueError("left as it is"))
    with pytest.raises(ValueError, match="left"):
        world.calls.ask(thing, thing.plain)


@pytest.mark.timeout(60)
async def test_apart_leaves_the_loop_free_and_ends_in_time() -> None:
    world, release = World(), threading.Event()
    with pytest.raises(PermanentError, match=r"paper: parse took longer than 0\.1 s"):
        await world.calls.apart(Thing(), "parse", lambda: release.wait(20), seconds=0.1)
    release.set()
    assert await world.calls.apart(Thing(), "parse", threading.current_thread) is not threading.current_thread()


def exits() -> None:
    raise SystemExit(3)


def bug() -> None:
    raise KeyError("PESEL 02670803626")


@pytest.mark.parametrize("function", [exits, bug])
async def test_apart_names_the_bug_and_quotes_nothing(function: Callable[[], None]) -> None:
    with pytest.raises(PermanentError, match="unexpected") as caught:
        await World().calls.apart(Thing(), "parse", function)
    assert "02670803626" not in str(caught.value)


async def test_time_limit_of_a_coroutine() -> None:
    calls = Calls(0.05)
    with pytest.raises(TransientError, match="paper: work took longer"):
        await calls.call(Thing(), "work", lambda: asyncio.sleep(30))


def guarded_world(**errors: list[Exception]) -> tuple[World, Thing, Breaker]:
    world, thing = World(), Thing(**errors)  # type: ignore[arg-type]
    breaker = Breaker("the CSD paper", failures=3, shortest=5, clock=lambda: world.seconds)
    world.calls.guard(thing, breaker)
    return world, thing, breaker


async def test_what_does_not_answer_is_left_alone_and_named() -> None:
    world, thing, _ = guarded_world(errors=[TransientError("no answer")] * 3)
    namesake = Thing()
    for _ in range(10):
        with pytest.raises(TransientError):
            await world.calls.call(thing, "find", thing.work)
    assert thing.asked == 3
    assert list(world.calls.resting()) == ["paper"]
    assert "3 times in a row" in world.calls.resting()["paper"]
    assert await world.calls.call(namesake, "send", namesake.work) == "done", "another object of that name"
    world.seconds += 5
    assert await world.calls.call(thing, "find", thing.work) == "done"
    assert world.calls.resting() == {}


async def test_a_refusal_is_an_answer_and_a_missing_turn_says_nothing() -> None:
    lost, refused, early = TransientError("no answer"), PermanentError("no"), PaceError("not yet", retry_after=9)
    world, thing, breaker = guarded_world(errors=[lost, lost, refused, early, lost, early, lost, early])
    for error in list(thing.errors):
        with pytest.raises(type(error)):
            await world.calls.call(thing, "create", thing.work)
    assert (breaker.is_open, breaker.in_a_row) == (False, 2)


async def test_retry_after_is_obeyed_to_the_second() -> None:
    world, thing, breaker = guarded_world(errors=[TransientError("429", retry_after=30)])
    for _ in range(5):
        with pytest.raises(TransientError) as caught:
            await world.calls.call(thing, "find", thing.work)
        assert caught.value.retry_after == 30
    assert thing.asked == 1
    assert not breaker.is_open
    world.seconds += 30
    assert await world.calls.call(thing, "find", thing.work) == "done"
