"""Checks of finding and creating: one ticket for each case."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from okienko.plugins.csd import Capability, CsdBackend, TicketGoneError
from okienko.plugins.testing.conformance.csdbase import CsdChecks, insist, needs, same
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.conformance.findings import assert_findings
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef

FAULTS = [fault for fault in Fault if fault is not Fault.SLOW]
ODD = [
    "",
    "x" * 5000,
    "🙂 ąęść",
    "'; DROP TABLE ticket; --",
    "tab\tnul\x00bell\x07",
    "half \ud83d",
    ":name %s {} <b>&amp;</b>",
    "two\nlines",
]
"""Texts as real mail has them."""


class CreateChecks(CsdChecks):
    """Find, create, start, check."""

    async def test_port(self, backend: CsdBackend) -> None:
        """It has every member of the port, a name, and capabilities that there are."""
        assert isinstance(backend, CsdBackend)
        assert backend.name
        assert backend.capabilities <= set(Capability)

    async def test_start_and_stop_twice(self, backend: CsdBackend) -> None:
        """Starting is idempotent and loses nothing; so is stopping."""
        one = self.new()
        refs = await backend.create([one])
        await backend.start()
        assert await backend.find([one.correlation_id]) == refs
        for _ in range(2):
            await backend.stop()
        await backend.start()
        assert await backend.find([one.correlation_id]) == refs

    async def test_nothing_asked(self, backend: CsdBackend) -> None:
        """Empty questions have empty answers."""
        assert await backend.find([]) == {}
        assert await backend.create([]) == {}

    async def test_find_unknown(self, backend: CsdBackend) -> None:
        """A case that the register does not hold is not in the answer."""
        await self.make(backend)
        assert await backend.find([uuid4()]) == {}

    async def test_create_then_find(self, backend: CsdBackend) -> None:
        """What was created is found again by its correlation id, with the same number."""
        one = self.new()
        refs = await backend.create([one])
        assert list(refs) == [one.correlation_id]
        assert refs[one.correlation_id].backend == backend.name
        assert refs[one.correlation_id].number
        assert await backend.find([one.correlation_id, uuid4()]) == refs

    async def test_create_twice(self, backend: CsdBackend) -> None:
        """A retry after a time-out, even with another text, gives the number of the first time."""
        one = self.new()
        first = await backend.create([one])
        assert await backend.create([self.new(one.correlation_id, "ponowiona")]) == first

    async def test_batch(self, backend: CsdBackend) -> None:
        """A batch gives as many numbers, for old and new cases alike."""
        batch = [self.new() for _ in range(self.batch)]
        old = await backend.create(batch[: self.batch // 3])
        refs = await backend.create(batch)
        assert set(refs) == {r.correlation_id for r in batch}
        assert len({ref.number for ref in refs.values()}) == self.batch
        assert {key: refs[key] for key in old} == old
        assert await backend.find([r.correlation_id for r in batch]) == refs

    async def test_same_case_twice_in_a_batch(self, backend: CsdBackend) -> None:
        """One correlation id twice in one batch is one ticket."""
        one = self.new()
        refs = await backend.create([one, self.new(), one])
        assert len(refs) == 2
        assert (await backend.find([one.correlation_id]))[one.correlation_id] == refs[one.correlation_id]

    async def test_created_at_once(self, backend: CsdBackend) -> None:
        """Two workers with the same cases at the same time get the same numbers."""
        batch = [self.new() for _ in range(self.batch // 5)]
        one, other = await asyncio.gather(backend.create(batch), backend.create(batch[::-1]))
        assert one == other
        assert await backend.find([r.correlation_id for r in batch]) == one

    async def test_odd_texts(self, backend: CsdBackend) -> None:
        """Texts as real mail has them are taken: empty, long, emoji, quotes, control characters, half a surrogate."""
        batch = [self.new(subject=text) for text in ODD]
        refs = await backend.create(batch)
        assert set(refs) == {r.correlation_id for r in batch}
        for registration in batch:
            ticket = await self.read(backend, refs[registration.correlation_id])
            assert ticket.correlation_id == registration.correlation_id

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_create_survives(self, backend: CsdBackend, csd_workshop: CsdWorkshop, fault: Fault) -> None:
        """However a request fails, trying again makes one ticket and no second."""
        batch = [self.new() for _ in range(3)]
        await csd_workshop.order(fault)
        refs = await insist(lambda: backend.create(batch))
        for registration in batch:
            key = registration.correlation_id
            assert [r.number for r in await csd_workshop.tickets_of(key)] == [refs[key].number]

    async def test_filter_ignored(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A search that answers with every ticket is not believed: each ticket's own correlation id is read."""
        others = [await self.make(backend) for _ in range(3)]
        one = self.new()
        refs = await backend.create([one])
        await csd_workshop.ignore_filter()
        assert await backend.find([uuid4()]) == {}
        assert await backend.find([one.correlation_id]) == refs
        new = self.new()
        fresh = (await backend.create([new]))[new.correlation_id]
        assert fresh.number not in {ref.number for ref in (*others, *refs.values())}

    async def test_doubles(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """Where people have made a second ticket of a case, the oldest is the one."""
        one = self.new()
        refs = await backend.create([one])
        copy = await csd_workshop.copy(refs[one.correlation_id])
        assert not same(copy, refs[one.correlation_id])
        assert await backend.find([one.correlation_id]) == refs
        assert await backend.create([one]) == refs

    async def test_unknown_ticket(self, backend: CsdBackend) -> None:
        """A number that the register never gave is a TicketGoneError: retrying would not make it known."""
        await self.make(backend)
        unknown = CsdRef(backend=backend.name, number="999999999", id="999999999")
        assert await backend.get(unknown) is None
        with pytest.raises(TicketGoneError):
            await backend.close(unknown, "Gotowe.")
        with pytest.raises(TicketGoneError):
            await backend.reopen(unknown, "Dalej nie działa.")
        with pytest.raises(TicketGoneError):
            await backend.comment(unknown, "k", "Notatka.")

    @needs(Capability.UNIQUE)
    async def test_unique(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """Of many who create one case at the same moment, and past each other's looks, all get the one ticket."""
        one = self.new()
        answers = await asyncio.gather(*(backend.create([one]) for _ in range(5)))
        assert all(answer == answers[0] for answer in answers)
        assert len(await csd_workshop.tickets_of(one.correlation_id)) == 1

    async def test_check(self, backend: CsdBackend) -> None:
        """`okienko check` gets something to show."""
        assert_findings(await backend.check())
