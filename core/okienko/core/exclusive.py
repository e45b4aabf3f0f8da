"""One worker at a time: a job that was given to a second worker while the first is slow, not dead, must not run twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.core.jobs import Job

_TAKE = "SELECT id FROM unnest($1::uuid[]) AS id WHERE pg_try_advisory_xact_lock(hashtextextended($2 || id::text, 0))"


@asynccontextmanager
async def exclusively(engine: AsyncEngine, job: Job, ids: Sequence[UUID]) -> AsyncIterator[set[UUID]]:
    """Those of the ids that no other worker has in hand; they are ours until the block ends or this process dies.

    The locks are PostgreSQL's advisory ones, held by an otherwise idle transaction: no row is locked while a plugin
    takes its time, and a killed worker leaves nothing behind.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        yield {row["id"] for row in await raw.fetch(_TAKE, list(ids), job.value)}
