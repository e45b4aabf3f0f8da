"""Appending: gapless and in order whatever runs at the same time, and only what commits."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.audit.ledgerkit import START, entry, fill, raw_transaction, write
from okienko.core.audit import entries, log
from okienko.core.audit.anchor import trusted_keys
from okienko.core.audit.entries import NOT_AUDITED, ORIGIN, AuditAction, NewEntry, of_event
from okienko.core.audit.verify import verify
from okienko.core.database import make_engine, raw_connection, transaction, upgrade
from okienko.plugins.errors import TransientError
from okienko.schemas import EventType

WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from core.audit.ledgerkit import entry, write
from okienko.core.database import make_engine

async def main():
    engine = make_engine(sys.argv[1])
    async def one(start):
        for n in range(start, start + 20):
            await write(engine, [entry(n), entry(n)])
    await asyncio.gather(*(one(k * 100) for k in range(1, 6)))
    await engine.dispose()

asyncio.run(main())
"""


async def intact(engine: AsyncEngine) -> int:
    report = await verify(engine, [], trusted_keys(None))
    assert report.intact, report.findings
    return report.entries


async def test_two_processes_and_many_tasks_make_one_chain_without_gaps(engine: AsyncEngine, database_url: str) -> None:
    await upgrade(engine)
    tests = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", WRITER, database_url, tests]
    writers = [await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        _, errors = await writer.communicate()
        assert writer.returncode == 0, errors.decode()
    assert await intact(engine) == 2 * 5 * 20 * 2
    async with raw_transaction(engine) as raw:
        # The two entries of one transaction stand side by side.
        pairs = await raw.fetch(
            "SELECT array_agg(data->>'n' ORDER BY seq) AS n FROM audit_entry GROUP BY (seq - 1) / 2"
        )
    assert all(one == other for one, other in (row["n"] for row in pairs))


async def test_a_rolled_back_transaction_leaves_no_gap(engine: AsyncEngine) -> None:
    await upgrade(engine)
    await fill(engine, 4)
    for flushed in (False, True):
        with contextlib.suppress(ZeroDivisionError):
            async with raw_transaction(engine) as raw:
                log.record(raw, [entry(5)])
                if flushed:
                    await log.flush(raw)
                raise ZeroDivisionError
    await fill(engine, 1)
    assert await intact(engine) == 5


async def test_no_lock_is_waited_for_while_the_head_is_held(engine: AsyncEngine) -> None:
    """The order that would deadlock if recording took the head at once: audit first, then a row that the other one has."""
    await upgrade(engine)
    async with raw_transaction(engine) as raw:
        await raw.execute("CREATE TABLE thing (n int PRIMARY KEY); INSERT INTO thing VALUES (1), (2)")
    both = asyncio.Barrier(2)

    async def work(mine: int, theirs: int) -> None:
        async with raw_transaction(engine) as raw:
            log.record(raw, [entry(mine)])
            if mine == 1:
                await raw.execute("SELECT * FROM thing WHERE n = 1 FOR UPDATE")
                await both.wait()
            else:
                await both.wait()
                await raw.execute("SELECT * FROM thing WHERE n = 1 FOR UPDATE")

    async with asyncio.timeout(20):
        await asyncio.gather(work(1, 2), work(2, 1))
    assert await intact(engine) == 2


async def test_a_stricter_isolation_level_is_told_to_try_again(engine: AsyncEngine) -> None:
    await upgrade(engine)

    async def stale() -> None:
        strict = engine.execution_options(isolation_level="REPEATABLE READ")
        async with transaction(strict) as connection:
            raw = await raw_connection(connection)
            await raw.fetchval("SELECT seq FROM audit_head")
            await write(engine, [entry(1)])
            log.record(raw, [entry(2)])

    with pytest.raises(TransientError):
        await stale()
    assert await intact(engine) == 1


async def test_recording_needs_our_transaction(engine: AsyncEngine) -> None:
    await upgrade(engine)
    async with engine.connect() as connection:
        with pytest.raises(RuntimeError, match=r"database\.transaction"):
            log.record(await raw_connection(connection), [entry(1)])
    assert await intact(engine) == 0


async def test_without_a_head_nothing_happens_unaudited(engine: AsyncEngine) -> None:
    await upgrade(engine)
    async with raw_transaction(engine) as raw:
        await raw.execute("ALTER TABLE audit_head DISABLE TRIGGER ALL; DELETE FROM audit_head")
    with pytest.raises(TransientError, match="tampered"):
        await write(engine, [entry(1)])


def test_every_event_is_audited_or_left_out_on_purpose() -> None:
    """A new type of event makes this fail until somebody decides."""
    for type_ in EventType:
        audited = of_event(type_, entry(1).case_id, START, "x", {}, None) is not None  # type: ignore[arg-type]
        assert audited != (type_ in NOT_AUDITED), type_


def test_free_text_holds_no_personal_number_and_no_end() -> None:
    made = NewEntry(AuditAction.ERASED, START, "jan", reason="PESEL 22222222222 prosi", subject="\0" + "x" * 900)
    assert made.reason == "PESEL [11 digits] prosi"
    assert made.subject == "x" * 500


def test_the_origin_is_of_whoever_asks() -> None:
    assert NewEntry(AuditAction.CLOSED, START, "x").origin.startswith("service:")
    token = ORIGIN.set("web:192.0.2.7")
    try:
        assert NewEntry(AuditAction.CLOSED, START, "x").origin == "web:192.0.2.7"
    finally:
        ORIGIN.reset(token)


async def test_engine_made_by_the_service_is_the_same(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        await upgrade(engine)
        await fill(engine, 2)
        assert await intact(engine) == 2
    finally:
        await engine.dispose()


def test_every_action_is_written_by_something() -> None:
    """An entry that nobody writes would make a reader look for it in vain."""
    folder = Path(entries.__file__).parents[1]
    sources = "".join(f.read_text(encoding="utf-8") for f in folder.rglob("*.py"))
    assert [a.name for a in AuditAction if not re.search(rf"\bAuditAction\.{a.name}\b", sources)] == []
