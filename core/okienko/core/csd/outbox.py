"""What the CSD has to be told of a case: rows in order, committed with the change that calls for them.

The job `sync` works a case's rows one by one. A transient failure stops there, and what comes later waits. What the CSD refuses for
good is parked for a person: notes, files, links and fields that were refused hold up nothing; after a refused close, reopen or
erase the rows that move the ticket wait until the parked one was replayed or dropped, and notes, files and links go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from okienko.core.database import enqueue
from okienko.core.jobs import Job


class Kind(StrEnum):
    """What a row asks for; `ref` is what it is about."""

    MAIL = "mail"
    """A message was added to the case (`ref`: its envelope): note its text and attach its files."""
    FILES = "files"
    """The message that opened the case (`ref`: its envelope) has files: attach them."""
    NOTE = "note"
    """A note of okienko's own (`text`)."""
    CLOSE = "close"
    """Close it with the solution of the newest request in `closing`."""
    REOPEN = "reopen"
    """Open it again, or register a case that was closed without a ticket."""
    FIELDS = "fields"
    """Bring the fields of both sides in step."""
    LINK = "link"
    """Relate it to the ticket of another case (`ref`)."""
    ERASE = "erase"
    """Take the person out."""


MOVES = frozenset({Kind.CLOSE, Kind.REOPEN, Kind.ERASE, Kind.FIELDS})
"""Kinds that keep their order among each other even over a refusal."""
BARS = frozenset({Kind.CLOSE, Kind.REOPEN, Kind.ERASE})
"""Kinds whose refusal the later ones of MOVES wait for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row that is not at its end."""

    id: int
    kind: Kind
    state: str
    ref: UUID | None = None
    text: str | None = None


_PUT = """
INSERT INTO csd_outbox (case_id, kind, ref, text, state, at)
SELECT d.case_id, d.kind, d.ref, d.text, 'waiting', $5 FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[])
WITH ORDINALITY AS d(case_id, kind, ref, text, n) ORDER BY d.n
ON CONFLICT (case_id, kind, ref) WHERE ref IS NOT NULL DO NOTHING
"""
_OPEN = """
SELECT case_id, id, kind, state, ref, text FROM csd_outbox WHERE case_id = ANY($1::uuid[]) AND state IN ('waiting', 'parked') ORDER BY id
"""
_WITH_WORK = "SELECT DISTINCT case_id FROM csd_outbox WHERE state = 'waiting' AND case_id = ANY($1::uuid[])"
_PARKED = """
UPDATE csd_outbox SET state = 'parked', parked_id = (SELECT max(id) FROM parked WHERE job = 'sync' AND ref = $2) WHERE id = $1
"""

New = tuple[UUID, Kind, UUID | None]
"""A case, what is asked for, and what that is about."""


async def put(raw: Any, rows: Iterable[New], now: datetime, *, text: str | None = None) -> None:
    """Write rows in order, in the caller's transaction. A row about something that there is a row about already is none."""
    rows = list(rows)
    if rows:
        columns = [list(column) for column in zip(*((c, k.value, r, text) for c, k, r in rows), strict=True)]
        await raw.execute(_PUT, *columns, now)


async def wake(connection: AsyncConnection, case_ids: Iterable[UUID]) -> None:
    """Enqueue the job for these cases, in the caller's transaction."""
    await enqueue(connection, Job.SYNC, [str(i) for i in dict.fromkeys(case_ids)])


async def with_work(raw: Any, case_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the cases for which something waits."""
    return [row["case_id"] for row in await raw.fetch(_WITH_WORK, list(case_ids))]


async def load(raw: Any, case_ids: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """The rows of each of the cases that are not at their end, in order."""
    found: dict[UUID, list[Row]] = {case_id: [] for case_id in case_ids}
    for r in await raw.fetch(_OPEN, list(case_ids)):
        found[r["case_id"]].append(Row(r["id"], Kind(r["kind"]), r["state"], r["ref"], r["text"]))
    return found


def next_row(rows: Sequence[Row], *, has_ticket: bool) -> Row | None:
    """The row to be worked now. A case without a ticket has only one thing to do: to be given one by `reopen`."""
    if not has_ticket:
        waiting = (r for r in rows if r.kind in (Kind.REOPEN, Kind.CLOSE))
        return next((r for r in waiting if r.state == "waiting"), None)
    barred = False
    for row in rows:
        if row.state == "parked":
            barred = barred or row.kind in BARS
        elif not (barred and row.kind in MOVES):
            return row
    return None


async def end(raw: Any, row_ids: Sequence[int], now: datetime, *, state: str = "done") -> None:
    """The rows are at their end, in the caller's transaction."""
    await raw.execute(
        "UPDATE csd_outbox SET state = $3, ended_at = $2 WHERE id = ANY($1::bigint[])", list(row_ids), now, state
    )


async def parked(raw: Any, row_id: int, case_id: UUID) -> None:
    """The row belongs to what was parked last for the case, in the same transaction."""
    await raw.execute(_PARKED, row_id, case_id)


async def unpark(raw: Any, parked_ids: Sequence[int], *, state: str) -> None:
    """What was parked is replayed (`waiting`) or dropped, in the caller's transaction."""
    await raw.execute(
        "UPDATE csd_outbox SET state = $2, parked_id = NULL WHERE state = 'parked' AND parked_id = ANY($1::bigint[])",
        list(parked_ids), state,
    )  # fmt: skip
