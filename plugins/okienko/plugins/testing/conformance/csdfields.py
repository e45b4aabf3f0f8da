"""Checks of changed fields, versions, links, erasure, and of what a backend cannot do."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from okienko.plugins.csd import (
    Capability,
    CsdBackend,
    TicketChange,
    TicketChangedError,
    TicketGoneError,
    UnsupportedError,
    WebhookRequest,
)
from okienko.plugins.testing.conformance.csdbase import CsdChecks, insist, needs, new_file
from okienko.plugins.testing.conformance.csdcreate import FAULTS
from okienko.plugins.testing.conformance.csdtickets import told
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, Priority, TicketStatus


class FieldChecks(CsdChecks):
    """Change, link, erase."""

    @needs(Capability.SUBJECT)
    async def test_change_subject(self, backend: CsdBackend) -> None:
        """The subject is changed, and only it."""
        ref = await self.make(backend)
        before = await self.read(backend, ref)
        await self.change_twice(backend, ref, TicketChange(subject="Zażółć gęślą jaźń 🙂"))
        after = await self.read(backend, ref)
        assert after.subject == "Zażółć gęślą jaźń 🙂"
        assert (after.status, after.queue, after.priority, after.assignee) == (
            before.status, before.queue, before.priority, before.assignee,
        )  # fmt: skip
        assert after.correlation_id == before.correlation_id

    @needs(Capability.PRIORITY)
    async def test_change_priority(self, backend: CsdBackend) -> None:
        """Every priority can be written and read."""
        ref = await self.make(backend)
        for priority in (Priority.HIGH, Priority.LOW, Priority.CRITICAL, Priority.NORMAL):
            await self.change_twice(backend, ref, TicketChange(priority=priority))
            assert (await self.read(backend, ref)).priority is priority

    @needs(Capability.QUEUE)
    async def test_change_queue(self, backend: CsdBackend, other_queue: str | None) -> None:
        """The ticket is moved, and keeps its number."""
        if other_queue is None:
            pytest.skip("the fixture other_queue names no second queue")
        ref = await self.make(backend)
        assert (await self.read(backend, ref)).queue != other_queue
        await self.change_twice(backend, ref, TicketChange(queue=other_queue))
        ticket = await self.read(backend, ref)
        assert (ticket.queue, ticket.ref) == (other_queue, ref)

    @needs(Capability.ASSIGNEE)
    async def test_change_assignee(self, backend: CsdBackend, assignee: str | None) -> None:
        """The ticket is given to somebody."""
        if assignee is None:
            pytest.skip("the fixture assignee names nobody")
        ref = await self.make(backend)
        await self.change_twice(backend, ref, TicketChange(assignee=assignee))
        assert (await self.read(backend, ref)).assignee == assignee

    @needs(Capability.PENDING)
    async def test_pending(self, backend: CsdBackend) -> None:
        """It waits, and goes on; a waiting ticket can be closed."""
        ref = await self.make(backend)
        for status in (TicketStatus.PENDING, TicketStatus.OPEN, TicketStatus.PENDING):
            await self.change_twice(backend, ref, TicketChange(status=status))
            assert (await self.read(backend, ref)).status is status
        await backend.close(ref, "Gotowe.")
        assert (await self.read(backend, ref)).status is TicketStatus.CLOSED

    async def test_change_several(self, backend: CsdBackend) -> None:
        """Fields that can be changed are changed together."""
        self.changeable(backend)
        can = backend.capabilities
        change = TicketChange(
            subject="Razem" if Capability.SUBJECT in can else None,
            priority=Priority.HIGH if Capability.PRIORITY in can else None,
            status=TicketStatus.PENDING if Capability.PENDING in can else None,
        )
        ref = await self.make(backend)
        await backend.change(ref, change)
        ticket = await self.read(backend, ref)
        for field in ("subject", "priority", "status"):
            wanted = getattr(change, field)
            assert wanted is None or getattr(ticket, field) == wanted

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_change_survives(self, backend: CsdBackend, csd_workshop: CsdWorkshop, fault: Fault) -> None:
        """What returns was done, and what failed can be tried again."""
        field, change, _ = self.changeable(backend)
        ref = await self.make(backend)
        await csd_workshop.order(fault)
        await insist(lambda: backend.change(ref, change))
        assert getattr(await self.read(backend, ref), field) == getattr(change, field)

    async def test_foreign_edit(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """What somebody changed is read."""
        field, change, _ = self.changeable(backend)
        ref = await self.make(backend)
        await csd_workshop.edit(ref, change)
        assert getattr(await self.read(backend, ref), field) == getattr(change, field)

    @needs(Capability.VERSIONS)
    async def test_versions(self, backend: CsdBackend) -> None:
        """A change on what was read is written; one on what was read before that is refused, with nothing written."""
        field, change, other = self.changeable(backend)
        ref = await self.make(backend)
        first = (await self.read(backend, ref)).version
        assert first
        assert (await self.read(backend, ref)).version == first, "reading changes the version"
        await backend.change(ref, change, version=first)
        with pytest.raises(TicketChangedError):
            await backend.change(ref, other, version=first)
        ticket = await self.read(backend, ref)
        assert getattr(ticket, field) == getattr(change, field)
        await backend.change(ref, other, version=ticket.version)
        assert getattr(await self.read(backend, ref), field) == getattr(other, field)

    @needs(Capability.VERSIONS)
    async def test_version_of_a_foreign_edit(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """What somebody wrote meanwhile is not written over."""
        field, change, other = self.changeable(backend)
        ref = await self.make(backend)
        read = (await self.read(backend, ref)).version
        await csd_workshop.edit(ref, other)
        with pytest.raises(TicketChangedError):
            await backend.change(ref, change, version=read)
        assert getattr(await self.read(backend, ref), field) == getattr(other, field)

    @needs(Capability.LINKS)
    async def test_link(self, backend: CsdBackend) -> None:
        """Relating twice, and from the other end, are no errors; relating to nothing is one."""
        ref, other = await self.make(backend), await self.make(backend)
        for _ in range(2):
            await backend.link(ref, other)
        await backend.link(other, ref)
        with pytest.raises(TicketGoneError):
            await backend.link(ref, self.unknown(backend))

    @needs(Capability.ERASE)
    async def test_erase(self, backend: CsdBackend) -> None:
        """The person is out of the ticket, and the ticket is still there."""
        one = self.new(subject="Sprawa Jana Kowalskiego")
        ref = (await backend.create([one]))[one.correlation_id]
        await backend.comment(ref, "k1", "Kowalski dzwonił.")
        if Capability.ATTACHMENTS in backend.capabilities:
            await backend.attach(ref, new_file("Kowalski.txt", b"Kowalski"))
        await backend.close(ref, "Kowalski ma dostęp.")
        before = await self.read(backend, ref)
        for _ in range(2):
            await backend.erase(ref)
        after = await self.read(backend, ref)
        assert "Kowalsk" not in f"{after.subject} {told(after)} {[f.filename for f in after.files]}"
        assert not after.files
        assert (after.ref, after.correlation_id, after.status, after.created_at) == (
            before.ref, before.correlation_id, before.status, before.created_at,
        )  # fmt: skip
        assert await backend.find([one.correlation_id]) == {one.correlation_id: ref}

    async def test_unsupported(self, backend: CsdBackend) -> None:
        """What is not declared raises UnsupportedError, and does not look like done."""
        ref = await self.make(backend)
        refused: dict[Capability, Callable[[], Awaitable[object]]] = {
            Capability.ATTACHMENTS: lambda: backend.attach(ref, new_file("a", b"a")),
            Capability.LINKS: lambda: backend.link(ref, ref),
            Capability.SUBJECT: lambda: backend.change(ref, TicketChange(subject="x")),
            Capability.PRIORITY: lambda: backend.change(ref, TicketChange(priority=Priority.HIGH)),
            Capability.QUEUE: lambda: backend.change(ref, TicketChange(queue="x")),
            Capability.ASSIGNEE: lambda: backend.change(ref, TicketChange(assignee="x")),
            Capability.CHANGES: lambda: backend.changes(None),
            Capability.ERASE: lambda: backend.erase(ref),
        }
        for capability, call in refused.items():
            if capability not in backend.capabilities:
                with pytest.raises(UnsupportedError):
                    await call()
        if Capability.WEBHOOK not in backend.capabilities:
            with pytest.raises(UnsupportedError):
                backend.notified(WebhookRequest({}, b""))

    async def test_change_nothing_known(self, backend: CsdBackend) -> None:
        """There is no such ticket."""
        _, change, _ = self.changeable(backend)
        with pytest.raises(TicketGoneError):
            await backend.change(self.unknown(backend), change)

    async def change_twice(self, backend: CsdBackend, ref: CsdRef, change: TicketChange) -> None:
        """Each change may be repeated."""
        for _ in range(2):
            await backend.change(ref, change)

    def unknown(self, backend: CsdBackend) -> CsdRef:
        """A number that the register never gave."""
        return CsdRef(backend=backend.name, number="999999999", id="999999999")
