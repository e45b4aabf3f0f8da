"""MemoryCsd counts truly and fails as ordered."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from okienko.plugins.csd import Capability
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Registration
from okienko.plugins.testing import Fault, Faults, FixedClock, MemoryCsd, MemorySystem
from okienko.plugins.testing.conformance import CsdConformance
from okienko.plugins.testing.conformance.csdbase import registration
from okienko.schemas import CsdRef
from plugins.csd_hands import Hands

PLAIN = frozenset(Capability) - {Capability.UNIQUE}


class TestMemoryCsd(CsdConformance):
    """Everything declared."""

    capabilities = frozenset(Capability)

    @pytest.fixture
    def clock(self) -> FixedClock:
        return FixedClock()

    @pytest.fixture
    def backend(self, clock: FixedClock) -> MemoryCsd:
        return MemoryCsd(capabilities=self.capabilities, now=clock)

    @pytest.fixture
    def csd_workshop(self, backend: MemoryCsd, clock: FixedClock) -> Hands:
        return Hands(backend, clock)

    @pytest.fixture
    def other_queue(self) -> str:
        return "second line"

    @pytest.fixture
    def assignee(self) -> str:
        return "ewa"


class TestMemoryCsdWithoutUniqueness(TestMemoryCsd):
    """As most systems are."""

    capabilities = PLAIN


class TestBareMemoryCsd(TestMemoryCsd):
    """Nothing declared."""

    capabilities = frozenset()


async def test_ordered_failure() -> None:
    csd = MemoryCsd()
    csd.failures.append(TransientError("busy"))
    with pytest.raises(TransientError):
        await csd.create([])
    assert await csd.create([]) == {}


async def test_a_lost_answer_is_made_good() -> None:
    csd = MemoryCsd(capabilities=PLAIN)
    csd.faults.order(Fault.LOST_ANSWER, "create")
    one = registration()
    refs = await csd.create([one])
    assert refs == {one.correlation_id: csd.tickets[one.correlation_id].ref}
    assert (csd.system.created, csd.system.doubles) == (1, 0)


async def test_a_lost_answer_and_a_dead_search() -> None:
    """The second look fails as well: nobody knows, the error leaves, and the next attempt finds it."""
    csd = MemoryCsd(capabilities=PLAIN)
    one = registration()
    csd.faults.order(Fault.LOST_ANSWER, "create")

    real = csd._search
    looks = 0

    async def second_look_fails(ids: object) -> dict[object, CsdRef]:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise TransientError("search: 500")
        return await real(ids)

    csd._once._find = second_look_fails
    with pytest.raises(TransientError, match="create"):
        await csd.create([one])
    assert len(await csd.create([one])) == csd.system.created == 1


async def test_doubles_are_counted() -> None:
    """A system as real ones are makes a ticket for each request; two connectors without a lock between them show it."""
    system = MemorySystem()
    first, second = (MemoryCsd(capabilities=PLAIN, system=system) for _ in range(2))
    one = registration()
    await asyncio.gather(first.create([one]), second.create([one]))
    assert (system.created, system.doubles, len(system.by_number), len(system.tickets)) == (2, 1, 2, 1)
    assert await first.find([one.correlation_id]) == await second.create([one])
    unique = MemorySystem(unique=True)
    first, second = (MemoryCsd(system=unique) for _ in range(2))
    await asyncio.gather(first.create([one]), second.create([one]))
    assert (unique.created, unique.doubles) == (1, 0)


@pytest.mark.parametrize(("fault", "done"), [(f, f in (Fault.LOST_ANSWER, Fault.SLOW)) for f in Fault if f != "reset"])
async def test_ordered_faults(fault: Fault, done: bool) -> None:
    csd = MemoryCsd(faults=Faults(retry_after=7.0))
    ref = (await csd.create([one := registration()]))[one.correlation_id]
    csd.faults.order(fault, "comment")
    if fault is Fault.SLOW:
        await csd.comment(ref, "k", "Notatka")
    else:
        with pytest.raises(TransientError) as caught:
            await csd.comment(ref, "k", "Notatka")
        assert caught.value.retry_after == (7.0 if fault is Fault.BUSY else None)
    assert len(csd.tickets[one.correlation_id].notes) == done
    assert csd.faults.happened == {fault: 1}
    await csd.comment(ref, "k", "Notatka")
    assert len(csd.tickets[one.correlation_id].notes) == 1
    assert (csd.system.writes, csd.system.requests["comment"]) == (2, 1 if done else 2)


async def test_chance_can_be_repeated() -> None:
    async def story(seed: int) -> list[str]:
        rates = {Fault.LOST_ANSWER: 0.3, Fault.BUSY: 0.1, Fault.ERROR: 0.05, Fault.RESET: 0.05}
        csd = MemoryCsd(capabilities=PLAIN, faults=Faults(rates, Random(seed)))
        batch = [registration() for _ in range(200)]
        told = []
        while True:
            try:
                refs = await csd.create(batch)
                break
            except TransientError as error:
                told.append(str(error))
        assert (csd.system.created, csd.system.doubles, len(refs)) == (200, 0, 200)
        assert all(csd.faults.happened[fault] for fault in rates)
        return told

    assert await story(1) == await story(1) != await story(2)


def test_chance_needs_an_rng() -> None:
    with pytest.raises(ValueError, match="rng"):
        Faults({Fault.BUSY: 0.1})
    with pytest.raises(ValueError, match="more than 1"):
        Faults({Fault.BUSY: 0.6, Fault.ERROR: 0.6}, Random(1))


async def test_one_poison_does_not_hold_up_the_others() -> None:
    class Picky(MemoryCsd):
        async def _create_one(self, registration: Registration) -> CsdRef:
            if registration.subject in errors:
                raise errors[registration.subject]
            return await super()._create_one(registration)

    errors = {"p": PermanentError("refused"), "t": TransientError("busy"), "m": MisconfiguredError("no right")}
    for subjects, worst in (("ap", PermanentError), ("pta", TransientError), ("tmap", MisconfiguredError)):
        csd = Picky()
        batch = [registration(subject=letter) for letter in subjects]
        with pytest.raises(worst):
            await csd.create(batch)
        assert [t.subject for t in csd.tickets.values()] == ["a"]


async def test_a_merged_and_a_removed_double() -> None:
    csd = MemoryCsd()
    one = registration()
    ref = (await csd.create([one]))[one.correlation_id]
    copy = csd.system.copy(ref)
    assert (await csd.find([one.correlation_id])) == {one.correlation_id: ref}
    csd.system.note(copy, "od Ewy")
    csd.system.merge(copy, ref)
    assert [n.text for n in csd.tickets[one.correlation_id].notes] == ["od Ewy"]
    csd.system.remove(ref)
    assert (await csd.find([one.correlation_id])) == {one.correlation_id: copy}
    assert csd.system.writes == 1, "what people do is no request of ours"
