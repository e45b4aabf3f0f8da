"""The case and its ticket, both ways, on a real database: order, refusals, kills, lost answers, what people do in the CSD."""

from __future__ import annotations

import asyncio
import hashlib
import io
from typing import Any, BinaryIO

import pytest
from sqlalchemy import event

from okienko.core import desk as counter_desk
from okienko.core import parking
from okienko.core.audit import erasure
from okienko.core.csd import edits, ledger
from okienko.core.csd.news import Poll, take
from okienko.plugins.csd import Capability, TicketChange
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.testing.csdfaults import Fault
from okienko.plugins.testing.doubles import MemoryChannel, MemoryCsd
from okienko.schemas import Attachment, CsdRef, Priority, TicketStatus

SCAN = b"%PDF skan"


class Postman(MemoryChannel):
    """A channel whose messages have files."""

    def open_attachment(self, envelope: Any, raw: Any, index: int) -> BinaryIO:
        return io.BytesIO(SCAN + bytes([48 + index]))


def scan(index: int = 0, name: str = "skan.pdf") -> Attachment:
    content = SCAN + bytes([48 + index])
    return Attachment(
        index=index, filename=name, content_type="application/pdf", size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


async def opened(desk: Any, mail: Any, subject: str = "NOWE", **fields: Any) -> tuple[Any, CsdRef]:
    """A registered case: its message and its ticket's reference."""
    first = mail(subject, **fields)
    await desk.take(first)
    await desk.settle()
    number = await desk.value("SELECT csd_number FROM cases ORDER BY seq DESC LIMIT 1")
    return first, CsdRef(backend="memory", number=number)


async def told(desk: Any, ref: CsdRef) -> None:
    """The CSD says that the ticket may have changed, and the jobs are done."""
    await take(desk.engine, "memory", [ref])
    await desk.settle()


def ticket(desk: Any, ref: CsdRef) -> Any:
    return desk.csd.system.by_number[ref.number]


async def state(desk: Any) -> str:
    return str(await desk.value("SELECT state FROM cases"))


# --- out ----------------------------------------------------------------------------------------------------------------


async def test_files_of_the_first_mail_and_text_and_files_of_a_further_one(desk: Any, mail: Any) -> None:
    desk.build(channel=Postman())
    first, ref = await opened(desk, mail, attachments=(scan(), scan(1, "drugi.pdf"), scan(0, "kopia.pdf")))
    assert [f.filename for f in ticket(desk, ref).files] == ["skan.pdf", "drugi.pdf"]
    again = mail("Re: NOWE", in_reply_to=(first.message_id,), attachments=(scan(2, "trzeci.pdf"), scan()))
    await desk.take(again)
    await desk.settle()
    (note,) = ticket(desk, ref).notes
    assert again.text in note.text
    assert "jan@poczta.example" in note.text
    assert [f.filename for f in ticket(desk, ref).files] == ["skan.pdf", "drugi.pdf", "trzeci.pdf"]
    await told(desk, ref)
    assert await desk.rows("SELECT * FROM csd_note") == [], "our own notes and files came back as news"


async def test_files_of_a_request_about_an_account_are_no_work(desk: Any, mail: Any) -> None:
    desk.build(channel=Postman())
    _, ref = await opened(desk, mail, "unmet", attachments=(scan(),))
    assert await desk.value("SELECT kind FROM cases") == "recovery"
    assert await desk.value("SELECT array_agg(kind) FROM csd_outbox") == ["fields"]
    assert ticket(desk, ref).files == []


async def test_the_work_of_a_batch_takes_as_many_transactions_as_that_of_one(desk: Any, mail: Any) -> None:
    """Load, foresee, settle, end: in sets, whatever the number of cases that are told of at the same moment."""

    async def transactions(count: int) -> int:
        for n in range(count):
            await desk.take(mail("unmet", sender=f"osoba{count}.{n}@poczta.example"))
        while "sync" not in {kind for kind, _ in await desk.jobs()}:
            await desk.step()
        begun = 0

        def began(_connection: Any) -> None:
            nonlocal begun
            begun += 1

        event.listen(desk.engine.sync_engine, "begin", began)
        await desk.step()
        event.remove(desk.engine.sync_engine, "begin", began)
        await desk.settle()
        return begun

    assert await transactions(8) <= await transactions(1) + 1


async def test_what_is_told_later_waits_for_what_was_to_be_told_before(desk: Any, mail: Any) -> None:
    first, ref = await opened(desk, mail)
    desk.csd.faults.order(Fault.ERROR, "comment")
    await desk.take(mail("Re: NOWE", text="pierwsza", in_reply_to=(first.message_id,)))
    await desk.step()
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    assert len(await desk.step()) == 1
    assert (ticket(desk, ref).notes, ticket(desk, ref).closed) == ([], False)
    assert [m.kind.value for m in desk.channel.sent] == ["registered"], "mail 2 goes only after the CSD was told"
    await desk.settle()
    assert (len(ticket(desk, ref).notes), ticket(desk, ref).closed) == (1, True)
    assert [m.kind.value for m in desk.channel.sent] == ["registered", "closed"]


async def test_an_answer_to_a_case_that_is_about_to_be_closed_opens_it_again(desk: Any, mail: Any) -> None:
    """The CSD is down for days: the clerk has closed, the person has written, neither is forgotten and the order is kept."""
    first, ref = await opened(desk, mail)
    desk.csd.faults.order(Fault.ERROR, times=2)
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.step()
    await desk.take(mail("Re: NOWE", in_reply_to=(first.message_id,)))
    await desk.settle()
    assert (await state(desk), ticket(desk, ref).closed, len(ticket(desk, ref).notes)) == ("reopened", False, 2)
    kinds = [r["kind"] for r in await desk.rows("SELECT kind FROM csd_outbox WHERE state = 'done' ORDER BY id")]
    assert kinds == ["close", "reopen", "mail"]


class Refusing(MemoryCsd):
    """Refuses some operations for good."""

    def __init__(self, *operations: str) -> None:
        super().__init__()
        self.refused = set(operations)

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        if "comment" in self.refused:
            raise PermanentError("422 the note is too long")
        await super().comment(ref, key, text, public=public)

    async def close(self, ref: CsdRef, solution: str) -> None:
        if "close" in self.refused:
            raise PermanentError("403 no right to close")
        await super().close(ref, solution)

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        if "change" in self.refused and change.queue is not None:
            raise PermanentError("no queue of that name")
        await super().change(ref, change, version=version)


async def test_a_refused_note_holds_up_nothing_and_can_be_replayed(desk: Any, mail: Any) -> None:
    desk.csd = Refusing("comment")
    desk.build()
    first, ref = await opened(desk, mail)
    await desk.take(mail("Re: NOWE", in_reply_to=(first.message_id,)))
    await desk.step()
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.settle()
    assert ticket(desk, ref).closed
    (parked,) = await parking.list_parked(desk.engine)
    assert (parked.job, parked.reason) == ("sync", "refused")
    desk.csd.refused.clear()
    await parking.replay(desk.engine, [parked.id], desk.clock(), "ewa")
    await desk.settle()
    assert len([n for n in ticket(desk, ref).notes if n.key]) == 1


async def test_a_refused_close_holds_up_what_moves_the_ticket_but_not_the_notes(desk: Any, mail: Any) -> None:
    desk.csd = Refusing("close")
    desk.build()
    first, ref = await opened(desk, mail)
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.settle()
    await edits.set_fields(desk.engine, desk.csd, ref.number, {"priority": "high"}, "ewa", desk.clock())
    await desk.take(mail("Re: NOWE", in_reply_to=(first.message_id,)))
    await desk.settle()
    assert (len(ticket(desk, ref).notes), ticket(desk, ref).priority) == (1, Priority.NORMAL)
    (parked,) = await parking.list_parked(desk.engine)
    desk.csd.refused.clear()
    await parking.replay(desk.engine, [parked.id], desk.clock(), "ewa")
    await desk.settle()
    assert (ticket(desk, ref).priority, ticket(desk, ref).closed) == (Priority.HIGH, True)


async def test_a_dropped_close_lets_the_others_go_on(desk: Any, mail: Any) -> None:
    desk.csd = Refusing("close")
    desk.build()
    _, ref = await opened(desk, mail)
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.settle()
    await edits.set_fields(desk.engine, desk.csd, ref.number, {"priority": "high"}, "ewa", desk.clock())
    await desk.settle()
    (parked,) = await parking.list_parked(desk.engine)
    await parking.drop(desk.engine, [parked.id], desk.clock(), "ewa")
    await desk.settle()
    assert (ticket(desk, ref).priority, ticket(desk, ref).closed) == (Priority.HIGH, False)


@pytest.mark.parametrize("request_", ["read", "comment", "attach", "close", "reopen", "change"])
@pytest.mark.parametrize("after", [True, False])
async def test_killed_between_any_two_steps_nothing_happens_twice(
    desk: Any, mail: Any, request_: str, *, after: bool
) -> None:
    """The worker dies before or after a request of each kind was carried out; another one does the job again."""
    desk.build(channel=Postman())
    first, ref = await opened(desk, mail)
    carry = desk.csd.faults.carry
    killed = 0

    async def deadly(name: str, work: Any) -> Any:
        nonlocal killed
        if name == request_ and not killed:
            killed += 1
            if after:
                await carry(name, work)
            raise asyncio.CancelledError
        return await carry(name, work)

    desk.csd.faults.carry = deadly
    writes = desk.csd.system.writes
    await edits.set_fields(desk.engine, desk.csd, ref.number, {"subject": "Nowy temat"}, "ewa", desk.clock())
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.take(mail("Re: NOWE", in_reply_to=(first.message_id,), attachments=(scan(),)))
    while jobs := await desk.jobs():
        try:
            await desk.step()
        except asyncio.CancelledError:
            for kind, one in jobs:
                await desk.queue(kind, one)
    found = ticket(desk, ref)
    assert killed == 1
    assert (found.subject, found.closed, await state(desk)) == ("Nowy temat", False, "reopened")
    assert len([n for n in found.notes if n.key]) == len(found.files) == 1
    assert desk.csd.system.writes - writes == 6, "change, close, reopen with its reason, note and file: each once"
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'closed'") == 1


# --- in -----------------------------------------------------------------------------------------------------------------


async def test_fields_are_taken_over_and_the_echo_is_not_written(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail)
    change = TicketChange(subject="Inny temat", priority=Priority.HIGH, queue="konta", assignee="ola")
    desk.csd.system.edit(ref, change)
    writes = desk.csd.system.writes
    for _ in range(3):
        await told(desk, ref)
    row = (await desk.rows("SELECT subject, priority, queue, assignee FROM cases"))[0]
    assert row == {"subject": "Inny temat", "priority": "high", "queue": "konta", "assignee": "ola"}
    assert desk.csd.system.writes == writes
    assert await ledger.read(desk.engine) == []
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'fields_changed'") == 1


async def test_closed_there_with_its_solution(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail)
    desk.csd.system.close(ref.number, "Konto odblokowane.")
    await told(desk, ref)
    assert await state(desk) == "closed"
    assert [(m.kind.value, m.text) for m in desk.channel.sent][1:] == [("closed", "Konto odblokowane.")]
    desk.csd.system.set_state(ref, "in progress")
    await told(desk, ref)
    await told(desk, ref)
    assert await state(desk) == "reopened"
    desk.csd.system.set_state(ref, "rejected")
    ticket(desk, ref).solution = None
    await told(desk, ref)
    assert [m.text for m in desk.channel.sent][-1] == "Zamknięte."


async def test_waiting_there_is_waiting_here(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail)
    for raw, here in (("pending", "awaiting_requester"), ("open", "registered"), ("pending", "awaiting_requester")):
        desk.csd.system.set_state(ref, raw)
        await told(desk, ref)
        assert await state(desk) == here


async def test_a_refused_request_waits_in_the_csd_too(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail, "unmet")
    assert (await state(desk), ticket(desk, ref).status) == ("awaiting_requester", TicketStatus.PENDING)


async def test_notes_and_files_of_people_are_kept_once(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail)
    desk.csd.system.note(ref, "Dzwonił, sprawdzam.")
    desk.csd.system.note(ref, "Prosimy o skan.", public=True)
    desk.csd.system.attach(ref, "zrzut.png", b"PNG")
    sent = len(desk.channel.sent)
    for _ in range(2):
        await told(desk, ref)
    rows = await desk.rows("SELECT kind, text, author, public FROM csd_note ORDER BY remote_id::int")
    assert [(r["kind"], r["text"], r["public"]) for r in rows] == [
        ("note", "Dzwonił, sprawdzam.", False), ("note", "Prosimy o skan.", True), ("file", "zrzut.png", False),
    ]  # fmt: skip
    assert len(desk.channel.sent) == sent, "nothing of it is mailed to the person"
    shown = await counter_desk.show_case(desk.engine, ref.number)
    assert {note["text"] for note in shown["csd"]["notes"]} == {r["text"] for r in rows}
    data = str([event["data"] for event in shown["events"]])
    assert "Dzwonił" not in data
    assert "zrzut" not in data


async def test_a_ticket_that_was_removed_is_for_a_person(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail)
    await take(desk.engine, "memory", [ref])
    desk.csd.system.remove(ref)
    await desk.settle()
    await told(desk, ref)
    assert await state(desk) == "human_review"
    (entry,) = await ledger.read(desk.engine)
    assert (entry["field"], entry["rule"], entry["okienko"]) == ("ticket", "removed", ref.number)
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.settle()
    assert await state(desk) == "closed", "the person is told although there is nothing left to close"


async def test_a_ticket_merged_into_another_of_ours_is_followed(desk: Any, mail: Any) -> None:
    _, one = await opened(desk, mail)
    _, two = await opened(desk, mail, sender="ewa@poczta.example")
    desk.csd.system.merge(one, two)
    await told(desk, one)
    assert await desk.value("SELECT followed FROM csd_shadow WHERE followed IS NOT NULL") == two.number
    desk.csd.system.close(two.number, "Razem załatwione.")
    await told(desk, two)
    assert [r["state"] for r in await desk.rows("SELECT state FROM cases")] == ["closed", "closed"]
    assert [m.text for m in desk.channel.sent].count("Razem załatwione.") == 2


async def test_a_case_with_an_open_action_is_not_closed_by_the_csd(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail, "unknown")
    for times in (1, 2):
        desk.csd.system.close(ref.number, "Zamykam.")
        await told(desk, ref)
        assert (await state(desk), ticket(desk, ref).closed) == ("human_review", False)
        entries = await ledger.read(desk.engine)
        assert [(e["field"], e["winner"], e["rule"]) for e in entries] == [("status", "okienko", "open_action")] * times
    assert len([n for n in ticket(desk, ref).notes if n.key]) == 2
    assert [m.kind.value for m in desk.channel.sent] == ["registered"]


@pytest.mark.parametrize(("policy", "won"), [("csd", "tam"), ("okienko", "tu")])
async def test_both_changed_one_field(desk: Any, mail: Any, policy: str, won: str) -> None:
    desk.build(csd_policy=f'{{"assignee": "{policy}"}}')
    _, ref = await opened(desk, mail)
    await told(desk, ref)
    desk.csd.system.edit(ref, TicketChange(assignee="tam"))
    await edits.set_fields(desk.engine, desk.csd, ref.number, {"assignee": "tu"}, "ewa", desk.clock())
    desk.csd.faults.order(Fault.LOST_ANSWER, "change")
    await desk.settle()
    assert (await desk.value("SELECT assignee FROM cases"), ticket(desk, ref).assignee) == (won, won)
    (entry,) = await ledger.read(desk.engine)
    assert (entry["okienko"], entry["csd"], entry["winner"], entry["rule"]) == ("tu", "tam", policy, policy)


async def test_a_value_that_the_csd_refuses_gives_way(desk: Any, mail: Any) -> None:
    desk.csd = Refusing("change")
    desk.build()
    _, ref = await opened(desk, mail)
    await told(desk, ref)
    wanted = {"queue": "nie ma takiej", "assignee": "ola"}
    await edits.set_fields(desk.engine, desk.csd, ref.number, wanted, "ewa", desk.clock())
    await desk.settle()
    row = (await desk.rows("SELECT queue, assignee FROM cases"))[0]
    assert row == {"queue": "general", "assignee": "ola"}
    assert ticket(desk, ref).assignee == "ola"
    assert [(e["field"], e["rule"]) for e in await ledger.read(desk.engine)] == [("queue", "refused")]


async def test_what_cannot_be_set_is_said(desk: Any, mail: Any) -> None:
    desk.csd = MemoryCsd(capabilities={Capability.PRIORITY})
    desk.build()
    _, ref = await opened(desk, mail)
    for values, why in (
        ({"queue": "x"}, "cannot change the queue"),
        ({"state": "x"}, "cannot be set"),
        ({"priority": "urgent"}, "low, normal"),
    ):
        with pytest.raises(PermanentError, match=why):
            await edits.set_fields(desk.engine, desk.csd, ref.number, values, "ewa", desk.clock())


# --- news ---------------------------------------------------------------------------------------------------------------


async def test_many_notices_make_one_job_and_none_is_lost(desk: Any, mail: Any) -> None:
    _, ref = await opened(desk, mail)
    for _ in range(3):
        assert await take(desk.engine, "memory", [ref, CsdRef(backend="memory", number="ZGL999")]) == 1
    assert [kind for kind, _ in await desk.jobs()] == ["sync"]
    read = desk.csd.system.read

    def meanwhile(number: str) -> Any:
        found = read(number)
        desk.csd.system.read = read
        desk.csd.system.edit(ref, TicketChange(subject="po odczycie"))
        return found

    desk.csd.system.read = meanwhile
    jobs = asyncio.create_task(desk.step())
    await jobs
    await take(desk.engine, "memory", [ref])
    await desk.settle()
    assert await desk.value("SELECT subject FROM cases") == "po odczycie"


async def test_the_poll_asks_on_from_its_cursor_and_one_at_a_time(desk: Any, mail: Any) -> None:
    from datetime import timedelta

    _, ref = await opened(desk, mail)
    desk.csd.system.edit(ref, TicketChange(subject="przed pierwszym pytaniem"))
    polls = [Poll(desk.engine, desk.clock, desk.csd, desk.calls, interval=timedelta(seconds=60)) for _ in range(2)]
    assert sorted(await asyncio.gather(*(poll.once() for poll in polls))) == [False, True]
    await desk.settle()
    assert await desk.value("SELECT subject FROM cases") == "przed pierwszym pytaniem"
    desk.csd.system.edit(ref, TicketChange(subject="danach"))
    assert await polls[0].once() is False, "the interval is not over"
    desk.clock.advance(timedelta(seconds=60))
    desk.csd.faults.order(Fault.ERROR, "changes")
    with pytest.raises(TransientError):
        await polls[0].once()
    assert await polls[1].once() is True
    await desk.settle()
    assert await desk.value("SELECT subject FROM cases") == "danach"


# --- erasure ------------------------------------------------------------------------------------------------------------


async def test_an_erased_person_is_erased_in_the_csd_and_does_not_come_back(desk: Any, mail: Any) -> None:
    desk.build(channel=Postman())
    _, ref = await opened(desk, mail, attachments=(scan(),))
    desk.csd.system.note(ref, "Jan Próbny dzwonił.")
    await told(desk, ref)
    await counter_desk.request_close(desk.engine, ref.number, "Gotowe.", "ewa", desk.clock())
    await desk.settle()
    await erasure.erase(desk.engine, desk.vault, ref.number, reason="RODO", who="ewa", now=desk.clock())
    await desk.settle()
    assert ticket(desk, ref).subject == "[usunięto]"
    desk.csd.system.edit(ref, TicketChange(subject="Jan Próbny"))
    await told(desk, ref)
    assert await desk.value("SELECT subject FROM cases") == ""
    assert [r["text"] for r in await desk.rows("SELECT text FROM csd_note")] == [""]
    with pytest.raises(PermanentError, match="erased"):
        await edits.set_fields(desk.engine, desk.csd, ref.number, {"priority": "high"}, "ewa", desk.clock())
