"""Parked work: what could not be done, kept whole with its reason, shown, and replayed or dropped by a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.csd import outbox
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.jobs import Job
from okienko.plugins.csdtexts import storable
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TooLargeError, UnreadableError

_PARKED = """
SELECT p.id, p.job, p.ref, p.envelope_id, p.reason, p.problem, p.at, p.state, e.source, e.size FROM parked p
LEFT JOIN envelope e ON e.id = p.envelope_id
"""
_CHOSEN = f"""
{_PARKED} WHERE p.state = 'parked'
AND (cardinality($1::bigint[]) = 0 OR EXISTS (SELECT FROM unnest($1, $2::bigint[]) AS r(a, z) WHERE p.id BETWEEN r.a AND r.z))
AND ($3::timestamptz IS NULL OR p.at >= $3) AND ($4::timestamptz IS NULL OR p.at < $4)
AND ($5::text IS NULL OR p.reason = $5) AND ($6::text IS NULL OR p.job = $6) ORDER BY p.id
"""


class ParkReason(StrEnum):
    """Why something is parked: the closed set of values of the metric's label."""

    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    DEFECT = "defect"


def reason_of(error: BaseException) -> ParkReason:
    """The reason that an error's class stands for; what is not ours is a defect of okienko or of a plugin."""
    for kind, reason in (
        (UnreadableError, ParkReason.UNREADABLE),
        (TooLargeError, ParkReason.TOO_LARGE),
        (PermanentError, ParkReason.REFUSED),
        (MisconfiguredError, ParkReason.MISCONFIGURED),
    ):
        if isinstance(error, kind):
            return reason
    return ParkReason.DEFECT


def problem_of(error: BaseException) -> str:
    """What a person is shown. A foreign exception's own text may quote the message, so only its class is told."""
    if not isinstance(error, OkienkoError):
        return f"unexpected {type(error).__name__}; see the log of that time"
    # A plugin's text may have what PostgreSQL does not hold.
    return storable(str(error))[:2000]


@dataclass(frozen=True, slots=True)
class Parked:
    """One line of `okienko parked list`."""

    id: int
    job: str
    ref: UUID
    envelope_id: UUID | None
    reason: str
    problem: str
    at: datetime
    state: str
    source: str | None
    size: int | None


async def park(
    raw: Any, job: Job, ref: UUID, envelope_id: UUID | None, error: BaseException, now: datetime
) -> ParkReason:
    """Write one parked row, in the caller's transaction."""
    reason = reason_of(error)
    await raw.execute(
        "INSERT INTO parked (job, ref, envelope_id, reason, problem, at, state) VALUES ($1, $2, $3, $4, $5, $6, 'parked')",
        job.value, ref, envelope_id, reason.value, problem_of(error), now,
    )  # fmt: skip
    return reason


async def list_parked(engine: AsyncEngine, *, everything: bool = False) -> list[Parked]:
    """Parked work, oldest first; with `everything` also what was replayed or dropped."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await raw.fetch(f"{_PARKED} WHERE p.state = 'parked' OR $1 ORDER BY p.id", everything)
    return [Parked(**dict(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class Choice:
    """Some of the parked work: what fits all that is given."""

    ranges: tuple[tuple[int, int], ...] = ()
    """First and last number of each; none: all numbers."""
    since: datetime | None = None
    until: datetime | None = None
    """Parked at or after the one and before the other."""
    reason: ParkReason | None = None
    job: Job | None = None


async def choose(engine: AsyncEngine, choice: Choice) -> list[Parked]:
    """The parked work that the choice speaks of, oldest first; what was replayed or dropped is not among it."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await raw.fetch(
            _CHOSEN,
            [first for first, _ in choice.ranges], [last for _, last in choice.ranges], choice.since, choice.until,
            choice.reason.value if choice.reason else None, choice.job.value if choice.job else None,
        )  # fmt: skip
    return [Parked(**dict(row)) for row in rows]


async def replay(engine: AsyncEngine, ids: Sequence[int], now: datetime, who: str) -> list[int]:
    """Put the work back in the queue; returns the ids that were parked. Each is replayed once, however often this runs."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await _end(raw, ids, "replayed", now, who)
        envelopes = [row["ref"] for row in rows if row["job"] == Job.PROCESS]
        await raw.execute(
            "UPDATE envelope SET outcome = 'received', reason = NULL, finished_at = NULL WHERE id = ANY($1::uuid[])",
            envelopes,
        )
        await raw.execute(
            "UPDATE notification SET state = 'queued', problem = NULL WHERE state = 'failed' AND id = ANY($1::uuid[])",
            [row["ref"] for row in rows if row["job"] == Job.NOTIFY],
        )
        await outbox.unpark(raw, [row["id"] for row in rows], state="waiting")
        await raw.execute(
            "UPDATE csd_shadow SET news = news + 1 WHERE case_id = ANY($1::uuid[])",
            [row["ref"] for row in rows if row["job"] == Job.SYNC],
        )
        for job in Job:
            await enqueue(connection, job, [str(row["ref"]) for row in rows if row["job"] == job])
    return [row["id"] for row in rows]


async def drop(engine: AsyncEngine, ids: Sequence[int], now: datetime, who: str) -> list[int]:
    """Take the work off the list for good. The bytes stay with the envelope, and the balance counts it as suppressed."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await _end(raw, ids, "dropped", now, who)
        envelopes = [row["ref"] for row in rows if row["job"] == Job.PROCESS]
        await raw.execute(
            "UPDATE envelope SET outcome = 'suppressed', reason = 'dropped' WHERE id = ANY($1::uuid[])", envelopes
        )
        await outbox.unpark(raw, [row["id"] for row in rows], state="dropped")
        # What waited behind it goes on.
        await outbox.wake(connection, [row["ref"] for row in rows if row["job"] == Job.SYNC])
    return [row["id"] for row in rows]


async def _end(raw: Any, ids: Sequence[int], state: str, now: datetime, who: str) -> list[Any]:
    rows: list[Any] = await raw.fetch(
        "UPDATE parked SET state = $2, ended_at = $3, ended_by = $4 WHERE id = ANY($1::bigint[]) AND state = 'parked' "
        "RETURNING id, job, ref, reason",
        list(ids), state, now, who,
    )  # fmt: skip
    action = AuditAction.REPLAYED if state == "replayed" else AuditAction.DROPPED
    record(
        raw,
        [
            NewEntry(
                action, now, who, subject=f"parked {row['id']}", reason=f"was parked as {row['reason']}",
                data={"parked": row["id"], "job": row["job"], "ref": str(row["ref"])},
            )
            for row in rows
        ],
    )  # fmt: skip
    return rows
