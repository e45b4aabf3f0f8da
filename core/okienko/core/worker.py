"""A worker: PgQueuer hands out jobs, batches do them. Any number of workers share one database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job as QueuedJob
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.batching import Batcher
from okienko.core.database import UNREACHABLE, raw_connection, transaction
from okienko.core.delivery import Delivery
from okienko.core.jobs import Job, backoff
from okienko.core.pipeline import Pipeline
from okienko.core.reconcile import reconcile, wake_backlog
from okienko.core.recovery import Recovery
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import TransientError

log = structlog.get_logger(__name__)

BatchWork = Callable[[Sequence[UUID]], Awaitable[Sequence[None | Exception]]]

_PARALLEL = {Job.REGISTER: 2, Job.NOTIFY: 2, Job.SYNC: 2}
"""Batches of one kind at the same time, where more than one."""
HEARTBEAT = timedelta(seconds=20)
"""A job whose worker has not been heard of for so long is given to another."""


class Worker:
    """Runs jobs until told to stop. A lost database connection is made again, with patience, for ever."""

    def __init__(
        self, engine: AsyncEngine, pipeline: Pipeline, delivery: Delivery, recovery: Recovery, *, batch_size: int
    ) -> None:
        self._engine = engine
        self._batch_size = batch_size
        work: dict[Job, BatchWork] = {
            Job.PROCESS: pipeline.process,
            Job.REGISTER: delivery.register,
            Job.NOTIFY: delivery.notify,
            Job.CLOSE: delivery.close,
            Job.REOPEN: delivery.reopen,
            Job.FOLLOW_UP: delivery.follow_up,
            Job.SYNC: delivery.sync,
            Job.ASSESS: recovery.assessing.assess,
            Job.EXECUTE: recovery.execution.execute,
            Job.ACTIVATE: recovery.execution.activate,
            Job.EXPIRE: recovery.execution.expire,
        }
        self._batchers = {
            job: Batcher(_timed(job, do), limit=batch_size, parallel=_PARALLEL.get(job, 1)) for job, do in work.items()
        }
        self._manager: QueueManager | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`. Jobs in hand are finished first."""
        logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)  # what it would log, a traceback, may quote a message
        wait = 0.2
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                await self._run_once()
            except (*UNREACHABLE, asyncpg.PostgresError, TransientError, ExceptionGroup, RuntimeError) as error:
                log.warning(
                    "worker lost the database", action="reconnect", error=type(error).__name__, wait_seconds=wait
                )
            if time.monotonic() - started > 5:
                wait = 0.2
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(wait * 2, 10)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def _run_once(self) -> None:
        connection = await asyncpg.connect(**connect_arguments(self._engine))
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            manager = QueueManager(Queries(AsyncpgDriver(connection)))
            for job in Job:
                manager.entrypoint(job.value, on_failure="hold", accepts_context=False)(self._handler(job))
            self._manager = manager
            if self._stopping.is_set():
                return
            await reconcile(self._engine)
            await wake_backlog(self._engine)
            watcher = asyncio.create_task(_stop_when(lost, manager))
            try:
                await manager.run(
                    dequeue_timeout=timedelta(seconds=5),
                    batch_size=self._batch_size,
                    max_concurrent_tasks=8 * self._batch_size,
                    heartbeat_timeout=HEARTBEAT,
                    shutdown_on_listener_failure=True,
                )
            finally:
                watcher.cancel()
        finally:
            self._manager = None
            with contextlib.suppress(*UNREACHABLE, asyncpg.PostgresError):
                await connection.close(timeout=5)

    def _handler(self, job: Job) -> Callable[[QueuedJob], Awaitable[None]]:
        batcher = self._batchers[job]

        async def handle(queued: QueuedJob) -> None:
            wanted = UUID((queued.payload or b"").decode())
            try:
                await batcher.submit(wanted)
            except Exception as error:
                if isinstance(error, TransientError):
                    again, reason = error, str(error)
                else:
                    # A defect of ours. The work is not lost and not given up: it goes on once that is mended.
                    again, reason = TransientError("unexpected"), f"unexpected {type(error).__name__}"
                    log.exception("job failed", action="retry", job=job.value, error=type(error).__name__)
                metrics.RETRIES.labels(job.value).inc()
                delay = backoff(queued.attempts, again)
                log.warning(
                    "job put back", action="retry", job=job.value, reason=reason, delay_seconds=delay.total_seconds()
                )
                # The queue keeps the traceback, and a cause's own text may quote a message.
                raise RetryRequested(delay=delay, reason=reason) from None

        return handle


async def _stop_when(lost: asyncio.Event, manager: QueueManager) -> None:
    await lost.wait()
    manager.shutdown.set()


def _timed(job: Job, work: BatchWork) -> Callable[[Sequence[UUID]], Awaitable[Sequence[None | Exception]]]:
    async def run(ids: Sequence[UUID]) -> Sequence[None | Exception]:
        started = time.perf_counter()
        unique = list(dict.fromkeys(ids))
        results = dict(zip(unique, await work(unique), strict=True))
        elapsed = time.perf_counter() - started
        for _ in ids:
            metrics.STEP_SECONDS.labels(job.value).observe(elapsed)
        return [results[i] for i in ids]

    return run


def connect_arguments(engine: AsyncEngine) -> dict[str, Any]:
    """asyncpg's arguments for the engine's database."""
    url = make_url(engine.url)
    query = dict(url.query)
    arguments: dict[str, Any] = {
        "user": url.username, "password": url.password, "database": url.database,
        "host": query.pop("host", None) or url.host, "port": int(str(query.pop("port", "") or url.port or 5432)),
        "timeout": 10, "server_settings": {"application_name": "okienko worker"},
    }  # fmt: skip
    return arguments | {key: value for key, value in query.items() if key in ("ssl", "passfile")}


async def busy_jobs(engine: AsyncEngine) -> int:
    """Jobs that are due or in work."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        return int(
            await raw.fetchval(
                "SELECT count(*) FROM pgqueuer WHERE status = 'picked' OR (status = 'queued' AND execute_after <= now())"
            )
        )
