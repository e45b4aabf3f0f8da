"""Real workers on one database: two of them, one killed, a database that goes away, jobs that were lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from okienko.core.jobs import Job, backoff
from okienko.core.ledger import read_ledger
from okienko.core.reconcile import reconcile
from okienko.core.worker import Worker
from okienko.plugins.errors import TransientError


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Poll until it holds."""
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.05)


def registered(desk: Any, count: int) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        try:
            done = await desk.value("SELECT count(*) FROM notification WHERE state = 'sent'")
        except TransientError:
            return False
        return bool(done == count)

    return condition


async def test_two_workers_share_the_work(desk: Any, mail: Any) -> None:
    mails = [mail(sender=f"p{n}@poczta.example") for n in range(150)]
    await asyncio.gather(*(desk.take(m) for m in mails + mails[:30]))
    workers = [Worker(desk.engine, desk.pipeline, desk.delivery, desk.recovery, batch_size=10) for _ in range(2)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    await until(registered(desk, 150))
    for worker in workers:
        worker.stop()
    await asyncio.gather(*tasks)
    assert len(desk.csd.tickets) == len(desk.channel.sent) == 150
    ledger = await read_ledger(desk.engine)
    assert (ledger.received, ledger.cased, ledger.suppressed, ledger.balance) == (180, 150, 30, 0)


@pytest.mark.slow
async def test_a_worker_outlives_its_connections(desk: Any, mail: Any) -> None:
    """Again and again the server ends every session; the work is done, once, all the same."""
    worker = Worker(desk.engine, desk.pipeline, desk.delivery, desk.recovery, batch_size=5)
    task = asyncio.create_task(worker.run())
    for n in range(3):
        await desk.take(*(mail(sender=f"p{n}.{k}@poczta.example") for k in range(10)))
        with pytest.raises(TransientError):
            await desk.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()")
    await until(registered(desk, 30))
    worker.stop()
    await task
    assert len(desk.csd.tickets) == 30


async def test_a_defect_puts_the_job_back(desk: Any, mail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is neither lost nor held where nobody looks: the job is done once that is mended."""
    failures = [ZeroDivisionError("ours")]
    process = desk.pipeline.process

    async def defective(ids: Any) -> Any:
        if failures:
            raise failures.pop()
        return await process(ids)

    monkeypatch.setattr(desk.pipeline, "process", defective)
    worker = Worker(desk.engine, desk.pipeline, desk.delivery, desk.recovery, batch_size=5)
    task = asyncio.create_task(worker.run())
    await desk.take(mail())
    await until(registered(desk, 1))
    worker.stop()
    await task
    assert await desk.value("SELECT count(*) FROM pgqueuer WHERE status = 'failed'") == 0


async def test_lost_jobs_are_found(desk: Any, mail: Any) -> None:
    """Whatever step was owed when the queue was emptied, it is done after the next start."""
    for _ in range(3):
        await desk.take(mail(sender="a@poczta.example"))
        await desk.rows("DELETE FROM pgqueuer RETURNING 1")
        assert await reconcile(desk.engine) == 1
        assert await reconcile(desk.engine) == 0
        await desk.step()
        await desk.rows("DELETE FROM pgqueuer RETURNING 1")
        assert await reconcile(desk.engine) == 1
        await desk.step()
        await desk.rows("DELETE FROM pgqueuer RETURNING 1")
        assert await reconcile(desk.engine) == 1
        await desk.settle()
        assert await reconcile(desk.engine) == 0
    assert len(desk.channel.sent) == 3


async def test_parked_work_is_not_lost_work(desk: Any) -> None:
    await desk.take(b"no message")
    await desk.settle()
    assert await reconcile(desk.engine) == 0


async def test_a_worker_looks_for_lost_jobs_when_it_starts(desk: Any, mail: Any) -> None:
    await desk.take(mail())
    await desk.rows("DELETE FROM pgqueuer RETURNING 1")
    worker = Worker(desk.engine, desk.pipeline, desk.delivery, desk.recovery, batch_size=5)
    task = asyncio.create_task(worker.run())
    await until(registered(desk, 1))
    worker.stop()
    await task


def test_backoff_grows_to_five_minutes_and_keeps_to_what_was_asked() -> None:
    for attempts in range(1, 60):
        seconds = backoff(attempts, TransientError("x")).total_seconds()
        assert 0.8 * min(300, 2 ** min(attempts, 9)) <= seconds <= 360
    assert backoff(0, TransientError("x", retry_after=1000)).total_seconds() >= 1000
    assert len({backoff(9, TransientError("x")) for _ in range(10)}) > 1, "spread, or all come back at once"


def test_job_names_stay() -> None:
    """They stand in the queue of a running installation."""
    assert {job.value for job in Job} == {
        "process", "register", "notify", "close", "reopen", "follow_up", "sync", "assess", "execute", "activate", "expire",
    }  # fmt: skip
