"""Reading envelopes back, with their bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName, Envelope

_PREFIX = "envelope-"
_STALE = 86_400
_SELECT = """
SELECT seq, id, channel, connector, source, mailbox, external_id, mail_from, rcpt_to, received_at, size, raw, outcome
FROM envelope WHERE id = ANY($1::uuid[]) AND (outcome = 'received' OR $2) ORDER BY seq
"""

_SIZES = """
SELECT id, size FROM envelope
WHERE id = ANY($1::uuid[]) AND outcome = 'received' ORDER BY seq
"""


async def portions(engine: AsyncEngine, ids: Sequence[UUID], *, octets: int) -> list[list[UUID]]:
    """The envelopes among `ids` that wait to be processed, oldest first, in groups of at most so many octets (or of one)."""
    async with transaction(engine) as connection:
        rows = await (await raw_connection(connection)).fetch(_SIZES, list(ids))
    groups: list[list[UUID]] = []
    room = 0
    for row in rows:
        if row["size"] > room or not groups:
            groups.append([])
            room = octets
        groups[-1].append(row["id"])
        room -= row["size"]
    return groups


@dataclass(frozen=True, slots=True)
class Loaded:
    """An envelope and its bytes. A large one's bytes are in a file that lives as long as the `load` block."""

    seq: int
    envelope: Envelope
    raw: RawContent


@asynccontextmanager
async def load(
    engine: AsyncEngine, ids: Sequence[UUID], *, spool: Path, finished: bool = False
) -> AsyncIterator[list[Loaded]]:
    """The envelopes among `ids` that wait to be processed (or all of them, with `finished`), oldest first."""
    async with AsyncExitStack() as stack:
        async with transaction(engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(_SELECT, list(ids), finished)
            loaded = []
            for row in rows:
                content = (
                    RawContent(row["raw"]) if row["raw"] is not None else await _spool(raw, row["id"], spool, stack)
                )
                loaded.append(Loaded(row["seq"], to_envelope(row), content))
        yield loaded


async def _spool(raw: Any, envelope_id: UUID, folder: Path, stack: AsyncExitStack) -> RawContent:
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  a local folder, seldom made
    file = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX))
    async with raw.transaction():
        async for row in raw.cursor(
            "SELECT data FROM envelope_chunk WHERE envelope_id = $1 ORDER BY n", envelope_id, prefetch=1
        ):
            file.write(row["data"])
    file.flush()
    return RawContent(path=Path(file.name))


def sweep(folder: Path) -> None:
    """Remove files that a killed process left behind: older than a day, because another process may be using the rest."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another process may have been faster
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()


def to_envelope(row: Any) -> Envelope:
    """The model of a row of the envelope table."""
    return Envelope.model_construct(
        id=row["id"],
        channel=ChannelName(row["channel"]),
        connector=row["connector"],
        source=row["source"],
        mailbox=row["mailbox"],
        external_id=row["external_id"],
        mail_from=row["mail_from"],
        rcpt_to=tuple(row["rcpt_to"]),
        received_at=row["received_at"],
        size=row["size"],
    )
