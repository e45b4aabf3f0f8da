"""Processing: each outcome, once, and none at the cost of another."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from okienko.core.ledger import read_ledger
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.evidence import Evidence
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import CHUNK, RawContent
from okienko.schemas import AutoKind


async def outcomes(desk: Any) -> list[str]:
    return [row["outcome"] for row in await desk.rows("SELECT outcome FROM envelope ORDER BY seq")]


async def test_each_outcome(desk: Any, mail: Any) -> None:
    first = mail()
    await desk.take(
        first,
        first,
        mail("Re: NOWE", in_reply_to=(first.message_id,)),
        mail("w urlopie", auto=AutoKind.AUTO_REPLIED, in_reply_to=(first.message_id,)),
        b"no message",
    )
    assert await desk.step() == []
    assert await outcomes(desk) == ["cased", "duplicate", "merged", "suppressed", "parked"]
    (case,) = await desk.rows("SELECT id FROM cases")
    assert {row["case_id"] for row in await desk.rows("SELECT case_id FROM envelope WHERE outcome <> 'parked'")} == {
        case["id"]
    }
    (parked,) = await desk.rows("SELECT reason, problem FROM parked")
    assert parked["reason"] == "unreadable"
    ledger = await read_ledger(desk.engine)
    assert (ledger.received, ledger.balance) == (5, 0)


async def test_one_poison_among_many(desk: Any, mail: Any) -> None:
    """A defect that only the writing finds: the batch is tried one by one, and the culprit alone is parked."""
    poison = mail(message_id="\x00nul@poczta.example")
    await desk.take(*(mail() for _ in range(5)), poison, *(mail() for _ in range(5)))
    assert await desk.step() == []
    assert await outcomes(desk) == ["cased"] * 5 + ["parked"] + ["cased"] * 5
    assert [row["reason"] for row in await desk.rows("SELECT reason FROM parked")] == ["defect"]


async def test_a_reason_that_the_database_cannot_hold(desk: Any, mail: Any) -> None:
    """A plugin's text with NUL and half a surrogate must not turn parking itself into the next failure."""
    desk.pack.failures["zepsute"] = PermanentError("bad \x00 text \ud83d")
    await desk.take(mail("zepsute"), mail())
    assert await desk.step() == []
    assert await outcomes(desk) == ["parked", "cased"]
    assert "\x00" not in (await desk.rows("SELECT problem FROM parked"))[0]["problem"]


async def test_a_transient_failure_concerns_its_own_message_only(desk: Any, mail: Any) -> None:
    desk.pack.failures["czekaj"] = TransientError("not now")
    await desk.take(mail(), mail("czekaj"), mail())
    assert [str(error) for error in await desk.step()] == ["not now"]
    assert await outcomes(desk) == ["cased", "received", "cased"]
    del desk.pack.failures["czekaj"]
    await desk.settle()
    assert await outcomes(desk) == ["cased", "cased", "cased"]


async def test_a_failing_look_up_concerns_its_own_case_only(desk: Any, mail: Any) -> None:
    """And no first answer at all."""
    await desk.recovery.identity.ready()
    desk.identity.failures.append(TransientError("directory away"))
    await desk.take(mail("met", sender="a@poczta.example"), mail("met", sender="b@poczta.example"))
    for _ in range(3):
        assert await desk.step() == []
    assert len(desk.channel.sent) == 2
    assert len(await desk.step()) == 1
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'assessed'") == 1
    await desk.settle()
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'assessed'") == 2


async def test_a_parser_that_hangs_stops_nobody(desk: Any, mail: Any) -> None:
    """Blocking plugin code: the loop goes on, the time limit ends the wait, the neighbours come through."""
    hang, woken = threading.Event(), threading.Event()

    class Sleepy(type(desk.channel)):  # type: ignore[misc]
        def parse(self, envelope: Any, raw: Any) -> Any:
            message = super().parse(envelope, raw)
            if "śpij" in message.subject:
                hang.wait(100)
                woken.set()
            return message

    desk.build(channel=Sleepy(), seconds=2.0)
    await desk.take(mail(), mail("śpij"), mail())
    assert await desk.step() == []
    still_hanging = not woken.is_set()
    hang.set()
    assert still_hanging
    assert await outcomes(desk) == ["cased", "parked", "cased"]
    assert "took longer" in await desk.value("SELECT problem FROM parked")


async def test_a_plugin_that_exits_stops_nobody(desk: Any, mail: Any) -> None:
    desk.pack.failures["wyjdź"] = SystemExit(3)  # type: ignore[assignment]
    await desk.take(mail("wyjdź"), mail())
    assert await desk.step() == []
    assert await outcomes(desk) == ["parked", "cased"]


async def test_a_connector_that_is_gone_parks_its_messages(desk: Any, mail: Any) -> None:
    item = RawItem(desk.channel.channel, "gone", "test", RawContent(b"x"))
    await desk.intake.accept(item)
    await desk.take(mail())
    assert await desk.step() == []
    assert await outcomes(desk) == ["parked", "cased"]
    assert desk.stopped == []


async def test_wrong_settings_stop_the_plugin_and_park_nothing(desk: Any, mail: Any) -> None:
    desk.pack.failures["NOWE"] = MisconfiguredError("the pack's file is gone: set OKIENKO_X")
    await desk.take(*(mail() for _ in range(3)))
    errors = await desk.step()
    assert [type(error) for error in errors] == [TransientError] * 3
    assert all(error.retry_after > 50 for error in errors)
    assert desk.stopped == ["words"]
    assert await outcomes(desk) == ["received"] * 3
    desk.pack.failures.clear()
    await desk.step()
    assert await outcomes(desk) == ["received"] * 3, "it is left alone for a while"
    desk.monotonic += 61
    await desk.settle()
    assert await outcomes(desk) == ["cased"] * 3
    assert desk.resumed == ["words"]


async def test_same_mail_in_two_workers_is_one_case(desk: Any, mail: Any) -> None:
    one = mail()
    ids = await desk.take(*[one] * 10)
    await asyncio.gather(desk.pipeline.process(ids[::2]), desk.pipeline.process(ids[1::2]))
    assert sorted(await outcomes(desk)) == ["cased"] + ["duplicate"] * 9
    assert await desk.value("SELECT count(*) FROM cases") == 1


async def test_same_job_in_two_workers_is_one_case(desk: Any, mail: Any) -> None:
    """A worker whose heartbeat failed is slow, not dead: its job is given to another, and both finish."""
    ids = await desk.take(*(mail() for _ in range(5)))
    results = await asyncio.gather(*(desk.pipeline.process(ids) for _ in range(3)))
    assert results == [[None] * 5] * 3
    assert await desk.value("SELECT count(*) FROM cases") == 5
    assert await desk.value("SELECT count(*) FROM event WHERE type = 'opened'") == 5


@pytest.mark.parametrize("many", [1, 600])
async def test_mail_and_answer_in_two_workers_are_one_case(desk: Any, mail: Any, many: int) -> None:
    """Neither sees the other's commit yet; only the locks on what they refer to make them one. Also past the lock limit."""
    for _ in range(5):
        first = mail()
        refs = tuple(f"other{n}.{first.message_id}" for n in range(many))
        answer = mail("Re: NOWE", references=(*refs, first.message_id), in_reply_to=(first.message_id,))
        one, two = await desk.take(first, answer)
        await asyncio.gather(desk.pipeline.process([two]), desk.pipeline.process([one]))
    assert sorted(await outcomes(desk)) == ["cased"] * 5 + ["merged"] * 5


async def test_answer_before_its_mail(desk: Any, mail: Any) -> None:
    first = mail()
    await desk.take(mail("Re: NOWE", in_reply_to=(first.message_id,)), first)
    await desk.step()
    assert await outcomes(desk) == ["cased", "merged"]


async def test_siblings_of_a_mail_never_seen(desk: Any, mail: Any) -> None:
    await desk.take(mail(references=("never@seen.example",)), mail("Re: x", references=("never@seen.example",)))
    await desk.step()
    assert await outcomes(desk) == ["cased", "merged"]


async def test_duplicates_only_within_a_mailbox(desk: Any, mail: Any) -> None:
    one = mail()
    await desk.take(one, mailbox="a")
    await desk.take(one, mailbox="b")
    await desk.step()
    assert await outcomes(desk) == ["cased", "cased"]


async def test_a_strangers_number(desk: Any, mail: Any) -> None:
    """It opens a case of its own, with the named one on record; the requester's own mail joins, from any mailbox."""
    await desk.take(mail())
    await desk.settle()
    number = await desk.value("SELECT csd_number FROM cases")
    case_id = await desk.value("SELECT id FROM cases")
    await desk.take(mail(f"w sprawie {number}", sender="ewa@obca.example"))
    await desk.take(mail(f"w sprawie {number}", sender="JAN@poczta.example"), mailbox="other")
    await desk.settle()
    assert await outcomes(desk) == ["cased", "cased", "merged"]
    (event,) = await desk.rows(
        "SELECT data->'mentions' AS mentions FROM event WHERE type = 'opened' AND data ? 'mentions'"
    )
    assert str(case_id) in event["mentions"]


async def test_the_answer_cap_counts_what_is_still_to_be_answered(desk: Any, mail: Any) -> None:
    """An autoresponder's backlog in several batches, before the first of them is registered."""
    for _ in range(3):
        ids = await desk.take(*(mail() for _ in range(15)))
        await desk.pipeline.process(ids)
    assert await desk.value("SELECT count(*) FROM cases WHERE silenced IS NULL") == 20
    assert await desk.value("SELECT count(*) FROM cases WHERE silenced = 'answer_cap'") == 25
    assert (
        await desk.value("SELECT count(*) FROM event WHERE type = 'limited' AND data->>'limit' = 'answers_day'") == 25
    )
    await desk.settle()
    assert len(desk.channel.sent) == 20


async def test_large_messages_are_read_in_small_groups(desk: Any, mail: Any) -> None:
    """Twelve messages of 2 MB are never on disk all at once."""
    seen: list[int] = []

    class Counting(type(desk.channel)):  # type: ignore[misc]
        def parse(self, envelope: Any, raw: Any) -> Any:
            seen.append(sum(1 for _ in desk.spool.iterdir()))
            assert raw.path is not None
            return super().parse(envelope, raw)

    desk.build(channel=Counting())
    await desk.take(*(mail(text=f"{n}" + "x" * 2 * CHUNK) for n in range(12)))
    await desk.step()
    assert await outcomes(desk) == ["cased"] * 12
    assert 1 <= max(seen) <= 8
    assert list(desk.spool.iterdir()) == []


async def test_the_first_decision_knows_of_no_account(desk: Any, mail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked up before the first answer, so that neither its text nor its time can tell of an account."""
    found = []
    decide = desk.pack.decide
    monkeypatch.setattr(desk.pack, "decide", lambda m, c, e: found.append(e) or decide(m, c, e))
    desk.identity.failures.append(AssertionError("the identity backend was asked"))
    await desk.take(mail("met"), mail())
    while (await desk.jobs())[0][0] != "assess":
        assert await desk.step() == []
    assert found == [Evidence(), Evidence()]
    assert len(desk.channel.sent) == 2
    assert len(desk.identity.failures) == 1


async def test_events_tell_the_story(desk: Any, mail: Any) -> None:
    await desk.take(mail("unknown"))
    await desk.settle()
    told = await desk.rows("SELECT type, actor FROM event ORDER BY id")
    assert [(row["type"], row["actor"]) for row in told] == [
        ("opened", "memory"),
        ("decided", "words"),
        ("registered", "memory"),
        ("notification_queued", "okienko"),
        ("notification_sent", "memory"),
        ("assessed", "words"),
        ("action_proposed", "okienko"),
    ]
