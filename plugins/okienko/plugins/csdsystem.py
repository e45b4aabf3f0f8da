"""The CSD port around a system that knows a few plain requests: what each HTTP connector would otherwise write again.

`TicketSystem` is what a connector brings: search, create, read, and one request for each thing that is written. `SystemCsd` makes the
port of it: one ticket for a case, one note for a key, one file for a content, closings and changes that are read back, and a walk
through the changes that leaves none out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from okienko.plugins.csd import (
    Capability,
    Changes,
    CsdBase,
    NewFile,
    RawTicket,
    Registration,
    RemoteFile,
    Ticket,
    TicketChange,
    TicketGoneError,
    WebhookRequest,
)
from okienko.plugins.csdcursor import TimeCursor
from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.csdnotes import has_note, mark_of, marked, unmarked
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.csdtexts import clean, file_name, subject_line
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.findings import Finding
from okienko.schemas import CsdRef, TicketStatus

T = TypeVar("T")
R = TypeVar("R")
_SEARCHED = 5000
"""Tickets that a search for one case may give before it is said to filter nothing."""
_FIELDS = {
    "subject": Capability.SUBJECT,
    "priority": Capability.PRIORITY,
    "queue": Capability.QUEUE,
    "assignee": Capability.ASSIGNEE,
}


class TicketSystem(Protocol):
    """One ITSM system by its own API. Every method may raise TransientError, MisconfiguredError and PermanentError."""

    capabilities: frozenset[Capability]

    async def stop(self) -> None:
        """Close connections; the next call opens them again."""
        ...

    def search(self, correlation_id: UUID) -> AsyncGenerator[Ticket, None]:
        """What the system's search gives for the case; `ref`, `correlation_id` and `created_at` are read from each hit."""
        ...

    async def create(self, registration: Registration) -> CsdRef:
        """One request that makes one ticket. TransientError: whether it was made is not known."""
        ...

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        ...

    async def read(self, ref: CsdRef) -> Ticket | None:
        """The ticket, notes oldest first and with keys for those that okienko's own account wrote."""
        ...

    async def add_note(self, ticket: Ticket, text: str, *, public: bool) -> None:
        """Write a note."""
        ...

    async def add_file(self, ticket: Ticket, file: NewFile, filename: str) -> None:
        """Write a file under this name, which the system takes."""
        ...

    async def digest(self, ticket: Ticket, file: RemoteFile) -> str | None:
        """SHA-256 of a file whose digest `read` did not tell; None when that cannot be known."""
        ...

    async def update(self, ticket: Ticket, change: TicketChange) -> None:
        """Write fields and status."""
        ...

    async def solve(self, ticket: Ticket, text: str) -> None:
        """Write the solution; the state may change with it or not."""
        ...

    async def link(self, ticket: Ticket, other: Ticket) -> None:
        """Relate them; once more does no harm."""
        ...

    async def clock(self) -> datetime:
        """The system's time now, rather too early than too late."""
        ...

    def changed(self, since: datetime) -> AsyncGenerator[tuple[CsdRef, datetime], None]:
        """Tickets that were changed at that time or later, the oldest change first. `by_time` makes it of pages."""
        ...

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        ...

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        ...


class SystemCsd(CsdBase):
    """See CsdBackend."""

    def __init__(
        self, name: str, system: TicketSystem, file: MappingFile, *, connections: int = 4, subject_length: int = 250
    ) -> None:
        self.name = name
        self.capabilities = system.capabilities
        self._system = system
        self._mapping = file.mapping
        self._file = file
        self._subject_length = subject_length
        self._gate = asyncio.Semaphore(connections)
        self._once = OnceOnly(self.find, self._create, at_once=connections)
        self._locks = TicketLocks()

    async def start(self) -> None:
        """See CsdBackend. Nothing is to be made, and a system that is away must not hold up the service."""

    async def stop(self) -> None:
        """See CsdBackend."""
        await self._system.stop()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend. Each hit's own correlation id is compared."""
        found = await self._each(list(dict.fromkeys(correlation_ids)), self._find)
        return {key: ref for key, ref in found if ref is not None}

    async def _find(self, key: UUID) -> tuple[UUID, CsdRef | None]:
        ours: list[Ticket] = []
        count = 0
        async with aclosing(self._system.search(key)) as hits:
            async for hit in hits:
                count += 1
                if hit.correlation_id == key:
                    ours.append(hit)
                if count >= _SEARCHED:
                    raise MisconfiguredError(
                        f"the search of the CSD {self.name} for one case gave {count} tickets: it does not filter by "
                        f"{self._mapping.correlation!r} ({self._file.where('correlation')}); correct the name or make the field"
                    )
        return key, min(ours, key=_age).ref if ours else None

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return await self._once.create(registrations)

    async def _create(self, registration: Registration) -> CsdRef:
        return await self._system.create(self._writable(registration))

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        if Capability.PREVIEW not in self.capabilities:
            return super().preview(registration)
        return self._system.preview(self._writable(registration))

    def _writable(self, registration: Registration) -> Registration:
        subject = subject_line(registration.subject, self._subject_length)
        return replace(
            registration, subject=subject, description=clean(registration.description).strip() or "(bez treści)"
        )

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        return await self._system.read(ref)

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            ticket = await self._there(ref)
            if not has_note(ticket.notes, key):
                shown = public and Capability.PUBLIC_NOTES in self.capabilities
                await self._system.add_note(ticket, marked(clean(text), key), public=shown)

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend. The name is written so that every system takes it."""
        if Capability.ATTACHMENTS not in self.capabilities:
            raise self._cannot("take attachments")
        async with self._locks.held(ref.number):
            ticket = await self._there(ref)
            name = file_name(file.filename)
            for known in ticket.files:
                if known.filename == name and known.size == file.size:
                    digest = known.sha256 or await self._system.digest(ticket, known)
                    if digest == file.sha256:
                        return
            await self._system.add_file(ticket, file, name)

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. What the system did not take is found by reading back."""
        for field, capability in _FIELDS.items():
            if getattr(change, field) is not None and capability not in self.capabilities:
                raise self._cannot(f"change the {field}")
        if version is not None and Capability.VERSIONS not in self.capabilities:
            raise self._cannot("compare versions")
        if change.priority is not None and self._mapping.priority_out(change.priority) is None:
            raise MisconfiguredError(
                f"{self._file.where('priorities')}: no priority for {change.priority.value}: add it"
            )
        if change.subject is not None:
            change = replace(change, subject=subject_line(change.subject, self._subject_length))
        async with self._locks.held(ref.number):
            ticket = await self._there(ref)
            await self._write(ticket, change)

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            ticket = await self._there(ref)
            if ticket.status is TicketStatus.CLOSED:
                return
            if (key := _turn(ticket, "closed", solution)) is not None:
                await self._system.solve(ticket, marked(clean(solution), key))
                ticket = await self._there(ref)
            await self._write(ticket, TicketChange(status=TicketStatus.CLOSED))

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. The reason is an internal note."""
        async with self._locks.held(ref.number):
            ticket = await self._there(ref)
            if ticket.status is not TicketStatus.CLOSED:
                return
            if (key := _turn(ticket, "reopened", reason)) is not None:
                await self._system.add_note(ticket, marked(clean(reason), key), public=False)
                ticket = await self._there(ref)
            await self._write(ticket, TicketChange(status=TicketStatus.OPEN))

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend."""
        if Capability.LINKS not in self.capabilities:
            raise self._cannot("link tickets")
        one, target = await self._there(ref), await self._there(other)
        if one.ref.number != target.ref.number:
            await self._system.link(one, target)

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend, and csdcursor.py for how nothing is left out."""
        if Capability.CHANGES not in self.capabilities:
            raise self._cannot("tell what has changed")
        now = await self._system.clock()
        if cursor is None:
            return Changes((), TimeCursor(now).text())
        place = TimeCursor.parse(cursor).begin(now)
        refs: list[CsdRef] = []
        async with aclosing(self._system.changed(place.start)) as rows:
            async for ref, at in rows:
                if place.is_told(ref.number, at):
                    continue
                if len(refs) >= limit:
                    return Changes(tuple(refs), place.text(), more=True)
                refs.append(ref)
                place = place.tell(ref.number, at, now)
        return Changes(tuple(refs), place.end().text())

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        if Capability.WEBHOOK not in self.capabilities:
            raise self._cannot("post webhooks: no secret is set")
        return self._system.notified(request)

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return await self._system.check()

    async def _write(self, ticket: Ticket, change: TicketChange) -> None:
        status = change.status
        if status is TicketStatus.PENDING and Capability.PENDING not in self.capabilities:
            status = TicketStatus.OPEN
        change = replace(change, status=None if status is ticket.status else status)
        wanted = {
            name: value
            for name in ("status", "subject", "priority", "queue", "assignee")
            if (value := getattr(change, name)) is not None and value != (getattr(ticket, name) or "")
        }
        if not wanted:
            return
        await self._system.update(ticket, TicketChange(**wanted))
        after = await self._there(ticket.ref)
        if ignored := [name for name, value in wanted.items() if (getattr(after, name) or "") != value]:
            raise PermanentError(
                f"the CSD {self.name} took the change of {', '.join(ignored)} of ticket {ticket.ref.number} and did not make it: "
                "look at its rules and at the rights of okienko's account"
            )

    async def _there(self, ref: CsdRef) -> Ticket:
        ticket = await self._system.read(ref)
        if ticket is None:
            raise TicketGoneError(f"the CSD {self.name} has no ticket {ref.number}, or does not show it to okienko")
        return ticket

    async def _each(self, things: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
        async def one(thing: T) -> R:
            async with self._gate:
                return await work(thing)

        return list(await asyncio.gather(*map(one, things)))


Row = tuple[CsdRef, datetime]


async def by_time(
    page: Callable[[datetime, int], Awaitable[tuple[list[Row], bool]]], since: datetime, *, whole_pages: bool = False
) -> AsyncGenerator[Row, None]:
    """The rows of a list that is ordered by the time of change and moves while it is read.

    `page` gets a time and how many rows to leave out, and gives rows and whether there are more. A ticket that is changed leaves its place, and
    those behind it move up: by counting rows one would be passed by. So the next page begins at the time of the last row, and within
    one second half a page is read again; with `whole_pages`, where only pages can be asked for, `page` gets their number. Rows come
    more than once.
    """
    start = 0
    while True:
        rows, more = await page(since, start)
        for row in rows:
            yield row
        if not rows or not more:
            return
        newest = rows[-1][1]
        if int(newest.timestamp()) > int(since.timestamp()):
            since, start = newest, 0
        else:
            start += 1 if whole_pages else max(1, len(rows) // 2)


def _turn(ticket: Ticket, kind: str, text: str) -> str | None:
    """The key of the next note that closes or reopens; None when the last such note is this one, and only the state is missing."""
    # Numbered, because notes of one second have no order.
    marks = {mark_of(f"{k} {i}"): (i, k) for k in ("closed", "reopened") for i in range(len(ticket.notes) + 1)}
    ours = {marks[note.key]: note.text for note in ticket.notes if note.key in marks}
    if not ours:
        return f"{kind} 0"
    turn, last = max(ours)
    if last == kind and ours[turn, last].strip() == unmarked(clean(text)).strip():
        return None
    return f"{kind} {turn + 1}"


def _age(ticket: Ticket) -> tuple[datetime, int, str]:
    key = ticket.ref.id or ticket.ref.number
    return ticket.created_at, int(key) if key.isascii() and key.isdigit() else 0, key
