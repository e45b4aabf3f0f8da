"""Taking in: the envelope and its job become durable in one commit, and only then does the source hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.batching import Batcher
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.jobs import Job
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import TooLargeError
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import CHUNK, RawContent

INLINE_LIMIT = CHUNK
"""Contents up to this many octets stand in the envelope's row; larger ones in chunks beside it."""

_COLUMNS = (
    "id", "channel", "connector", "source", "mailbox", "external_id",
    "mail_from", "rcpt_to", "received_at", "size", "raw", "outcome",
)  # fmt: skip

_KNOWN = """
SELECT e.id, w.source, w.external_id FROM envelope e
JOIN unnest($1::text[], $2::text[]) AS w(source, external_id) ON e.source = w.source AND e.external_id = w.external_id
"""


class DurableIntake:
    """The Intake port over PostgreSQL. Concurrent calls share a commit."""

    def __init__(
        self, engine: AsyncEngine, now: Callable[[], datetime], *, max_size: int, batch_size: int, parallel: int = 2
    ) -> None:
        self._engine = engine
        self._now = now
        self._max_size = max_size
        self._small: Batcher[RawItem, UUID] = Batcher(self._store, limit=batch_size, parallel=parallel)
        self._large = asyncio.Semaphore(2)

    async def accept(self, item: RawItem) -> UUID:
        """See Intake."""
        if item.raw.size > self._max_size:
            metrics.INTAKE_REFUSED.labels(item.channel, "too_large").inc()
            raise TooLargeError(f"a message of {item.raw.size} octets is over the limit of {self._max_size}")
        if item.raw.size <= INLINE_LIMIT:
            return await self._small.submit(item)
        async with self._large:
            return (await self._store([item]))[0]

    async def _store(self, items: Sequence[RawItem]) -> list[UUID]:
        now = self._now()
        ids = [uuid4() for _ in items]
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            named = [n for n, item in enumerate(items) if item.external_id is not None]
            new = set(range(len(items)))
            if named:
                # Two takers of one mailbox must not both store the same mail.
                sources = sorted({items[n].source for n in named})
                await raw.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(s, 0)) FROM unnest($1::text[]) AS s", sources
                )
                keys = {(items[n].source, str(items[n].external_id)): n for n in reversed(named)}
                known = await raw.fetch(_KNOWN, [k[0] for k in keys], [k[1] for k in keys])
                known_ids = {(row["source"], row["external_id"]): row["id"] for row in known}
                for n in named:
                    key = (items[n].source, str(items[n].external_id))
                    if key in known_ids:
                        ids[n] = known_ids[key]
                        new.discard(n)
                    elif keys[key] != n:
                        ids[n] = ids[keys[key]]
                        new.discard(n)
            rows = [
                (
                    ids[n], item.channel.value, item.connector, item.source, item.mailbox, item.external_id,
                    item.mail_from, list(item.rcpt_to), now, item.raw.size,
                    item.raw.read() if item.raw.size <= INLINE_LIMIT else None, "received",
                )
                for n, item in enumerate(items) if n in new
            ]  # fmt: skip
            await raw.copy_records_to_table("envelope", records=rows, columns=_COLUMNS)
            for n in sorted(new):
                if items[n].raw.size > INLINE_LIMIT:
                    await _store_chunks(raw, ids[n], items[n].raw)
            await enqueue(connection, Job.PROCESS, [str(ids[n]) for n in sorted(new)])
        for n in new:
            metrics.INTAKE_RECEIVED.labels(items[n].channel).inc()
        return ids


async def _store_chunks(raw: object, envelope_id: UUID, content: RawContent) -> None:
    """Stream the content into rows of one chunk each; a single chunk is in memory at a time."""
    stream = content.open()
    try:
        n = 0
        while piece := await asyncio.to_thread(stream.read, CHUNK):
            await raw.execute(  # type: ignore[attr-defined]  # asyncpg ships no types
                "INSERT INTO envelope_chunk (envelope_id, n, data) VALUES ($1, $2, $3)", envelope_id, n, piece
            )
            n += 1
    finally:
        stream.close()
