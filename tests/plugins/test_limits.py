"""Every call into a plugin ends in time, with an error that says what to do."""

from __future__ import annotations

import asyncio

import pytest

from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.limits import guarded


async def test_result_passes() -> None:
    async def work() -> int:
        return 7

    assert await guarded(work(), plugin="p", operation="find", seconds=1) == 7


async def test_too_slow_is_transient() -> None:
    with pytest.raises(TransientError, match=r"plugin paper: create took longer than 0\.01 s"):
        await guarded(asyncio.sleep(60), plugin="paper", operation="create", seconds=0.01)


@pytest.mark.parametrize(
    "error", [TransientError("busy", retry_after=9), PermanentError("no"), MisconfiguredError("key")]
)
async def test_our_errors_pass(error: OkienkoError) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await guarded(work(), plugin="p", operation="find", seconds=1)
    assert caught.value is error


async def test_a_bug_is_permanent_and_keeps_its_cause_but_not_its_text() -> None:
    async def work() -> None:
        raise ValueError("secret 02070803628")

    with pytest.raises(PermanentError, match="plugin paper: create failed with an unexpected ValueError") as caught:
        await guarded(work(), plugin="paper", operation="create", seconds=1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "02070803628" not in str(caught.value)


async def test_a_time_out_of_the_plugins_own_is_transient() -> None:
    async def work() -> None:
        raise TimeoutError

    with pytest.raises(TransientError, match="timed out on its own"):
        await guarded(work(), plugin="p", operation="find", seconds=60)


async def test_cancellation_passes() -> None:
    task = asyncio.create_task(guarded(asyncio.sleep(60), plugin="p", operation="find", seconds=60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
