"""The port of CSD backends: what okienko asks of the ITSM system in which cases are registered.

A ticket is found again by the case's id (the correlation id), so that an answer that was lost makes no second one. Every change
can be repeated without harm, because after an ambiguous answer it is. Changes made in the CSD are told as "these tickets may have
changed"; the core reads each and compares it with what it saw last, so that a notice too many, too late or out of order does no harm.
"""

# ruff: noqa: ARG002  the methods of CsdBase only say that they cannot be done

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, Protocol, runtime_checkable
from uuid import UUID

from okienko.plugins.errors import PermanentError
from okienko.plugins.findings import Finding
from okienko.schemas import CaseKind, ChannelName, CsdRef, Priority, Procedure, TicketStatus, UtcDatetime


class Capability(StrEnum):
    """What a backend can do beyond find, create, get, close, reopen and internal notes, which each of them can."""

    PUBLIC_NOTES = "public_notes"
    """Notes that the requester sees, told apart from internal ones."""
    ATTACHMENTS = "attachments"
    LINKS = "links"
    SUBJECT = "subject"
    """`change` can write the subject."""
    PRIORITY = "priority"
    QUEUE = "queue"
    ASSIGNEE = "assignee"
    PENDING = "pending"
    """There is a state for waiting; elsewhere PENDING is written as OPEN."""
    VERSIONS = "versions"
    """`Ticket.version` is there, and `change` compares it: two writers cannot overwrite each other unseen."""
    UNIQUE = "unique"
    """The system itself refuses a second ticket with the same correlation id."""
    CHANGES = "changes"
    """`changes` tells what has changed since a cursor."""
    WEBHOOK = "webhook"
    """`notified` reads what the system posts when a ticket changes."""
    REMOVAL = "removal"
    """Tickets may vanish or be merged into others, and `get` tells."""
    ERASE = "erase"
    """`erase` takes the person out of a ticket (RODO) and keeps the rest."""
    PREVIEW = "preview"
    """`preview` tells what `create` would write, and `Ticket.raw` what a ticket has of that."""


class UnsupportedError(PermanentError):
    """The backend cannot do this; see `CsdBackend.capabilities`."""


class TicketGoneError(PermanentError):
    """The ticket does not exist, or not any more."""


class TicketChangedError(PermanentError):
    """The ticket was changed since it was read, nothing was written: read it again and decide anew."""


class ForgedNoticeError(PermanentError):
    """A webhook's sender could not prove itself; nothing of it was believed."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a CSD is asked to register. `correlation_id` is the case id: it must be found again by it."""

    correlation_id: UUID
    kind: CaseKind
    procedure: Procedure | None
    subject: str
    description: str
    requester: str | None
    """The address, lower case."""
    opened_at: UtcDatetime
    """When the message came in: the ticket's time for SLA, also when it is registered days later."""
    requester_name: str | None = None
    channel: ChannelName = ChannelName.EMAIL
    priority: Priority = Priority.NORMAL
    number: str = ""
    """okienko's own lasting number of the case; the person may have been given it before the CSD's."""


@dataclass(frozen=True, slots=True)
class Note:
    """One entry in a ticket's conversation."""

    id: str
    """The system's own id of it."""
    text: str
    """Plain text, without okienko's mark."""
    at: UtcDatetime
    public: bool = False
    """The requester sees it."""
    author: str = ""
    key: str | None = None
    """The key under which okienko wrote it, None when somebody else did (see `okienko.plugins.csdnotes`)."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a ticket."""

    id: str
    filename: str
    size: int
    """Octets."""
    sha256: str | None = None
    """Hex, where the system or a look at the content tells."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to attach. Its content is read as a stream, and may be read again when an attempt is repeated."""

    filename: str
    media_type: str
    size: int
    """Octets."""
    sha256: str
    """Hex: the same content under the same name twice is one attachment."""
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class RawTicket:
    """A ticket in the system's own words, under the heads of a mapping.

    None, or a name that `fields` lacks: not written, or not told by the system. "": empty there.
    """

    subject: str | None = None
    queue: str | None = None
    type: str | None = None
    status: str | None = None
    priority: str | None = None
    requester: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """By the system's names, the correlation field too."""


RAW_HEADS = ("subject", "queue", "type", "status", "priority", "requester")
"""The heads of a RawTicket."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One ticket, as it was when it was read."""

    ref: CsdRef
    correlation_id: UUID | None
    """None: the field is empty, so that the ticket is none of ours."""
    status: TicketStatus
    raw_status: str
    """The state as the system calls it."""
    subject: str
    created_at: UtcDatetime
    updated_at: UtcDatetime
    queue: str | None = None
    priority: Priority | None = None
    assignee: str | None = None
    solution: str | None = None
    """What the system keeps as the solution of a closed ticket, where it has a place for one."""
    merged_into: CsdRef | None = None
    version: str | None = None
    notes: tuple[Note, ...] = ()
    """Oldest first."""
    files: tuple[RemoteFile, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """The mapped fields of the installation, by okienko's names for them."""
    raw: RawTicket | None = None
    """The same in the system's words, where there is PREVIEW."""


@dataclass(frozen=True, slots=True)
class TicketChange:
    """What is to be written; None leaves a field as it is. `close` and `reopen` move the status to and from CLOSED."""

    status: TicketStatus | None = None
    subject: str | None = None
    priority: Priority | None = None
    queue: str | None = None
    assignee: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """An answer of `changes`."""

    refs: tuple[CsdRef, ...]
    """Tickets that may have changed, the oldest change first as far as the system's clock tells; some may be told twice."""
    cursor: str
    """Opaque; the next question goes on from here. Nothing that changed after it is ever left out."""
    more: bool = False
    """There is more at once."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """What a CSD posted to `/csd/<backend>/webhook`."""

    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@runtime_checkable
class CsdBackend(Protocol):
    """An ITSM system's register.

    Every call may raise TransientError (not reachable, time-out, busy: try again; whether it was done is not known) and
    MisconfiguredError (refused credentials, unknown queue, missing right: stop this plugin). Methods whose capability is not in
    `capabilities` raise UnsupportedError; `CsdBase` does so for you. On a ticket that is not there they raise TicketGoneError.
    """

    name: str
    capabilities: frozenset[Capability]
    """Read after `start`."""

    async def start(self) -> None:
        """Called once before any other call: open connections, create what is missing. Idempotent."""
        ...

    async def stop(self) -> None:
        """Called once at the end; closes connections. Idempotent; `start` opens them again."""
        ...

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """Those of the cases that the register already holds.

        What the system's search answers is read and compared: some ignore a filter that they do not know. Where the register
        holds several tickets of one case, the oldest is given.
        """
        ...

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """Register them in their order; the answer has a number for each. The same correlation id twice gives one number.

        Look up before creating and after any ambiguous answer (`okienko.plugins.csdonce.OnceOnly` does both). For a new case nobody else
        does: the core calls `find` only for what it may have asked for before.
        What was registered before a failure is found by `find`. PaceError says that nothing is in doubt: each request that was
        sent was answered.
        """
        ...

    def preview(self, registration: Registration) -> RawTicket:
        """What `create` would write for the case under the present mapping. Pure: nothing is asked of the system.

        Raises MappingError (`okienko.plugins.csdmapping`) with line and cure where the mapping has no answer. What only the system
        knows (is there such a queue?) is not seen here; `check` asks it.
        """
        ...

    async def get(self, ref: CsdRef) -> Ticket | None:
        """The ticket with notes and files, or None when it is not there (removed)."""
        ...

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """Add a note. `key` is lasting: the same key twice gives one note. `get` gives it back with its key (`mark_of(key)`).

        Without PUBLIC_NOTES every note is internal, whatever `public` says.
        """
        ...

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """Add a file. The same content under the same name twice gives one."""
        ...

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """Write the fields that are given. With `version`, raises TicketChangedError when the ticket has another one.

        What the system answers with success and does not do (a state that is not allowed) is found by reading back and raised
        as PermanentError.
        """
        ...

    async def close(self, ref: CsdRef, solution: str) -> None:
        """Close the ticket with its solution. Closing a closed one changes nothing."""
        ...

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """Open a closed ticket again. Reopening an open one changes nothing."""
        ...

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """Relate two tickets of this register. Doing it twice is as good as once."""
        ...

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """At most `limit` tickets that may have changed since the cursor. None: from now on, so that `refs` is empty.

        A cursor made of a time that many tickets can share must not skip nor repeat them for ever: ask from that time on again,
        and remember in the cursor which of that time have been told.
        """
        ...

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """The tickets that a webhook speaks of, in the order in which they changed. Pure; compares secrets in constant time.

        Raises ForgedNoticeError when the sender does not prove itself, and PermanentError when the body cannot be read.
        """
        ...

    async def erase(self, ref: CsdRef) -> None:
        """Replace subject, description, requester, solution and notes by a placeholder and delete the files. Idempotent.

        Number, correlation id, state and times stay.
        """
        ...

    async def check(self) -> list[Finding]:
        """Try every setting, connection and mapping against the system's own metadata; each problem with its cure."""
        ...


class CsdBase:
    """What a backend inherits for what its system cannot do."""

    name: str = ""
    capabilities: frozenset[Capability] = frozenset()

    async def stop(self) -> None:
        """See CsdBackend."""

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        raise self._cannot("tell beforehand what it would write")

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend."""
        raise self._cannot("take attachments")

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend."""
        raise self._cannot("change a ticket's fields")

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend."""
        raise self._cannot("link tickets")

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend."""
        raise self._cannot("tell what has changed")

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        raise self._cannot("post webhooks")

    async def erase(self, ref: CsdRef) -> None:
        """See CsdBackend."""
        raise self._cannot("take a person out of a ticket")

    def _cannot(self, what: str) -> UnsupportedError:
        can = ", ".join(sorted(self.capabilities)) or "only what every backend can"
        return UnsupportedError(
            f"the CSD {self.name} cannot {what}; it can: {can}. A person has to do it there by hand"
        )


def digest_of(content: bytes) -> str:
    """SHA-256 in hex, as `NewFile.sha256` and `RemoteFile.sha256` write it."""
    return hashlib.sha256(content).hexdigest()
