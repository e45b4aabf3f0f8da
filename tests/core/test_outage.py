"""The CSD is down: intake goes on, people get a lasting number at once, and afterwards everything is as if nothing had been."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from okienko.core.csd.breaker import Breaker
from okienko.core.database import enqueue, transaction
from okienko.core.parking import list_parked, replay
from okienko.plugins.csd import Capability
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.testing import MemoryCsd
from okienko.plugins.testing.csdfaults import Fault, Faults
from okienko.schemas import CsdRef

LONGEST = 60.0


class Picky(MemoryCsd):
    """Down or up by order; it refuses a word for good."""

    async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
        if any("trucizna" in r.subject for r in registrations):
            raise PermanentError("the CSD refuses the subject")
        return await super().create(registrations)


def outage(csd: MemoryCsd) -> None:
    csd.faults.rates = {Fault.TIMEOUT: 1.0}


@pytest.fixture
def down(desk: Any) -> Any:
    """The desk with a CSD that does not answer, and a breaker that goes by the desk's clock."""
    desk.csd = Picky(faults=Faults(rng=random.Random(1)))
    desk.build(breaker=Breaker("the CSD memory", longest=LONGEST, clock=lambda: desk.clock().timestamp()))
    outage(desk.csd)
    return desk


async def queued(desk: Any, kind: str) -> list[UUID]:
    rows = await desk.rows("DELETE FROM pgqueuer WHERE entrypoint = $1 RETURNING payload", kind)
    return list(dict.fromkeys(UUID(row["payload"].decode()) for row in rows))


async def put_back(desk: Any, kind: str, ids: list[UUID]) -> None:
    async with transaction(desk.engine) as connection:
        await enqueue(connection, kind, [str(i) for i in ids])


async def wake(desk: Any, ids: list[UUID], size: int = 100) -> None:
    """Register jobs as they wake; what is to be tried again is queued again."""
    again: list[UUID] = []
    for start in range(0, len(ids), size):
        batch = ids[start : start + size]
        results = await desk.delivery.register(batch)
        assert all(result is None or isinstance(result, TransientError) for result in results)
        again += [i for i, result in zip(batch, results, strict=True) if result is not None]
    await put_back(desk, "register", again)


def told(desk: Any) -> list[tuple[str, str]]:
    return [(message.kind.value, message.subject) for message in desk.channel.sent]


@pytest.mark.timeout(300)
async def test_three_days_of_outage(down: Any, mail: Any) -> None:
    """1,000 cases in 72 h; one the CSD will refuse. Whichever job wakes first afterwards, the oldest case goes first."""
    rng = random.Random(72)
    rounds, each = 40, 25
    for number in range(rounds):
        subjects = ["trucizna" if (number, n) == (7, 3) else "NOWE" for n in range(each)]
        await down.take(*(mail(s, sender=f"p{number}.{n}@poczta.example") for n, s in enumerate(subjects)))
        await down.do("process", await queued(down, "process"))
        jobs = await queued(down, "register")
        rng.shuffle(jobs)
        await wake(down, jobs)
        await down.do("notify", await queued(down, "notify"))
        down.clock.advance(timedelta(hours=72 / rounds))
    cases = await down.rows("SELECT id, number, opened_at, subject, requester_address FROM cases ORDER BY seq")
    assert len(cases) == rounds * each
    assert {m.kind.value for m in down.channel.sent} == {"received"}
    assert sorted((m.to.address, m.subject) for m in down.channel.sent) == sorted(
        (case["requester_address"], f"received - {case['number']}") for case in cases
    )
    # Five calls until the breaker opens, then one trial each time that somebody comes when its wait is over.
    assert sum(down.csd.system.requests.values()) <= 5 + rounds
    assert down.csd.system.by_number == {}

    down.csd.faults.clear()
    down.channel.sent.clear()
    jobs = await queued(down, "register")
    assert len(jobs) == len(cases)
    # All others sleep; one that came late wakes, and hands on the baton.
    await put_back(down, "register", [cases[-rng.randrange(50) - 1]["id"]])
    passes = 0
    while jobs := await queued(down, "register"):
        await wake(down, jobs)
        passes += 1
        assert passes <= 40, "the jobs never end"
    while notices := await queued(down, "notify"):
        await down.do("notify", notices)
    good = [case for case in cases if case["subject"] != "trucizna"]
    tickets = list(down.csd.system.by_number.values())
    assert [t.registration.correlation_id for t in tickets] == [case["id"] for case in good]
    assert [t.registration.opened_at for t in tickets] == [case["opened_at"] for case in good]
    assert [t.registration.number for t in tickets] == [case["number"] for case in good]
    assert down.csd.system.doubles == 0
    (parked,) = await list_parked(down.engine)
    assert (parked.job, parked.problem) == ("register", "the CSD refuses the subject")
    assert sorted(told(down)) == sorted(
        ("registered", f"registered {t.ref.number} {t.registration.number}") for t in tickets
    )


async def test_a_case_that_was_refused_goes_on_after_replay(down: Any, mail: Any) -> None:
    down.csd.faults.clear()
    await down.take(mail("trucizna"), mail(sender="ewa@poczta.example"))
    await down.settle()
    (parked,) = await list_parked(down.engine)
    await down.pass_time(timedelta(hours=1))
    await down.delivery.acknowledge()
    await down.rows("UPDATE cases SET subject = 'NOWE' WHERE subject = 'trucizna' RETURNING 1")
    await replay(down.engine, [parked.id], down.clock(), "ewa")
    await down.settle()
    assert sorted(told(down)) == [
        ("received", "received - OK000000001"),
        ("registered", "registered ZGL000000001"),
        ("registered", "registered ZGL000000002 OK000000001"),
    ]


async def test_a_short_stop_is_not_told_and_a_long_one_once(desk: Any, mail: Any) -> None:
    """Without a breaker's word a case waits for five minutes before the person is bothered."""
    desk.csd.faults = Faults({Fault.ERROR: 1.0}, random.Random(1))
    await desk.take(mail())
    await desk.step()
    for minutes, count in ((1, 0), (3, 0), (1, 1), (10, 1)):
        await desk.pass_time(timedelta(minutes=minutes))
        await desk.step()
        await desk.delivery.acknowledge()
        await desk.do("notify", await queued(desk, "notify"))
        assert len(desk.channel.sent) == count, minutes
    desk.csd.faults.clear()
    await desk.settle()
    assert told(desk) == [
        ("received", "received - OK000000001"),
        ("registered", "registered ZGL000000001 OK000000001"),
    ]


async def test_the_minutely_look_finds_who_waits_in_a_queue(desk: Any, mail: Any) -> None:
    """No job failed: a low quota alone keeps them waiting. More than one portion of them."""
    await desk.take(*(mail(sender=f"p{n}@poczta.example") for n in range(3)))
    await desk.step()
    jobs = await queued(desk, "register")
    desk.clock.advance(timedelta(minutes=6))
    assert await desk.delivery.acknowledge() == 3
    assert await desk.delivery.acknowledge() == 0
    await put_back(desk, "register", jobs)
    await desk.settle()
    assert [kind for kind, _ in told(desk)] == ["received"] * 3 + ["registered"] * 3


async def test_whatever_the_case_is_about_it_is_told_the_same(down: Any, mail: Any) -> None:
    subjects = ["NOWE", "met", "unmet", "unknown"]
    await down.take(*(mail(s, sender=f"p{n}@poczta.example") for n, s in enumerate(subjects)))
    await down.step()
    for _ in range(6):
        await wake(down, await queued(down, "register"))
    await down.do("notify", await queued(down, "notify"))
    assert [(m.kind.value, m.text) for m in down.channel.sent] == [("received", "")] * 4


async def test_who_is_silenced_is_not_told(down: Any, mail: Any) -> None:
    await down.take(mail(suppress_auto_response=True))
    await down.step()
    for _ in range(6):
        await wake(down, await queued(down, "register"))
    down.csd.faults.clear()
    await down.pass_time(timedelta(minutes=10))
    await down.settle()
    assert down.channel.sent == []
    withheld = await down.rows(
        "SELECT data->>'kind' AS kind FROM event WHERE type = 'notification_withheld' ORDER BY id"
    )
    assert [row["kind"] for row in withheld] == ["received", "registered"]


@pytest.mark.parametrize("registered", [False, True])
async def test_our_number_in_a_subject_leads_to_the_case(down: Any, mail: Any, registered: bool) -> None:
    await down.take(mail())
    await down.step()
    for _ in range(6):
        await wake(down, await queued(down, "register"))
    if registered:
        down.csd.faults.clear()
        await down.pass_time(timedelta(minutes=10))
        await down.settle()
    await down.take(mail("Pytanie OK000000001"), mail("OK000000001", sender="obcy@poczta.example"))
    await down.step()
    rows = await down.rows("SELECT outcome, reason FROM envelope ORDER BY seq")
    assert [(row["outcome"], row["reason"]) for row in rows] == [
        ("cased", "new case"),
        ("merged", "number"),
        ("cased", "new case"),
    ]


async def test_a_case_in_trouble_of_its_own_does_not_stand_before_the_others(desk: Any, mail: Any) -> None:
    class Slow(MemoryCsd):
        tries = 0

        async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
            if any("powoli" in r.subject for r in registrations):
                self.tries += 1
                raise TransientError("502")
            return await super().create(registrations)

    csd = Slow()
    desk.build(csd=csd)
    await desk.take(mail("powoli"))
    await desk.step()
    (slow,) = await queued(desk, "register")
    desk.clock.advance(timedelta(minutes=2))
    for n in range(8):
        await desk.take(mail(sender=f"p{n}@poczta.example"), mail(sender=f"q{n}@poczta.example"))
        await desk.step()
        await wake(desk, [job for job in await queued(desk, "register") if job != slow])
    assert len(csd.tickets) == 16
    tries = csd.tries
    await desk.delivery.register([slow])
    assert csd.tries == tries + 1, "its own job still tries it"
    assert tries < 12


PLAIN = frozenset(Capability) - {Capability.UNIQUE}


class Dawdling(MemoryCsd):
    """It answers too late, and makes the ticket later still: after everybody has looked."""

    def __init__(self) -> None:
        super().__init__(capabilities=PLAIN)
        self.late: list[Any] = []
        self.asked = 0

    async def _create_one(self, registration: Any) -> CsdRef:
        self.asked += 1
        if self.asked == 1:
            self.late.append(registration)
            raise TransientError("no answer within 15 s")
        return await super()._create_one(registration)

    def wake_up(self) -> None:
        for registration in self.late:
            self.system.create(registration)
        self.late.clear()


@pytest.mark.parametrize("comes", [True, False])
async def test_what_the_csd_is_still_at_is_not_asked_for_again(desk: Any, mail: Any, comes: bool) -> None:
    csd = Dawdling()
    desk.build(csd=csd)
    await desk.take(mail())
    await desk.step()
    for seconds in (0, 10, 10):
        await desk.pass_time(timedelta(seconds=seconds))
        (error,) = await desk.step()
        # Another process, which knows nothing of the first one's trouble.
        desk.build(csd=csd)
    assert "may still be at it" in str(error)
    assert error.retry_after == 10
    if comes:
        csd.wake_up()
    await desk.pass_time(timedelta(seconds=11))
    await desk.settle()
    assert (csd.asked, len(csd.system.by_number)) == ((1, 1) if comes else (2, 1))


async def test_a_killed_workers_request_is_not_asked_for_again(desk: Any, mail: Any) -> None:
    csd = Dawdling()
    asked, hang = asyncio.Event(), asyncio.Event()

    async def forever(registration: Any) -> CsdRef:
        csd.late.append(registration)
        asked.set()
        await hang.wait()
        raise AssertionError

    desk.build(csd=csd)
    csd._once = OnceOnly(csd._search, forever)
    await desk.take(mail())
    await desk.step()
    ((_, case_id),) = await desk.jobs()
    killed = asyncio.create_task(desk.delivery.register([case_id]))
    await asked.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    desk.build(csd=csd)
    (error,) = await desk.delivery.register([case_id])
    assert "may still be at it" in str(error)
    csd.wake_up()
    assert await desk.delivery.register([case_id]) == [None]
    assert len(csd.system.by_number) == 1


async def test_some_in_doubt_do_not_hold_up_the_others(desk: Any, mail: Any) -> None:
    """A CSD without doubles' refusal that fails half of all: everything is registered once, in the end."""
    rng = random.Random(11)
    csd = MemoryCsd(
        capabilities=PLAIN, faults=Faults({Fault.LOST_ANSWER: 0.3, Fault.ERROR: 0.1, Fault.RESET: 0.1}, rng)
    )
    desk.build(csd=csd)
    await desk.take(*(mail(sender=f"p{n}@poczta.example") for n in range(120)))
    await desk.step()
    left = [len(jobs := await queued(desk, "register"))]
    while jobs:
        rng.shuffle(jobs)
        await wake(desk, jobs, 40)
        desk.clock.advance(timedelta(seconds=11))
        jobs = await queued(desk, "register")
        left.append(len(jobs))
        assert len(left) < 60, left
    assert (len(csd.system.by_number), csd.system.doubles) == (120, 0)
    assert await desk.value("SELECT count(*) FROM cases WHERE state = 'registered'") == 120


async def test_one_that_spoils_its_batch_is_told_from_the_others(desk: Any, mail: Any) -> None:
    """A connector whose batch fails as a whole, before a CSD that refuses no doubles: the group gets smaller until one is alone."""

    class Slow(MemoryCsd):
        async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
            if any("powoli" in r.subject for r in registrations):
                raise TransientError("502")
            return await super().create(registrations)

    csd = Slow(capabilities=PLAIN)
    desk.build(csd=csd)
    await desk.take(mail("powoli"), *(mail(sender=f"p{n}@poczta.example") for n in range(30)))
    await desk.step()
    for _ in range(8):
        await wake(desk, await queued(desk, "register"))
        desk.clock.advance(timedelta(seconds=40))
    assert (len(csd.tickets), csd.system.doubles) == (30, 0)
