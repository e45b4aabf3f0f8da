"""In-memory doubles of every port that does I/O. They keep the ports' promises and pass the conformance checks.

Each has `failures`: an error put there is raised by the next call instead of its work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from uuid import UUID, uuid4

from pydantic import ValidationError

from okienko.plugins.csd import CsdBase, Note, Ticket, TicketGoneError
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.errors import UnreadableError
from okienko.plugins.ports import Finding, Intake, RawItem, Registration, Severity
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName, CsdRef, Envelope, InboundMessage, OutboundMessage, TicketStatus


class FixedClock:
    """A clock that stands still until it is told to move: pass it as `PluginContext.now`."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def advance(self, step: timedelta) -> datetime:
        """Move the clock by `step` and return the new time."""
        self._now += step
        return self._now


class _Failing:
    """What the doubles share: errors that a test has ordered."""

    def __init__(self) -> None:
        self.failures: deque[Exception] = deque()

    def _fail_if_ordered(self) -> None:
        if self.failures:
            raise self.failures.popleft()


class MemoryIntake(_Failing):
    """See Intake. What was accepted is in `items`, by envelope id, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[UUID, RawItem] = {}
        self._by_external: dict[tuple[str, str], UUID] = {}

    async def accept(self, item: RawItem) -> UUID:
        """See Intake."""
        self._fail_if_ordered()
        fresh = uuid4()
        if item.external_id is not None:
            known = self._by_external.setdefault((item.source, item.external_id), fresh)
            if known != fresh:
                return known
        self.items[fresh] = item
        return fresh


class MemoryChannel(_Failing):
    """See Channel. It takes in `inbound` (each one InboundMessage) and keeps what it sends in `sent`."""

    def __init__(self, name: str = "memory", channel: ChannelName = ChannelName.PORTAL) -> None:
        super().__init__()
        self.name = name
        self.channel = channel
        self.inbound: deque[InboundMessage] = deque()
        self.sent: list[OutboundMessage] = []

    async def run(self, intake: Intake) -> None:
        """See Channel."""
        self._fail_if_ordered()
        while self.inbound:
            raw = RawContent(self.inbound[0].model_dump_json().encode())
            await intake.accept(RawItem(channel=self.channel, connector=self.name, source=self.name, raw=raw))
            self.inbound.popleft()
        await asyncio.Event().wait()

    def parse(self, envelope: Envelope, raw: RawContent) -> InboundMessage:
        """The bytes are the JSON of an InboundMessage. Raises UnreadableError for any others."""
        try:
            return InboundMessage.model_validate_json(raw.read())
        except ValidationError:
            raise UnreadableError(f"envelope {envelope.id} holds no InboundMessage in JSON") from None

    def open_attachment(self, envelope: Envelope, raw: RawContent, index: int) -> BinaryIO:
        """Always IndexError: the JSON carries no attachment's bytes."""
        del envelope, raw
        raise IndexError(index)

    async def send(self, message: OutboundMessage) -> None:
        """See Channel."""
        self._fail_if_ordered()
        self.sent.append(message)

    async def check(self) -> list[Finding]:
        """See Channel."""
        return [Finding(self.name, Severity.OK, "in memory")]


@dataclass
class MemoryTicket:
    """A ticket of MemoryCsd."""

    ref: CsdRef
    registration: Registration
    closed: bool = False
    solution: str | None = None
    notes: dict[str, str] = field(default_factory=dict)


class MemoryCsd(_Failing, CsdBase):
    """See CsdBackend. Its tickets are in `tickets`, by correlation id."""

    def __init__(self, name: str = "memory", prefix: str = "ZGL") -> None:
        super().__init__()
        self.name = name
        self.tickets: dict[UUID, MemoryTicket] = {}
        self._prefix = prefix

    async def start(self) -> None:
        """See CsdBackend."""
        self._fail_if_ordered()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        self._fail_if_ordered()
        return {key: self.tickets[key].ref for key in correlation_ids if key in self.tickets}

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        self._fail_if_ordered()
        for registration in registrations:
            if registration.correlation_id not in self.tickets:
                ref = CsdRef(backend=self.name, number=f"{self._prefix}{len(self.tickets) + 1:09}")
                self.tickets[registration.correlation_id] = MemoryTicket(ref, registration)
        return {r.correlation_id: self.tickets[r.correlation_id].ref for r in registrations}

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        ticket = self._ticket(ref)
        if not ticket.closed:
            ticket.closed, ticket.solution = True, solution

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend."""
        ticket = self._ticket(ref)
        if ticket.closed:
            ticket.closed = False
            ticket.notes[f"reopened {len(ticket.notes)}"] = reason

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        try:
            ticket = self._ticket(ref)
        except TicketGoneError:
            return None
        at, asked = ticket.registration.opened_at, ticket.registration
        return Ticket(
            ref=ref, correlation_id=asked.correlation_id, subject=asked.subject, created_at=at, updated_at=at,
            status=TicketStatus.CLOSED if ticket.closed else TicketStatus.OPEN,
            raw_status="closed" if ticket.closed else "open", solution=ticket.solution,
            notes=tuple(Note(key, text, at, key=mark_of(key)) for key, text in ticket.notes.items()),
        )  # fmt: skip

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        del public
        self._ticket(ref).notes.setdefault(key, text)

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return [Finding(self.name, Severity.OK, f"{len(self.tickets)} tickets in memory")]

    def _ticket(self, ref: CsdRef) -> MemoryTicket:
        self._fail_if_ordered()
        for ticket in self.tickets.values():
            if ticket.ref == ref:
                return ticket
        raise TicketGoneError(f"there is no ticket {ref.number}")
