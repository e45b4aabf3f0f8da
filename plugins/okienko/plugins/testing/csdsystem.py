"""An ITSM system in memory, as simple-minded as real ones: it makes a ticket, a note or a file for each request, also for a repeated one.

`MemoryCsd` is the connector before it. What people do in the system by their own hands are the methods from `edit` on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from okienko.plugins.context import utc_now
from okienko.plugins.csd import Note, RawTicket, Registration, RemoteFile, Ticket, TicketChange, WebhookRequest
from okienko.schemas import CsdRef, Priority, TicketStatus

STATES = {
    "new": TicketStatus.OPEN,
    "open": TicketStatus.OPEN,
    "in progress": TicketStatus.OPEN,
    "pending": TicketStatus.PENDING,
    "closed": TicketStatus.CLOSED,
    "rejected": TicketStatus.CLOSED,
}
"""What the system's states mean; of each meaning the last one but `closed` is only ever set by people."""
WRITTEN = {TicketStatus.OPEN: "open", TicketStatus.PENDING: "pending", TicketStatus.CLOSED: "closed"}
ERASED = "[usunięto]"
SIGNATURE = "x-memory-signature"
"""The header of a webhook: `sha256=` and the hex HMAC of the body."""


@dataclass(slots=True)
class MemoryTicket:
    """A ticket of MemorySystem."""

    ref: CsdRef
    registration: Registration
    created_at: datetime
    updated_at: datetime
    subject: str
    description: str
    requester: str | None
    priority: Priority
    raw_status: str = "new"
    queue: str = "general"
    assignee: str | None = None
    solution: str | None = None
    merged_into: CsdRef | None = None
    version: int = 1
    notes: list[Note] = field(default_factory=list)
    files: list[RemoteFile] = field(default_factory=list)
    links: set[str] = field(default_factory=set)

    @property
    def status(self) -> TicketStatus:
        """What the state means."""
        return STATES[self.raw_status]

    @property
    def closed(self) -> bool:
        """Whether nobody works on it any more."""
        return self.status is TicketStatus.CLOSED

    def shown(self) -> Ticket:
        """As the system gives it."""
        return Ticket(
            ref=self.ref, correlation_id=self.registration.correlation_id, status=self.status, raw_status=self.raw_status,
            subject=self.subject, created_at=self.created_at, updated_at=self.updated_at, queue=self.queue,
            priority=self.priority, assignee=self.assignee, solution=self.solution, merged_into=self.merged_into,
            version=str(self.version), notes=tuple(self.notes), files=tuple(self.files),
            fields={"number": self.registration.number, "channel": self.registration.channel.value}, raw=self._raw(),
        )  # fmt: skip

    def _raw(self) -> RawTicket:
        return replace(
            written(self.registration), subject=self.subject, queue=self.queue, status=self.raw_status,
            priority=self.priority.value, requester=self.requester or "",
        )  # fmt: skip


def written(registration: Registration) -> RawTicket:
    """What a new ticket is made of; the queue is the system's to choose."""
    return RawTicket(
        subject=registration.subject, priority=registration.priority.value, requester=registration.requester,
        fields={
            "correlation": str(registration.correlation_id), "number": registration.number,
            "channel": registration.channel.value,
        },
    )  # fmt: skip


class MemorySystem:
    """The system's side. Nothing here fails and nothing waits: see `Faults` for that."""

    def __init__(
        self,
        name: str = "memory",
        prefix: str = "ZGL",
        *,
        unique: bool = False,
        now: Callable[[], datetime] = utc_now,
        secret: bytes = b"a secret of the webhook",
    ) -> None:
        self.name = name
        self.unique = unique
        """It refuses a second ticket of a case by giving the first."""
        self.tickets: dict[UUID, MemoryTicket] = {}
        """The oldest ticket of each case."""
        self.by_number: dict[str, MemoryTicket] = {}
        """Every ticket."""
        self.created = 0
        self.requests: Counter[str] = Counter()
        """Requests by name, those that failed as well; counted by the connector."""
        self.writes = 0
        """Changes that were really made by requests."""
        self.ignored_states = 0
        """So many changes of state will be answered with success and not made."""
        self.ignores_filter = False
        """The search gives every ticket, whatever was asked."""
        self.secret = secret
        self._now = now
        self._prefix = prefix
        self._sequence = 0
        self._note_ids = 0
        self._touched: dict[str, tuple[int, CsdRef]] = {}

    @property
    def doubles(self) -> int:
        """Tickets too many: those of a case beyond its first."""
        return len(self.by_number) - len({t.registration.correlation_id for t in self.by_number.values()})

    # --- what requests do ---------------------------------------------------------------------------------------------

    def search(self, correlation_ids: Iterable[UUID]) -> list[tuple[UUID, CsdRef]]:
        """Every ticket of these cases, oldest first."""
        if self.ignores_filter:
            return [(t.registration.correlation_id, t.ref) for t in self.by_number.values()]
        return [(key, self.tickets[key].ref) for key in correlation_ids if key in self.tickets]

    def create(self, registration: Registration) -> CsdRef:
        """A new ticket, also when there is one of this case already, unless the system is `unique`."""
        key = registration.correlation_id
        if self.unique and key in self.tickets:
            return self.tickets[key].ref
        self.created += 1
        self.writes += 1
        now = self._now()
        ref = CsdRef(backend=self.name, number=f"{self._prefix}{self.created:09}")
        ticket = MemoryTicket(
            ref, registration, now, now, registration.subject, registration.description, registration.requester,
            registration.priority,
        )  # fmt: skip
        self.by_number[ref.number] = ticket
        self.tickets.setdefault(key, ticket)
        self._touch(ticket)
        return ref

    def read(self, number: str) -> Ticket | None:
        """The ticket, None when it is not there."""
        ticket = self.by_number.get(number)
        return ticket.shown() if ticket is not None else None

    def write(self, number: str, change: TicketChange, version: str | None = None) -> bool:
        """Write the fields that are given. False: the ticket has another version."""
        ticket = self.by_number[number]
        if version is not None and version != str(ticket.version):
            return False
        self.writes += 1
        if change.status is not None:
            if self.ignored_states:
                self.ignored_states -= 1
            elif change.status is not ticket.status:
                ticket.raw_status = WRITTEN[change.status]
        ticket.subject = ticket.subject if change.subject is None else change.subject
        ticket.priority = ticket.priority if change.priority is None else change.priority
        ticket.queue = ticket.queue if change.queue is None else change.queue
        ticket.assignee = ticket.assignee if change.assignee is None else change.assignee
        self._touch(ticket)
        return True

    def close(self, number: str, solution: str) -> None:
        """Close it with a solution."""
        if not self.ignored_states:
            self.by_number[number].solution = solution
        self.write(number, TicketChange(status=TicketStatus.CLOSED))

    def reopen(self, number: str, reason: str) -> None:
        """Open it again, with a note that says why."""
        self.add_note(number, reason, public=False, author="okienko", key=None)
        self.write(number, TicketChange(status=TicketStatus.OPEN))

    def add_note(self, number: str, text: str, *, public: bool, author: str, key: str | None) -> None:
        """One more note. The system keeps a key at it and does not look whether there is one with it."""
        self.writes += 1
        ticket = self.by_number[number]
        self._note_ids += 1
        ticket.notes.append(Note(str(self._note_ids), text, self._now(), public=public, author=author, key=key))
        self._touch(ticket)

    def add_file(self, number: str, filename: str, size: int, sha256: str) -> None:
        """One more file."""
        self.writes += 1
        ticket = self.by_number[number]
        self._note_ids += 1
        ticket.files.append(RemoteFile(str(self._note_ids), filename, size, sha256))
        self._touch(ticket)

    def add_link(self, number: str, other: str) -> None:
        """Relate two tickets."""
        self.writes += 1
        for one, its in ((number, other), (other, number)):
            self.by_number[one].links.add(its)
            self._touch(self.by_number[one])

    def erase(self, number: str) -> None:
        """Take the person out."""
        self.writes += 1
        ticket = self.by_number[number]
        ticket.subject = ticket.description = ERASED
        ticket.requester = None
        ticket.registration = replace(
            ticket.registration, subject=ERASED, description=ERASED, requester=None, requester_name=None
        )
        ticket.solution = ERASED if ticket.solution is not None else None
        ticket.notes = [replace(note, text=ERASED) for note in ticket.notes]
        ticket.files.clear()
        self._touch(ticket)

    def changed_since(self, sequence: int, limit: int) -> tuple[list[CsdRef], int, bool]:
        """Tickets changed after that, the oldest change first; where the answer ends, and whether there is more."""
        newer: list[tuple[int, CsdRef]] = []
        for entry in reversed(self._touched.values()):
            if entry[0] <= sequence:
                break
            newer.append(entry)
        newer.reverse()
        told = newer[:limit]
        return [ref for _, ref in told], told[-1][0] if told else sequence, len(newer) > limit

    @property
    def sequence(self) -> int:
        """The number of the last change."""
        return self._sequence

    # --- what people do -----------------------------------------------------------------------------------------------

    def edit(self, ref: CsdRef, change: TicketChange) -> None:
        """Somebody changes fields."""
        ignored, self.ignored_states = self.ignored_states, 0
        self.write(ref.number, change)
        self.writes -= 1
        self.ignored_states = ignored

    def set_state(self, ref: CsdRef, raw: str) -> None:
        """Somebody sets one of STATES."""
        ticket = self.by_number[ref.number]
        ticket.raw_status = raw
        self._touch(ticket)

    def note(self, ref: CsdRef, text: str, *, public: bool = False, author: str = "ewa") -> None:
        """Somebody writes a note."""
        self.add_note(ref.number, text, public=public, author=author, key=None)
        self.writes -= 1

    def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        """Somebody adds a file."""
        self.add_file(ref.number, filename, len(content), hashlib.sha256(content).hexdigest())
        self.writes -= 1

    def merge(self, ref: CsdRef, into: CsdRef) -> None:
        """Somebody merges a ticket into another: its notes and files move there, and it is closed."""
        one, other = self.by_number[ref.number], self.by_number[into.number]
        other.notes = sorted([*other.notes, *one.notes], key=lambda note: (note.at, int(note.id)))
        other.files += one.files
        one.notes, one.files = [], []
        one.merged_into, one.raw_status = other.ref, "closed"
        self._touch(one)
        self._touch(other)

    def remove(self, ref: CsdRef) -> None:
        """Somebody deletes a ticket."""
        gone = self.by_number.pop(ref.number)
        key = gone.registration.correlation_id
        if self.tickets.get(key) is gone:
            del self.tickets[key]
            for ticket in self.by_number.values():
                if ticket.registration.correlation_id == key:
                    self.tickets[key] = ticket
                    break
        self._touch(gone)

    def copy(self, ref: CsdRef) -> CsdRef:
        """Somebody copies a ticket, and the case id with it."""
        unique, self.unique = self.unique, False
        try:
            return self.create(self.by_number[ref.number].registration)
        finally:
            self.unique = unique
            self.writes -= 1

    def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        """Every ticket of a case, oldest first."""
        return [t.ref for t in self.by_number.values() if t.registration.correlation_id == correlation_id]

    def webhook(self, refs: Sequence[CsdRef]) -> WebhookRequest:
        """What the system posts when these tickets have changed."""
        return self.signed(json.dumps({"tickets": [ref.number for ref in refs]}).encode())

    def signed(self, body: bytes) -> WebhookRequest:
        """Any body, signed as the system signs."""
        return WebhookRequest({SIGNATURE: self.signature(body), "content-type": "application/json"}, body)

    def signature(self, body: bytes) -> str:
        """The header's value."""
        return "sha256=" + hmac.new(self.secret, body, hashlib.sha256).hexdigest()

    def _touch(self, ticket: MemoryTicket) -> None:
        self._sequence += 1
        ticket.version += 1
        ticket.updated_at = max(ticket.updated_at, self._now())
        self._touched.pop(ticket.ref.number, None)
        self._touched[ticket.ref.number] = (self._sequence, ticket.ref)
