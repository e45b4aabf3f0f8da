"""What the checks of CSD backends share."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from okienko.plugins.csd import Capability, CsdBackend, NewFile, Registration, Ticket, TicketChange
from okienko.plugins.errors import TransientError
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.schemas import CaseKind, CsdRef, Priority, Procedure

T = TypeVar("T")
Check = TypeVar("Check", bound=Callable[..., object])

CHANGEABLE = (
    (Capability.SUBJECT, "subject", TicketChange(subject="Zmieniony temat"), TicketChange(subject="Inny temat")),
    (Capability.PRIORITY, "priority", TicketChange(priority=Priority.HIGH), TicketChange(priority=Priority.LOW)),
)
"""Fields that can be changed without knowing the installation, each with two values."""


def needs(*capabilities: Capability) -> Callable[[Check], Check]:
    """The check is for backends that declare these; for others it is skipped, and says so."""

    def mark(check: Check) -> Check:
        check.__dict__["csd_needs"] = capabilities
        return check

    return mark


def registration(correlation_id: UUID | None = None, subject: str = "Nie mogę się zalogować") -> Registration:
    """A registration of a recovery case."""
    return Registration(
        correlation_id=correlation_id or uuid4(),
        kind=CaseKind.RECOVERY,
        procedure=Procedure.SELF_SERVICE,
        subject=subject,
        description="Zażółć gęślą jaźń\n— dwa wiersze",
        requester="jan.kowalski@example.org",
        opened_at=datetime(2026, 1, 5, 8, 30, tzinfo=UTC),
        requester_name="Jan Kowalski",
        number="OK/2026/000001",
    )


def new_file(filename: str, content: bytes, media_type: str = "application/octet-stream") -> NewFile:
    """A file in memory."""
    return NewFile(filename, media_type, len(content), hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))


async def insist(call: Callable[[], Awaitable[T]], attempts: int = 5) -> T:
    """Try again after each TransientError, as the core does."""
    for _ in range(attempts - 1):
        try:
            return await call()
        except TransientError:
            continue
    return await call()


class CsdChecks:
    """Fixtures and helpers."""

    mark = ""
    """What the subject of each ticket begins with."""
    batch = 100
    """Tickets in the largest batch."""

    @pytest.fixture
    def backend(self) -> CsdBackend:
        """The object to check, not yet started; the checks start and stop it. Its register may hold other tickets."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def csd_workshop(self) -> CsdWorkshop:
        """The other side of the same register. Without one, the checks that need it are skipped."""
        return CsdWorkshop()

    @pytest.fixture
    def other_queue(self) -> str | None:
        """The name of a queue that new tickets are not put in."""
        return None

    @pytest.fixture
    def assignee(self) -> str | None:
        """The name of somebody to whom a ticket can be given."""
        return None

    @pytest_asyncio.fixture(autouse=True)
    async def _declared(self, request: pytest.FixtureRequest, backend: CsdBackend) -> AsyncIterator[None]:
        self.made: list[UUID] = []
        await backend.start()
        wanted: tuple[Capability, ...] = getattr(request.function, "csd_needs", ())
        told = {
            "backend": backend.name,
            "needs": [capability.value for capability in wanted],
            "declared": {capability.value: capability in backend.capabilities for capability in Capability},
        }
        request.node.user_properties.append(("okienko_csd", json.dumps(told)))
        if missing := [capability.value for capability in wanted if capability not in backend.capabilities]:
            await backend.stop()
            pytest.skip(f"{backend.name} does not declare {', '.join(missing)}")
        yield
        await self.clean(backend)
        await backend.stop()

    async def clean(self, backend: CsdBackend) -> None:
        """Called after each check; `self.made` are the correlation ids that it used."""

    def new(self, correlation_id: UUID | None = None, subject: str = "Nie mogę się zalogować") -> Registration:
        """A registration that is remembered for `clean`."""
        one = registration(correlation_id, f"{self.mark}{subject}")
        self.made.append(one.correlation_id)
        return one

    async def make(self, backend: CsdBackend) -> CsdRef:
        """A new ticket."""
        return next(iter((await backend.create([self.new()])).values()))

    async def read(self, backend: CsdBackend, ref: CsdRef) -> Ticket:
        """The ticket, which must be there."""
        ticket = await backend.get(ref)
        assert ticket is not None, f"get() does not find {ref.number}, which was just there"
        return ticket

    def changeable(self, backend: CsdBackend) -> tuple[str, TicketChange, TicketChange]:
        """A field that the backend can change, with two changes of it."""
        for capability, field, one, other in CHANGEABLE:
            if capability in backend.capabilities:
                return field, one, other
        pytest.skip(f"{backend.name} declares neither subject nor priority, so that there is nothing to change")


def same(one: CsdRef, other: CsdRef | None) -> bool:
    """Whether both are the same ticket; an answer may leave out the backend's own key."""
    return other is not None and (one.backend, one.number) == (other.backend, other.number)
