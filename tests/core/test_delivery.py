"""Registering, telling, closing, opening again: once, whatever is lost on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from okienko.core import desk as counter
from okienko.core.actions.approvals import Actor
from okienko.core.exclusive import exclusively
from okienko.core.jobs import Job
from okienko.plugins.csd import Capability
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.testing.doubles import MemoryChannel, MemoryCsd
from okienko.schemas import CsdRef


class ForgetfulCsd(MemoryCsd):
    """A register that makes a new ticket at each create, like many a real one, and may lose its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.lose_answer = False
        self.slow: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
        self.entered.set()
        if self.slow:
            await self.slow.wait()
        for registration in registrations:
            self.tickets.pop(registration.correlation_id, None)
            self.made += 1
        refs = await super().create(registrations)
        if self.lose_answer:
            self.lose_answer = False
            raise TransientError("time-out after the commit")
        return refs


async def states(desk: Any) -> list[str]:
    return [row["state"] for row in await desk.rows("SELECT state FROM cases ORDER BY seq")]


async def test_a_lost_answer_makes_no_second_ticket(desk: Any, mail: Any) -> None:
    csd = ForgetfulCsd()
    desk.build(csd=csd)
    await desk.take(mail(), mail())
    await desk.step()
    csd.lose_answer = True
    await desk.settle()
    assert csd.made == 2
    assert await states(desk) == ["registered"] * 2
    assert len(desk.channel.sent) == 2


async def test_one_job_at_two_workers_makes_one_ticket(desk: Any, mail: Any) -> None:
    """The first worker is slow in the CSD, its job is given to a second: the second lets it be."""
    csd = ForgetfulCsd()
    csd.slow = asyncio.Event()
    desk.build(csd=csd)
    await desk.take(mail())
    await desk.step()
    ((_, case_id),) = await desk.jobs()
    slow = asyncio.create_task(desk.delivery.register([case_id]))
    await csd.entered.wait()
    assert [str(error) for error in await desk.delivery.register([case_id])] == ["another worker has it in hand"]
    csd.slow.set()
    assert await slow == [None]
    assert await desk.delivery.register([case_id]) == [None]
    assert csd.made == 1


async def test_one_poison_among_many(desk: Any, mail: Any) -> None:
    class Picky(MemoryCsd):
        async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
            if any("trucizna" in r.subject for r in registrations):
                raise PermanentError("the CSD refuses the subject")
            return await super().create(registrations)

    desk.build(csd=Picky())
    await desk.take(mail(), mail("trucizna"), mail())
    await desk.settle()
    assert await states(desk) == ["registered", "decided", "registered"]
    assert [row["job"] for row in await desk.rows("SELECT job FROM parked")] == ["register"]


async def test_one_that_always_times_out_holds_up_nobody(desk: Any, mail: Any) -> None:
    class Slow(MemoryCsd):
        async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
            if any("powoli" in r.subject for r in registrations):
                raise TransientError("502")
            return await super().create(registrations)

    desk.build(csd=Slow())
    await desk.take(mail("powoli"), mail(), mail())
    await desk.step()
    await desk.step()
    assert await states(desk) == ["decided", "registered", "registered"]


async def test_a_csd_that_is_down_is_not_asked_once_for_each(desk: Any, mail: Any) -> None:
    calls = []

    class Down(MemoryCsd):
        async def find(self, correlation_ids: Any) -> dict[UUID, CsdRef]:
            calls.append(("find", len(correlation_ids)))
            raise TransientError("connection refused")

        async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
            calls.append(("create", len(registrations)))
            raise TransientError("connection refused")

    desk.build(csd=Down())
    await desk.take(*(mail() for _ in range(20)))
    await desk.step()
    assert len(await desk.step()) == 20
    assert calls == [("create", 20), ("find", 20)]


async def test_a_new_case_is_looked_up_by_create_alone(desk: Any, mail: Any) -> None:
    """And one that may have been asked for before by the core too."""
    looked = []

    class Counting(MemoryCsd):
        async def find(self, correlation_ids: Any) -> dict[UUID, CsdRef]:
            looked.append(len(correlation_ids))
            return await super().find(correlation_ids)

    desk.csd = Counting(capabilities={Capability.PRIORITY})
    desk.build()
    await desk.take(mail(), mail())
    await desk.settle()
    assert (await states(desk), looked) == (["registered"] * 2, [])
    desk.csd.failures.append(TransientError("502"))
    await desk.take(mail())
    await desk.step()
    assert len(await desk.step()) == 1
    assert looked == []
    desk.clock.advance(timedelta(seconds=31))
    await desk.settle()
    assert await states(desk) == ["registered"] * 3
    assert looked == [1]
    assert len(desk.csd.system.by_number) == 3


async def test_wrong_settings_stop_the_csd(desk: Any, mail: Any) -> None:
    await desk.take(*(mail() for _ in range(3)))
    await desk.step()
    desk.csd.failures.append(MisconfiguredError("the token has expired: set OKIENKO_CSD_X_TOKEN"))
    assert len(await desk.step()) == 3
    assert desk.stopped == ["memory"]
    assert await desk.rows("SELECT * FROM parked") == []
    desk.monotonic += 61
    await desk.settle()
    assert await states(desk) == ["registered"] * 3
    assert desk.resumed == ["memory"]


async def test_a_csd_that_forgets_a_number(desk: Any, mail: Any) -> None:
    class Short(MemoryCsd):
        async def create(self, registrations: Any) -> dict[UUID, CsdRef]:
            return {}

    desk.build(csd=Short())
    await desk.take(mail())
    await desk.settle()
    assert await states(desk) == ["decided"]
    assert "gave no number" in await desk.value("SELECT problem FROM parked")


@pytest.mark.parametrize(
    ("subject", "state", "kind", "actions"),
    [
        ("NOWE", "registered", "registered", 0),
        ("met", "registered", "registered", 1),
        ("unmet", "awaiting_requester", "unmet", 0),
        ("unknown", "human_review", "registered", 1),
        ("self_service", "closed", "self_service", 0),
    ],
)
async def test_what_follows(desk: Any, mail: Any, subject: str, state: str, kind: str, actions: int) -> None:
    await desk.take(mail(subject))
    await desk.settle()
    assert await states(desk) == [state]
    assert [message.kind.value for message in desk.channel.sent] == [kind]
    assert await desk.value("SELECT count(*) FROM reset_action") == actions


async def test_who_is_silenced_gets_the_closure_only(desk: Any, mail: Any) -> None:
    await desk.take(mail(suppress_auto_response=True), mail(sender=None))
    await desk.settle()
    assert desk.channel.sent == []
    for row in await desk.rows("SELECT csd_number FROM cases"):
        await counter.request_close(desk.engine, row["csd_number"], "Gotowe.", "ewa", desk.clock())
    await desk.settle()
    assert [(m.kind.value, m.text) for m in desk.channel.sent] == [("closed", "Gotowe.")]
    assert await states(desk) == ["closed", "closed"]


async def test_closed_and_reopened_by_an_answer(desk: Any, mail: Any) -> None:
    """Rule D, by mail: the answer to a closed case opens it again, here and in the CSD."""
    first = mail()
    await desk.take(first)
    await desk.settle()
    number = await desk.value("SELECT csd_number FROM cases")
    for _ in range(2):
        await counter.request_close(desk.engine, number, "Gotowe.", "ewa", desk.clock())
        await desk.settle()
        assert await states(desk) == ["closed"]
        await desk.take(mail("Re: NOWE", in_reply_to=(first.message_id,)))
        await desk.settle()
        assert await states(desk) == ["reopened"]
    (ticket,) = desk.csd.tickets.values()
    assert not ticket.closed
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'reopened'") == 2


async def test_who_answers_a_self_service_hint_gets_a_ticket(desk: Any, mail: Any) -> None:
    """The hint was the whole work; the person wrote again, so somebody has to look, and looks in the CSD."""
    first = mail("self_service")
    await desk.take(first)
    await desk.settle()
    assert desk.csd.tickets == {}
    await desk.take(mail("Re: to nie działa", in_reply_to=(first.message_id,)))
    await desk.settle()
    assert await states(desk) == ["reopened"]
    (ticket,) = desk.csd.tickets.values()
    assert await desk.value("SELECT csd_number FROM cases") == ticket.ref.number
    assert len(ticket.notes) == 1


async def test_who_wrote_again_before_the_self_service_hint(desk: Any, mail: Any) -> None:
    first = mail("self_service")
    await desk.take(first, mail("Re: to nie działa", in_reply_to=(first.message_id,)))
    await desk.settle()
    assert await states(desk) == ["reopened"]
    assert len(desk.csd.tickets) == 1


async def test_an_answer_before_the_registration_is_noted(desk: Any, mail: Any) -> None:
    first = mail()
    await desk.take(first, mail("Re: NOWE", in_reply_to=(first.message_id,)))
    await desk.step()
    assert [kind for kind, _ in await desk.jobs()] == ["register"], "there is no ticket yet to note it in"
    await desk.settle()
    (ticket,) = desk.csd.tickets.values()
    assert len(ticket.notes) == 1


async def test_every_job_may_run_again(desk: Any, mail: Any) -> None:
    """kill -9 between the commit and the queue's note of it: each job is run twice, and nothing happens twice."""
    first = mail("unknown")
    await desk.take(first, mail("Re: NOWE", in_reply_to=(first.message_id,)))
    for _ in range(3):
        jobs = await desk.jobs()
        await desk.step()
        for kind, one in jobs:
            await desk.queue(kind, one)
    await desk.settle()
    action = await desk.value("SELECT id FROM reset_action")
    (_, _, code) = await desk.recovery.approvals.shown(action)
    await counter.do_by_hand(
        desk.recovery.approvals, action, Actor("ewa"), code=code, checked=["W1"], solution="Gotowe."
    )
    for _ in range(3):
        jobs = await desk.jobs()
        await desk.step()
        for kind, one in jobs:
            await desk.queue(kind, one)
    await desk.settle()
    assert [message.kind.value for message in desk.channel.sent] == ["registered", "closed"]
    assert await desk.value("SELECT count(*) FROM reset_action") == 1
    types = [row["type"] for row in await desk.rows("SELECT type FROM event")]
    assert {kind: types.count(kind) for kind in ("opened", "registered", "closed", "message_added")} == dict.fromkeys(
        ("opened", "registered", "closed", "message_added"), 1
    )


async def test_a_message_keeps_its_id_on_every_attempt(desk: Any, mail: Any) -> None:
    class Losing(MemoryChannel):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if len(self.sent) == 1:
                raise TransientError("the relay took it, and the line broke before its 250")

    channel = Losing()
    desk.build(channel=channel)
    await desk.take(mail())
    await desk.settle()
    one, two = channel.sent
    assert one.message_id == two.message_id
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'notification_sent'") == 1


async def test_a_refused_message_is_parked_and_can_be_replayed(desk: Any, mail: Any) -> None:
    from okienko.core.parking import list_parked, replay

    await desk.take(mail(), mail(sender="ewa@poczta.example"))
    await desk.step()
    await desk.step()
    desk.channel.failures.append(PermanentError("550 no such user"))
    await desk.settle()
    assert sorted(r["state"] for r in await desk.rows("SELECT state FROM notification")) == ["failed", "sent"]
    (parked,) = await list_parked(desk.engine)
    assert (parked.job, parked.reason, parked.problem) == ("notify", "refused", "550 no such user")
    await replay(desk.engine, [parked.id], desk.clock(), "ewa")
    await desk.settle()
    assert [r["state"] for r in await desk.rows("SELECT state FROM notification")] == ["sent", "sent"]
    assert len(desk.channel.sent) == 2


async def test_a_connector_that_is_gone_spoils_no_batch(desk: Any, mail: Any) -> None:
    await desk.take(mail(), mail())
    await desk.step()
    await desk.step()
    await desk.rows(
        "UPDATE notification SET connector = 'gone' WHERE id = (SELECT min(id::text)::uuid FROM notification) RETURNING 1"
    )
    await desk.settle()
    assert sorted(r["state"] for r in await desk.rows("SELECT state FROM notification")) == ["failed", "sent"]


async def test_waiting_for_a_slow_relay_is_no_time_out(desk: Any, mail: Any) -> None:
    """Thirty messages through a relay that takes 50 ms for each: the time limit of 0.3 s is for one, not for the queue."""

    class Relay(MemoryChannel):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Semaphore(8)

        async def send(self, message: Any) -> None:
            async with self.gate:
                await asyncio.sleep(0.1)
                await super().send(message)

    channel = Relay()
    desk.build(channel=channel, seconds=0.35)
    await desk.take(*(mail(sender=f"p{n}@poczta.example") for n in range(40)))
    await desk.settle()
    assert len(channel.sent) == len({m.id for m in channel.sent}) == 40


async def test_exclusive_while_the_worker_lives(desk: Any) -> None:
    one, two = UUID(int=1), UUID(int=2)
    async with exclusively(desk.engine, Job.NOTIFY, [one, two]) as mine:
        assert mine == {one, two}
        async with exclusively(desk.engine, Job.NOTIFY, [two]) as others:
            assert others == set()
        async with exclusively(desk.engine, Job.CLOSE, [two]) as others:
            assert others == {two}
    async with exclusively(desk.engine, Job.NOTIFY, [two]) as mine:
        assert mine == {two}


async def test_a_killed_workers_locks_go_with_it(desk: Any) -> None:
    """The server ends a dead client's session; a worker that was only cut off is told to try again."""
    one = UUID(int=1)

    async def cut_off() -> None:
        async with exclusively(desk.engine, Job.NOTIFY, [one]):
            await desk.rows("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            async with exclusively(desk.engine, Job.NOTIFY, [one]) as others:
                assert others == {one}

    with pytest.raises(TransientError):
        await cut_off()


async def test_ending_an_action_closes_its_case(desk: Any, mail: Any) -> None:
    await desk.take(mail("unknown"))
    await desk.settle()
    action = await desk.value("SELECT id FROM reset_action")
    approvals, ewa = desk.recovery.approvals, Actor("ewa")
    (_, _, code) = await approvals.shown(action)
    with pytest.raises(PermanentError, match="W1"):
        await counter.do_by_hand(approvals, action, ewa, code=code, checked=[], solution="Hasło ustawione.")
    desk.clock.advance(timedelta(minutes=5))
    await counter.do_by_hand(approvals, action, ewa, code=code, checked=["W1"], solution="Hasło ustawione.")
    with pytest.raises(PermanentError, match="is done"):
        await approvals.refuse(action, ewa, reason="pomyłka", solution="Odmowa.")
    await desk.settle()
    assert await states(desk) == ["closed"]
    assert [m.text for m in desk.channel.sent][-1] == "Hasło ustawione."


async def test_a_case_is_not_closed_over_its_open_action(desk: Any, mail: Any) -> None:
    """Else it would be carried out after everybody thought that the matter was closed."""
    await desk.take(mail("unknown"))
    await desk.settle()
    case_id, action = await desk.value("SELECT id FROM cases"), await desk.value("SELECT id FROM reset_action")
    with pytest.raises(PermanentError, match=f"its reset action {action} is not at its end"):
        await counter.request_close(desk.engine, str(case_id), "Koniec.", "ewa", desk.clock())
    await desk.recovery.approvals.refuse(action, Actor("ewa"), reason="nie ta osoba", solution="Odmowa.")
    await desk.settle()
    assert await states(desk) == ["closed"]
