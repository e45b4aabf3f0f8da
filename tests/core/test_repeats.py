"""The same recovery request again is one case with one answer; anything that could be decided otherwise is a case of its own."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.recoverykit import ADA, JAN, NEW, OTHER, PROVED, Counter, letter
from desk import BODY_A, BODY_B
from okienko.core.database import make_engine
from okienko.core.ledger import read_ledger
from okienko.core.site.queue import Queue
from okienko.metrics.catalogue import REGISTRY
from okienko.schemas import ActionState

FAILED = "mx.okienko.invalid; dmarc=fail header.from=poczta.example"
EWA = BODY_A.replace("Jana", "Ewy")
NEXT_YEAR = BODY_A.replace("1980", "1981")
APPLICATION = ("wniosek.pdf", b"%PDF wniosek")


async def cases(counter: Counter) -> int:
    """How many there are."""
    return int(await counter.bench.value("SELECT count(*) FROM cases"))


def reached(limit: str) -> float:
    """The metric of a limit."""
    return REGISTRY.get_sample_value("okienko_limits_reached_total", {"limit": limit}) or 0


def again(mail: bytes, minute: int) -> bytes:
    """The same mail, sent once more: another Message-ID and another date."""
    mail = re.sub(rb"(?m)^Message-ID: .*$", f"Message-ID: <{uuid4().hex}@poczta.example>\r".encode(), mail)
    return re.sub(rb"(?m)^Date: .*$", f"Date: Tue, 24 Nov 2026 09:{minute:02}:00 +0100\r".encode(), mail)


# --- one case ---------------------------------------------------------------------------------------------------------


async def test_a_flood_is_one_case_one_registration_and_one_answer(counter: Counter) -> None:
    desk, before = counter.bench, reached("repeat")
    await desk.take(*(letter() for _ in range(60)))
    await desk.settle()
    await desk.take(*(letter() for _ in range(60)))
    await desk.settle()
    assert counter.sent() == [("registered", JAN)]
    assert await cases(counter) == 1
    (ticket,) = desk.csd.tickets.values()
    assert len(ticket.notes) == 1, "the CSD hears of it once"
    assert len(await counter.actions()) == 1
    assert reached("repeat") - before == 119
    ledger = await read_ledger(desk.engine)
    assert (ledger.received, ledger.cased, ledger.merged, ledger.balance) == (120, 1, 119, 0)
    told = await desk.rows(
        "SELECT data->>'count' AS n, data->>'why' AS why FROM event WHERE type = 'limited' ORDER BY id"
    )
    assert [row["n"] for row in told] == ["59", "119"]
    assert told[1]["why"] == "the same request came again, 119 times so far"
    audited = await desk.rows("SELECT reason FROM audit_entry WHERE action = 'limited' ORDER BY seq")
    assert [row["reason"] for row in audited] == [row["why"] for row in told]


async def test_a_slow_flood_does_not_drown_the_time_line(counter: Counter) -> None:
    for _ in range(23):
        await counter.ask()
    told = await counter.bench.rows("SELECT data->>'count' AS n FROM event WHERE type = 'limited' ORDER BY id")
    assert [row["n"] for row in told] == ["1", "10"]
    assert (await counter.events()).count("message_added") == 0
    assert await counter.bench.value("SELECT repeats FROM cases") == 22


async def test_repeats_of_a_case_without_its_number_are_noted_once(counter: Counter) -> None:
    """The CSD is away: what comes in meanwhile waits for the number, and the note is still one."""
    from okienko.plugins.errors import TransientError

    counter.bench.csd.failures.extend([TransientError("away")] * 2)
    await counter.bench.take(*(letter() for _ in range(3)))
    await counter.bench.step()
    await counter.bench.take(*(letter() for _ in range(3)))
    await counter.bench.settle()
    (ticket,) = counter.bench.csd.tickets.values()
    assert len(ticket.notes) == 1
    assert counter.sent() == [("registered", JAN)]


async def test_an_answer_to_a_repeat_finds_the_case(counter: Counter) -> None:
    case_id = await counter.ask()
    repeat = letter()
    await counter.ask(repeat)
    (name,) = re.findall(rb"Message-ID: <(.*)>", repeat)
    answer = letter("dziękuję", subject="Re: sprawa").replace(
        b"Subject:", b"In-Reply-To: <" + name + b">\r\nSubject:", 1
    )
    assert await counter.ask(answer) == case_id


# --- another request ----------------------------------------------------------------------------------------------------

WRITTEN_OTHERWISE: dict[str, dict[str, Any]] = {
    "a stranger": {"sender": OTHER},
    "the same address, not proved": {"proof": None},
    "the same address, disowned": {"proof": FAILED},
    "another person": {"text": EWA},
    "another year": {"text": NEXT_YEAR},
    "no year": {"text": BODY_A.partition(",")[0]},
    "another procedure": {"text": BODY_B},
    "a document": {"attachments": [APPLICATION]},
    "another subject": {"subject": "HASŁO AWARYJNE PUESC procedura specjalna"},
}
MISSES = {"no year", "another procedure", "another subject"}
"""Those are repeated only word for word, and the trailer of each letter is another one."""


@pytest.mark.parametrize("way", WRITTEN_OTHERWISE)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize("turned", [True, False], ids=["it comes first", "it comes second"])
async def test_what_differs_is_a_case_of_its_own(counter: Counter, way: str, together: bool, turned: bool) -> None:
    mails = [letter(), letter(**WRITTEN_OTHERWISE[way])]
    mails = mails[::-1] if turned else mails
    for batch in [mails] if together else [[one] for one in mails]:
        await counter.bench.take(*batch)
        await counter.bench.settle()
    assert await cases(counter) == 2
    assert len(counter.sent()) == 2, "and each is answered"
    await counter.bench.take(letter(), *([] if way in MISSES else [letter(**WRITTEN_OTHERWISE[way])]))
    await counter.bench.settle()
    assert await cases(counter) == 2, "and takes in its own repeats only"


async def test_the_document_that_was_forgotten_is_looked_at(counter: Counter) -> None:
    """First without the application, then with it, then with another one."""
    await counter.ask(letter(BODY_B, NEW))
    await counter.ask(letter(BODY_B, NEW, attachments=[APPLICATION]))
    await counter.ask(letter(BODY_B, NEW, attachments=[("wniosek.pdf", b"%PDF poprawiony")]))
    assert await cases(counter) == 3
    assert await counter.ask(letter(BODY_B, NEW, attachments=[("inna nazwa.pdf", APPLICATION[1])])) is not None
    assert await cases(counter) == 3


async def test_a_spoofed_mail_swallows_nothing(counter: Counter) -> None:
    """A stranger writes in Jan's name, word for word; Jan's own, proved request is decided on its own merits."""
    spoofed = await counter.ask(letter(proof=None))
    own = await counter.ask()
    assert spoofed != own
    rows = await counter.bench.rows("SELECT repeats FROM cases")
    assert [row["repeats"] for row in rows] == [0, 0]
    assert await counter.ask(letter(proof=None)) == spoofed
    assert await counter.ask() == own


async def test_who_misses_again_hears_of_it_unless_it_is_the_same_word_for_word(counter: Counter) -> None:
    first = letter("Proszę o hasło")
    await counter.bench.take(first, again(first, 1), letter("Bardzo proszę o hasło"))
    await counter.bench.settle()
    assert counter.sent() == [("unmet", JAN)] * 2
    assert await cases(counter) == 2


async def test_other_desks_have_their_own(counter: Counter) -> None:
    await counter.bench.take(letter(), mailbox="a")
    await counter.bench.take(letter(), mailbox="b")
    await counter.bench.settle()
    assert await cases(counter) == 2


async def test_a_request_that_was_not_answered_takes_no_other_in(counter: Counter) -> None:
    """A machine's mail is cased in silence: the person's own, just the same, is answered, and further ones join that."""
    silent = letter().replace(b"Subject:", b"X-Auto-Response-Suppress: All\r\nSubject:", 1)
    first = await counter.ask(silent)
    assert counter.sent() == []
    second = await counter.ask()
    assert (second != first, counter.sent()) == (True, [("registered", JAN)])
    assert await counter.ask() == second
    assert await counter.ask(silent.replace(b"wiadomo", b"Wiadomo").replace(b"08:59", b"08:58")) == second


async def test_a_closed_case_and_an_old_one_take_nothing_in(counter: Counter) -> None:
    first = await counter.ask()
    action = await counter.action()
    await counter.bench.recovery.approvals.refuse(
        action.frozen.action_id, ADA, reason="nie ta osoba", solution="Odmowa."
    )
    await counter.bench.settle()
    second = await counter.ask()
    assert second != first
    await counter.bench.pass_time(timedelta(hours=23))
    assert await counter.ask() == second
    await counter.bench.pass_time(timedelta(hours=1))
    assert await counter.ask() not in (first, second)


async def test_it_can_be_switched_off(counter: Counter) -> None:
    counter.bench.build(repeat_hours="0")
    assert await counter.ask() != await counter.ask()


@pytest.mark.parametrize(("signed", "expected"), [(True, 2), (False, 1)])
async def test_with_our_own_dkim_check_a_signature_is_not_guessed_at(
    counter: Counter, signed: bool, expected: int
) -> None:
    """Only DNS could tell whether it proves the sender, and that is not asked before the answer."""
    counter.bench.environ = {"OKIENKO_SENDERPROOF_OWN_DKIM": "true"}
    counter.bench.build()
    mark = b"DKIM-Signature: v=1; a=rsa-sha256; d=poczta.example; s=x; h=from; bh=eA==; b=eA==\r\nSubject:"
    for _ in range(2):
        await counter.bench.take(letter(proof=None).replace(b"Subject:", mark if signed else b"Subject:", 1))
    await counter.bench.until("register")
    assert await cases(counter) == expected


async def test_the_key_tells_nothing_and_goes_with_the_person(counter: Counter) -> None:
    from okienko.core.audit.erasure import erase

    case_id = await counter.ask()
    assert len(await counter.bench.value("SELECT request_key FROM cases")) == 32
    action = await counter.action()
    await counter.bench.recovery.approvals.refuse(action.frozen.action_id, ADA, reason="x", solution="Odmowa.")
    await counter.bench.settle()
    await erase(
        counter.bench.engine, counter.bench.vault, str(case_id), reason="RODO", who="ewa", now=counter.bench.clock()
    )
    assert await counter.bench.value("SELECT request_key FROM cases") is None


# --- who looks ----------------------------------------------------------------------------------------------------------


async def test_administrators_see_how_much_more_came_in(counter: Counter) -> None:
    """The same request again, and other people's for the same account: one action, and the number of the rest."""
    counter.signs()
    await counter.ask_for_new_login()
    await counter.ask_for_new_login()
    for n in range(3):
        await counter.ask(letter(BODY_B, f"obcy{n}@obca.example", attachments=[APPLICATION], proof=None))
    queue = Queue(counter.bench.engine, counter.bench.seals)
    (line,) = (await queue.page([ActionState.WAITING], limit=10)).lines
    whole = await queue.whole(line.id)
    assert (line.further, whole.further.repeats, whole.further.others) == (4, 1, 3)
    assert len(whole.further.numbers) == 3
    assert len(whole.envelopes) == 2


# --- at the same moment -------------------------------------------------------------------------------------------------

REQUESTS = ({}, {"proof": None}, {"text": NEXT_YEAR})
FLOODS = st.lists(st.tuples(st.integers(0, len(REQUESTS) - 1), st.booleans(), st.booleans()), min_size=2, max_size=14)


def test_any_flood_over_two_workers_is_one_case_for_each_request(
    postgres: Any, template: str, tmp_path: Path, bench: Any
) -> None:
    from core.recoverykit import PostChannel
    from desk import PACK

    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {template}")

    async def lived(flood: list[tuple[int, bool, bool]]) -> None:
        engine = make_engine(postgres.url(name))
        try:
            workers = [bench(engine, tmp_path / "spool", pack=PACK, channel=PostChannel()) for _ in range(2)]
            workers[1].vault = workers[0].vault
            workers[1].build()
            mailbox = uuid4().hex
            ids = await workers[0].take(*(letter(**REQUESTS[n]) for n, _, _ in flood), mailbox=mailbox)
            # Each message is in the hands of one worker, in batches that end where the flood says so.
            batches: tuple[list[list[UUID]], list[list[UUID]]] = ([[]], [[]])
            for one, (_, second, ends) in zip(ids, flood, strict=True):
                batches[second][-1].append(one)
                if ends:
                    batches[second].append([])

            async def work(worker: Any, mine: list[list[UUID]]) -> None:
                for batch in mine:
                    assert await worker.pipeline.process(batch) == [None] * len(batch)

            await asyncio.gather(*map(work, workers, batches))
            rows = await workers[0].rows("SELECT repeats FROM cases WHERE mailbox = $1", mailbox)
            distinct = {n for n, _, _ in flood}
            assert len(rows) == len(distinct)
            assert sum(row["repeats"] for row in rows) == len(flood) - len(distinct)
            assert (await read_ledger(engine)).balance == 0
        finally:
            await engine.dispose()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(FLOODS)
    def any_flood(flood: list[tuple[int, bool, bool]]) -> None:
        asyncio.run(lived(flood))

    any_flood()
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


async def test_two_workers_with_the_same_request_in_hand(counter: Counter) -> None:
    """Neither sees the other's commit yet: only the lock on what is asked makes them one. Also past the lock limit."""
    for count in (1, 1, 1, 320):
        await counter.bench.rows("UPDATE cases SET state = 'closed' RETURNING 1")
        before = await cases(counter)
        ids = await counter.bench.take(*(letter(proof=PROVED) for _ in range(2 * count)))
        await asyncio.gather(*(counter.bench.pipeline.process(half) for half in (ids[:count], ids[count:])))
        assert await cases(counter) == before + 1
