"""Doing a batch of jobs: each by one worker at a time, and none at the cost of another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.core.exclusive import exclusively
from okienko.core.jobs import Job
from okienko.core.parking import park
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import TransientError

log = structlog.get_logger(__name__)

Work = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Exception] | None]]
"""Does the jobs; gives the errors of those that failed by themselves, and raises what concerns all of them."""

_IN_A_ROW = 2
"""Failures in a row, tried one by one, after which it is not the job's but the other side's trouble."""


class Attempts:
    """Runs work and answers, in order, None or the error to retry. What fails for good is parked."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    async def each(self, job: Job, ids: Sequence[UUID], work: Work) -> list[None | Exception]:
        """All at once; where that fails, one by one, so that one job's trouble does not hold up its neighbours."""
        try:
            async with exclusively(self._engine, job, ids) as mine:
                errors = await self._together([i for i in ids if i in mine], work)
                for ref, error in errors.items():
                    if not isinstance(error, TransientError):
                        await self._park(job, ref, error)
        except TransientError as error:
            return [error] * len(ids)
        elsewhere = TransientError("another worker has it in hand", retry_after=5)
        retry = {ref: error for ref, error in errors.items() if isinstance(error, TransientError)}
        return [retry.get(i) if i in mine else elsewhere for i in ids]

    async def _together(self, ids: Sequence[UUID], work: Work) -> Mapping[UUID, Exception]:
        if not ids:
            return {}
        try:
            return await work(ids) or {}
        except Exception as error:  # its class decides what becomes of the job
            if len(ids) == 1:
                return {ids[0]: error}
        errors: dict[UUID, Exception] = {}
        row = 0
        for number, one in enumerate(ids):
            failed = await self._together([one], work)
            errors |= failed
            row = row + 1 if isinstance(failed.get(one), TransientError) else 0
            if row == _IN_A_ROW:
                return errors | dict.fromkeys(ids[number + 1 :], errors[one])
        return errors

    async def _park(self, job: Job, ref: UUID, error: Exception) -> None:
        cause = error.__cause__ or error
        log.error("job parked", action="park", job=job.value, ref=str(ref), error=type(cause).__name__, exc_info=cause)
        async with transaction(self._engine) as connection:
            reason = await park(await raw_connection(connection), job, ref, None, error, self._now())
        metrics.PARKED.labels(job, reason.value).inc()
