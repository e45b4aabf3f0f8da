"""From okienko's words to the register's columns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from okienko.plugins.csd import Note, RawTicket, Registration, RemoteFile, Ticket
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.csdtexts import storable
from okienko.schemas import CsdRef, Priority, TicketStatus

_TRANSIENT_SQLSTATES = ("08", "40", "53", "55P03", "57")
"""Connection, deadlock and serialisation, out of resources, lock not available, shutdown.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


class Columns(TypedDict):
    """A batch of tickets, one list for each column, as `unnest` takes them."""

    ids: list[UUID]
    kinds: list[str]
    procedures: list[str | None]
    subjects: list[str]
    descriptions: list[str]
    requesters: list[str | None]
    names: list[str | None]
    channels: list[str]
    priorities: list[str]
    case_numbers: list[str]
    opened: list[datetime]


def columns(registrations: Sequence[Registration]) -> Columns:
    """The batch by column. Of one correlation id twice the first stands."""
    unique: dict[UUID, Registration] = {}
    for registration in registrations:
        unique.setdefault(registration.correlation_id, registration)
    batch = unique.values()
    return Columns(
        ids=[r.correlation_id for r in batch],
        kinds=[r.kind.value for r in batch],
        procedures=[r.procedure.value if r.procedure else None for r in batch],
        subjects=[storable(r.subject) for r in batch],
        descriptions=[storable(r.description) for r in batch],
        requesters=[storable(r.requester) if r.requester is not None else None for r in batch],
        names=[storable(r.requester_name) if r.requester_name is not None else None for r in batch],
        channels=[r.channel.value for r in batch],
        priorities=[r.priority.value for r in batch],
        case_numbers=[storable(r.number) for r in batch],
        opened=[r.opened_at for r in batch],
    )


def preview_of(registration: Registration) -> RawTicket:
    """What goes into the register for a new ticket. It has no mapping: its words are okienko's own."""
    return RawTicket(
        subject=storable(registration.subject), type=registration.kind.value, status=TicketStatus.OPEN.value,
        priority=registration.priority.value, requester=storable(registration.requester) if registration.requester else None,
        fields={
            "correlation_id": str(registration.correlation_id), "case_number": storable(registration.number),
            "channel": registration.channel.value, "procedure": registration.procedure.value if registration.procedure else "",
        },
    )  # fmt: skip


def _raw(row: Row[Any]) -> RawTicket:
    return RawTicket(
        subject=row.subject, queue=row.queue or "", type=row.matter, status=row.status, priority=row.priority,
        requester=row.requester or "",
        fields={
            "correlation_id": str(row.correlation_id), "case_number": row.case_number, "channel": row.channel,
            "procedure": row.procedure or "",
        },
    )  # fmt: skip


def ticket_of(backend: str, rows: Sequence[Row[Any]]) -> Ticket:
    """One ticket from its rows, of which each brings one note, one file or nothing."""
    first = rows[0]
    # A row from before notes had a place shows its key instead.
    notes = tuple(
        Note(
            row.id if row.id != "0" else row.key, row.text, _utc(row.at), public=row.public, author="okienko",
            key=mark_of(row.key),
        )
        for row in rows
        if row.kind == "note"
    )  # fmt: skip
    files = tuple(RemoteFile(row.id, row.text, row.size, row.sha256) for row in rows if row.kind == "file")
    moments = [first.opened_at, first.created_at, first.closed_at, first.updated_at, *(row.at for row in rows)]
    return Ticket(
        ref=CsdRef(backend=backend, number=first.number),
        correlation_id=first.correlation_id,
        status=TicketStatus(first.status),
        raw_status=first.status,
        subject=first.subject,
        created_at=_utc(first.opened_at),
        updated_at=_utc(max(moment for moment in moments if moment is not None)),
        queue=first.queue,
        priority=Priority(first.priority),
        assignee=first.assignee,
        solution=first.solution,
        version=str(first.changed),
        notes=notes,
        files=files,
        fields={"number": first.case_number, "channel": first.channel},
        raw=_raw(first),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def is_transient(error: BaseException) -> bool:
    """Whether a database error may be gone at the next attempt. What has no SQLSTATE never reached the server."""
    if isinstance(error, SQLAlchemyError) and not isinstance(error, DBAPIError):
        # The pool's time-out; any other error of SQLAlchemy's own is a bug here.
        return isinstance(error, PoolTimeout)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state: Any = getattr(getattr(error, "orig", error), "sqlstate", None)
    return not isinstance(state, str) or state.startswith(_TRANSIENT_SQLSTATES)
