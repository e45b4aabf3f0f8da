"""MemoryCsd: the whole port `CsdBackend` before a system in memory, with every capability and every fault that a test wants."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from okienko.plugins.context import utc_now
from okienko.plugins.csd import (
    Capability,
    Changes,
    CsdBase,
    ForgedNoticeError,
    NewFile,
    RawTicket,
    Registration,
    Ticket,
    TicketChange,
    TicketChangedError,
    TicketGoneError,
    WebhookRequest,
)
from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.csdnotes import has_note, mark_of
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.errors import PermanentError
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.testing.csdfaults import Faults, no_pause
from okienko.plugins.testing.csdsystem import SIGNATURE, MemorySystem, MemoryTicket, written
from okienko.schemas import CsdRef, TicketStatus

T = TypeVar("T")

_FIELDS = {
    "subject": Capability.SUBJECT,
    "priority": Capability.PRIORITY,
    "queue": Capability.QUEUE,
    "assignee": Capability.ASSIGNEE,
}


class MemoryCsd(CsdBase):
    """See CsdBackend. Several of them on one `system` are several processes before one CSD.

    `failures`: an error put there is raised by the next call instead of its work. `faults` decides how each request to the system
    goes; `system` counts tickets, doubles, requests and writes, and has the hands of the people who work there.
    """

    def __init__(
        self,
        name: str = "memory",
        prefix: str = "ZGL",
        *,
        capabilities: Iterable[Capability] = frozenset(Capability),
        now: Callable[[], datetime] = utc_now,
        faults: Faults | None = None,
        system: MemorySystem | None = None,
    ) -> None:
        self.name = name
        self.capabilities = frozenset(capabilities)
        self.system = system or MemorySystem(name, prefix, unique=Capability.UNIQUE in self.capabilities, now=now)
        self.faults = faults or Faults()
        self.failures: deque[Exception] = deque()
        self._once = OnceOnly(self._search, self._create_one)
        self._locks = TicketLocks()

    @property
    def tickets(self) -> dict[UUID, MemoryTicket]:
        """The oldest ticket of each case, by correlation id."""
        return self.system.tickets

    async def start(self) -> None:
        """See CsdBackend."""
        self._fail_if_ordered()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        self._fail_if_ordered()
        return await self._search(correlation_ids)

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        self._fail_if_ordered()
        return await self._once.create(registrations)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        self._fail_if_ordered()
        return await self._request("read", lambda: self.system.read(ref.number))

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        self._need(Capability.PREVIEW, "tell beforehand what it would write")
        return written(registration)

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            ticket = await self._existing(ref)
            mark = mark_of(key)
            if has_note(ticket.notes, key):
                return
            shown = public and Capability.PUBLIC_NOTES in self.capabilities
            await self._request(
                "comment", lambda: self.system.add_note(ref.number, text, public=shown, author="okienko", key=mark)
            )

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend."""
        self._need(Capability.ATTACHMENTS, "take attachments")
        async with self._locks.held(ref.number):
            ticket = await self._existing(ref)
            if any((known.filename, known.sha256) == (file.filename, file.sha256) for known in ticket.files):
                return
            size, digest = _measured(file)
            await self._request("attach", lambda: self.system.add_file(ref.number, file.filename, size, digest))

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend."""
        for field, capability in _FIELDS.items():
            if getattr(change, field) is not None:
                self._need(capability, f"change the {field}")
        if version is not None:
            self._need(Capability.VERSIONS, "compare versions")
        if change.status is TicketStatus.PENDING and Capability.PENDING not in self.capabilities:
            change = TicketChange(TicketStatus.OPEN, change.subject, change.priority, change.queue, change.assignee)
        async with self._locks.held(ref.number):
            await self._existing(ref)
            await self._write(ref, change, version)

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            if (await self._existing(ref)).status is TicketStatus.CLOSED:
                return
            await self._request("close", lambda: self.system.close(ref.number, solution))
            await self._read_back(ref, TicketStatus.CLOSED)

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. The reason becomes a note."""
        async with self._locks.held(ref.number):
            if (await self._existing(ref)).status is not TicketStatus.CLOSED:
                return
            await self._request("reopen", lambda: self.system.reopen(ref.number, reason))
            await self._read_back(ref, TicketStatus.OPEN)

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend."""
        self._need(Capability.LINKS, "link tickets")
        for one in (ref, other):
            await self._existing(one)
        await self._request("link", lambda: self.system.add_link(ref.number, other.number))

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend. The cursor is the number of a change, not a time."""
        self._need(Capability.CHANGES, "tell what has changed")
        self._fail_if_ordered()
        if cursor is None:
            return Changes((), str(await self._request("changes", lambda: self.system.sequence)))
        refs, end, more = await self._request("changes", lambda: self.system.changed_since(int(cursor), limit))
        return Changes(tuple(refs), str(end), more)

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        self._need(Capability.WEBHOOK, "post webhooks")
        signature = request.headers.get(SIGNATURE, "")
        if not hmac.compare_digest(signature.encode(), self.system.signature(request.body).encode()):
            raise ForgedNoticeError(f"a notice for the CSD {self.name} has a wrong signature: check the shared secret")
        try:
            numbers = json.loads(request.body)["tickets"]
            return tuple(CsdRef(backend=self.name, number=number) for number in numbers)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise PermanentError(f"a notice for the CSD {self.name} cannot be read") from None

    async def erase(self, ref: CsdRef) -> None:
        """See CsdBackend."""
        self._need(Capability.ERASE, "take a person out of a ticket")
        async with self._locks.held(ref.number):
            await self._existing(ref)
            await self._request("erase", lambda: self.system.erase(ref.number))

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return [Finding(self.name, Severity.OK, f"{len(self.system.by_number)} tickets in memory")]

    # --- one request each ---------------------------------------------------------------------------------------------

    async def _search(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        if not correlation_ids:
            return {}
        wanted = set(correlation_ids)
        found: dict[UUID, CsdRef] = {}
        for key, ref in await self._request("search", lambda: self.system.search(correlation_ids)):
            if key in wanted:
                found.setdefault(key, ref)
        return found

    async def _create_one(self, registration: Registration) -> CsdRef:
        return await self._request("create", lambda: self.system.create(registration))

    async def _existing(self, ref: CsdRef) -> Ticket:
        self._fail_if_ordered()
        ticket = await self._request("read", lambda: self.system.read(ref.number))
        if ticket is None:
            raise TicketGoneError(
                f"the CSD {self.name} has no ticket {ref.number}: somebody removed it, or it is another's"
            )
        return ticket

    async def _write(self, ref: CsdRef, change: TicketChange, version: str | None) -> None:
        if not await self._request("change", lambda: self.system.write(ref.number, change, version)):
            raise TicketChangedError(f"ticket {ref.number} has changed since it was read: read it again")
        if change.status is not None:
            await self._read_back(ref, change.status)

    async def _read_back(self, ref: CsdRef, status: TicketStatus) -> None:
        ticket = await self._request("read", lambda: self.system.read(ref.number))
        if ticket is not None and ticket.status is not status:
            raise PermanentError(
                f"the CSD {self.name} accepted the state {status.value} for {ref.number} and left {ticket.raw_status!r}: "
                "allow the transition there"
            )

    async def _request(self, name: str, work: Callable[[], T]) -> T:
        self.system.requests[name] += 1
        await no_pause()
        return await self.faults.carry(name, work)

    def _need(self, capability: Capability, what: str) -> None:
        if capability not in self.capabilities:
            raise self._cannot(what)

    def _fail_if_ordered(self) -> None:
        if self.failures:
            raise self.failures.popleft()


def _measured(file: NewFile) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with file.open() as content:
        while chunk := content.read(1 << 16):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()
