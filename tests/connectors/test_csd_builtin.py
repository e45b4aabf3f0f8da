"""The built-in register on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from okienko.connectors.csd.builtin import okienko_csd_backends, statements, tables
from okienko.connectors.csd.builtin.client import BuiltinCsd
from okienko.connectors.csd.builtin.files import PIECE
from okienko.connectors.csd.builtin.mapping import columns, is_transient, storable
from okienko.connectors.csd.builtin.settings import BuiltinCsdSettings
from okienko.plugins import PluginContext
from okienko.plugins.csd import TicketChange, TicketChangedError
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.errors import MisconfiguredError, PermanentError, TooLargeError, TransientError
from okienko.plugins.ports import Severity
from okienko.plugins.testing import Fault, FixedClock
from okienko.plugins.testing.conformance import CsdConformance, CsdWorkshop
from okienko.plugins.testing.conformance.csdbase import new_file, registration
from okienko.schemas import ChannelName, CsdRef, Priority, TicketStatus


def register(engine: AsyncEngine | None, **settings: object) -> BuiltinCsd:
    return BuiltinCsd(BuiltinCsdSettings(**settings), engine, FixedClock())  # type: ignore[arg-type]


@pytest.fixture
async def started(engine: AsyncEngine) -> BuiltinCsd:
    backend = register(engine)
    await backend.start()
    return backend


class RegisterHands(CsdWorkshop):
    """Somebody with SQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        await BuiltinCsd(BuiltinCsdSettings(), self.engine, FixedClock()).change(ref, change)

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        pytest.skip("all notes of the register are okienko's")

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        await BuiltinCsd(BuiltinCsdSettings(), self.engine, FixedClock()).attach(ref, new_file(filename, content))

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        found = await rows(
            self.engine, f"SELECT number FROM csd_builtin.ticket WHERE correlation_id = '{correlation_id}'"
        )
        return [CsdRef(backend="builtin", number=str(number)) for (number,) in found]

    async def order(self, fault: Fault) -> None:
        """The connection breaks before or after the next statement that writes."""
        engine, name = self.engine.sync_engine, f"{'after' if fault is Fault.LOST_ANSWER else 'before'}_cursor_execute"

        def breaks(connection: object, cursor: object, statement: str, *rest: object) -> None:
            if any(word in statement for word in ("INSERT", "UPDATE", "DELETE")):
                event.remove(engine, name, breaks)
                raise ConnectionResetError

        event.listen(engine, name, breaks)

    async def tick(self) -> None:
        """Its changes have numbers, not times."""


class TestBuiltin(CsdConformance):
    @pytest.fixture
    def backend(self, engine: AsyncEngine) -> BuiltinCsd:
        return register(engine)

    @pytest.fixture
    def csd_workshop(self, engine: AsyncEngine) -> RegisterHands:
        return RegisterHands(engine)

    @pytest.fixture
    def other_queue(self) -> str:
        return "druga linia"

    @pytest.fixture
    def assignee(self) -> str:
        return "ewa"


async def rows(engine: AsyncEngine, sql: str) -> list[tuple[object, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def test_numbers(started: BuiltinCsd) -> None:
    """Numbers follow the order of the batch, whatever the order of the ids."""
    batch = [registration(UUID(int=9 - place)) for place in range(5)]
    refs = await started.create(batch)
    assert [refs[r.correlation_id].number for r in batch] == [f"ZGL00000000{n}" for n in range(1, 6)]
    again = await started.create([batch[0], registration(UUID(int=100))])
    assert again[UUID(int=100)].number == "ZGL000000006", "a retry uses no number up"


async def test_numbers_outgrow_their_digits(engine: AsyncEngine) -> None:
    backend = register(engine, prefix="INC", digits=4)
    await backend.start()
    async with engine.begin() as connection:
        await connection.execute(text("SELECT setval('csd_builtin.number_seq', 9998)"))
    refs = await backend.create([registration(UUID(int=1)), registration(UUID(int=2)), registration(UUID(int=3))])
    assert [ref.number for ref in refs.values()] == ["INC9999", "INC10000", "INC10001"]


async def test_two_engines_at_once(engine: AsyncEngine, database_url: str) -> None:
    """Two processes start, and put the same cases in at once, in opposite order: one number each, no deadlock."""
    other = create_async_engine(database_url)
    try:
        first, second = register(engine), register(other)
        await asyncio.gather(first.start(), second.start(), first.start(), second.start())
        for _ in range(10):
            batch = [registration() for _ in range(100)]
            answers = await asyncio.gather(*(b.create(o) for b in (first, second) for o in (batch, batch[::-1])))
            assert all(answer == answers[0] for answer in answers)
            assert len({ref.number for ref in answers[0].values()}) == 100
        assert await rows(engine, "SELECT count(*), count(DISTINCT number) FROM csd_builtin.ticket") == [(1000, 1000)]
    finally:
        await other.dispose()


async def test_a_batch_is_one_statement(engine: AsyncEngine, started: BuiltinCsd) -> None:
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    await started.create([registration() for _ in range(100)])
    assert len(statements) == 1


async def test_the_services_own_transactions_stay_transactions(database_url: str) -> None:
    """The register works without BEGIN on connections that it shares; the next user's rollback must still undo."""
    engine = create_async_engine(database_url, pool_size=1, max_overflow=0)
    try:
        backend = register(engine)
        await backend.start()
        await backend.create([registration()])
        async with engine.connect() as connection:
            await connection.execute(text("DELETE FROM csd_builtin.ticket"))
            await connection.rollback()
        assert await rows(engine, "SELECT count(*) FROM csd_builtin.ticket") == [(1,)]
    finally:
        await engine.dispose()


async def test_what_is_stored(engine: AsyncEngine, started: BuiltinCsd) -> None:
    one = registration(subject="nul\x00 i pół \ud83d")
    ref = (await started.create([one]))[one.correlation_id]
    await started.close(ref, "Hasło ustawione.")
    await started.close(ref, "drugi raz")
    stored = (
        "SELECT subject, kind, procedure, requester, status, solution, opened_at, created_at FROM csd_builtin.ticket"
    )
    ((subject, *values),) = await rows(engine, stored)
    assert subject == "nul i pół ?"
    now = FixedClock()()
    assert values == [
        "recovery", "self_service", "jan.kowalski@example.org", "closed", "Hasło ustawione.", one.opened_at, now,
    ]  # fmt: skip
    await started.reopen(ref, "Dalej nie działa.")
    await started.reopen(ref, "drugi raz")
    await started.comment(ref, "k", "Notatka")
    await started.comment(ref, "k", "inna pod tym kluczem")
    assert await rows(engine, "SELECT status, closed_at FROM csd_builtin.ticket") == [("open", None)]
    notes = await rows(engine, "SELECT text FROM csd_builtin.note ORDER BY text")
    assert notes == [("Dalej nie działa.",), ("Notatka",)]


async def test_an_older_register_is_brought_up_to_date(engine: AsyncEngine, database_url: str) -> None:
    """Tables as the first version made them, with a ticket: two processes that start at once keep it and can do everything."""
    one = registration(UUID(int=1))
    async with engine.begin() as connection:
        for statement in tables.FIRST:
            await connection.execute(text(statement))
        await connection.execute(
            text("INSERT INTO csd_builtin.ticket (correlation_id, number, kind, subject, description, opened_at, created_at)"
                 " VALUES (:id, 'ZGL000000001', 'ticket', 'stary', 'opis', :at, :at)"), {"id": UUID(int=1), "at": one.opened_at},
        )  # fmt: skip
        await connection.execute(
            text("INSERT INTO csd_builtin.note VALUES ('ZGL000000001', 'stary klucz', 'stara notatka', :at)"),
            {"at": one.opened_at},
        )
        await connection.execute(text("SELECT nextval('csd_builtin.number_seq')"))
    other = create_async_engine(database_url)
    try:
        first, second = register(engine), register(other)
        await asyncio.gather(first.start(), second.start(), first.start())
        ref = (await second.create([one]))[UUID(int=1)]
        assert ref.number == "ZGL000000001"
        ticket = await first.get(ref)
        assert ticket is not None
        assert (ticket.subject, ticket.status, ticket.priority, ticket.version) == ("stary", "open", "normal", "0")
        assert [(n.id, n.key, n.text, n.public) for n in ticket.notes] == [
            ("stary klucz", mark_of("stary klucz"), "stara notatka", False)
        ]
        cursor = (await first.changes(None)).cursor
        await first.comment(ref, "stary klucz", "stara notatka")
        assert (await first.changes(cursor)).refs == ()
        await first.change(ref, TicketChange(status=TicketStatus.PENDING), version=ticket.version)
        assert (await first.changes(cursor)).refs == (ref,)
        assert len(await second.create([registration(), registration()])) == 2
    finally:
        await other.dispose()


async def test_a_busy_table_is_not_waited_for(engine: AsyncEngine, started: BuiltinCsd) -> None:
    """An update that cannot have the tables now fails whole and is tried again: it must not hold everybody up."""
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE csd_builtin.link"))
    async with engine.begin() as reader:
        await reader.execute(text("SELECT count(*) FROM csd_builtin.ticket"))
        async with engine.begin() as connection:
            await connection.execute(text("SET lock_timeout = '50ms'"))
            with pytest.raises(DBAPIError) as caught:
                await connection.execute(text(tables.BOTH_WAYS[1]))
    assert is_transient(caught.value)
    await register(engine).start()
    assert await rows(engine, "SELECT to_regclass('csd_builtin.link') IS NOT NULL") == [(True,)]


async def test_no_change_is_passed_by(engine: AsyncEngine, started: BuiltinCsd) -> None:
    """A change that is drawn first and committed last is told: who asks waits for it."""
    slow, quick = (await started.create([registration(), registration()])).values()
    cursor = (await started.changes(None)).cursor
    async with engine.begin() as writer:
        await writer.execute(statements.TOUCH, {"number": slow.number, "now": FixedClock()()})
        # The quicker writer draws a later number and commits it first.
        await started.comment(quick, "k", "Notatka")
        asked = asyncio.create_task(started.changes(cursor))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while await rows(engine, waiting) == [(0,)]:
            pass
        assert not asked.done()
    assert (await asked).refs == (slow, quick)


async def test_of_two_writers_with_one_version_one_wins(started: BuiltinCsd) -> None:
    (ref,) = (await started.create([registration()])).values()
    ticket = await started.get(ref)
    assert ticket is not None
    changes = [TicketChange(subject=f"Temat {n}") for n in range(5)]
    answers = await asyncio.gather(
        *(started.change(ref, change, version=ticket.version) for change in changes), return_exceptions=True
    )
    assert [type(answer) for answer in answers if answer is not None] == [TicketChangedError] * 4
    with pytest.raises(TicketChangedError, match="never had"):
        await started.change(ref, changes[0], version="x")
    with pytest.raises(PermanentError, match="no cursor"):
        await started.changes("2026-01-05")


async def test_files(engine: AsyncEngine, started: BuiltinCsd) -> None:
    one = registration()
    ref = (await started.create([one]))[one.correlation_id]
    content = bytes(range(256)) * 3000
    await started.attach(ref, new_file("duży.bin", content))
    ticket = await started.get(ref)
    assert ticket is not None
    (stored,) = ticket.files
    assert b"".join([piece async for piece in started.content(ref, stored.id)]) == content
    assert await rows(engine, "SELECT count(*), max(length(data)) FROM csd_builtin.file_chunk") == [(3, PIECE)]
    other = CsdRef(backend="builtin", number="ZGL7")
    assert [piece async for piece in started.content(other, stored.id)] == []
    for lie in (replace(new_file("a", b"abc"), size=2), replace(new_file("a", b"abc"), sha256="0" * 64)):
        with pytest.raises(PermanentError, match="not what was announced"):
            await started.attach(ref, lie)
    with pytest.raises(TooLargeError, match="OKIENKO_CSD_BUILTIN_MAX_FILE"):
        await register(engine, max_file=2).attach(ref, new_file("a", b"abc"))
    assert await rows(engine, "SELECT count(*) FROM csd_builtin.file") == [(1,)]
    await started.erase(ref)
    assert await rows(engine, "SELECT count(*) FROM csd_builtin.file_chunk") == [(0,)]


async def test_what_came_with_the_registration(engine: AsyncEngine, started: BuiltinCsd) -> None:
    one = replace(registration(), channel=ChannelName.PHONE, priority=Priority.CRITICAL)
    ref = (await started.create([one]))[one.correlation_id]
    ticket = await started.get(ref)
    assert ticket is not None
    assert (ticket.priority, ticket.fields, ticket.created_at) == (
        Priority.CRITICAL, {"number": "OK/2026/000001", "channel": "phone"}, one.opened_at,
    )  # fmt: skip
    assert await rows(engine, "SELECT requester_name FROM csd_builtin.ticket") == [("Jan Kowalski",)]


async def test_no_database() -> None:
    backend = register(None)
    for call in (
        backend.start(),
        backend.find([uuid4()]),
        backend.close(CsdRef(backend="builtin", number="ZGL1"), "x"),
        backend.attach(CsdRef(backend="builtin", number="ZGL1"), new_file("a", b"a")),
        backend.changes(None),
    ):
        with pytest.raises(MisconfiguredError, match="database"):
            await call
    (finding,) = await backend.check()
    assert finding.severity is Severity.ERROR


async def test_server_away() -> None:
    engine = create_async_engine("postgresql+asyncpg://tester@/nothing?host=/nonexistent")
    backend = register(engine)
    with pytest.raises(TransientError):
        await backend.start()
    with pytest.raises(TransientError):
        await backend.create([registration()])
    await engine.dispose()


async def test_connection_cut_off(engine: AsyncEngine, started: BuiltinCsd) -> None:
    """An administrator ends our session: this call may be tried again, and then it works."""
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    other = create_async_engine(engine.url)
    try:
        await started.find([uuid4()])
        await rows(other, cut)
        with pytest.raises(TransientError):
            await started.find([uuid4()])
        assert await started.find([uuid4()]) == {}
    finally:
        await other.dispose()


async def test_refused_statement_is_permanent_and_shows_no_text(engine: AsyncEngine) -> None:
    backend = register(engine)
    with pytest.raises(PermanentError, match="42P01") as caught:
        await backend.create([registration(subject="Jan Kowalski")])
    assert "Kowalski" not in str(caught.value)
    (finding,) = await backend.check()
    assert finding.severity is Severity.ERROR
    assert finding.cure


def test_plugin(tmp_path: Path) -> None:
    (backend,) = okienko_csd_backends(PluginContext(home=tmp_path, environ={"OKIENKO_CSD_BUILTIN_PREFIX": "INC"}))
    assert backend.name == "builtin"
    with pytest.raises(MisconfiguredError, match="OKIENKO_CSD_BUILTIN_PREFIX"):
        okienko_csd_backends(PluginContext(home=tmp_path, environ={"OKIENKO_CSD_BUILTIN_PREFIX": "a b"}))


def test_mapping() -> None:
    one, other = registration(UUID(int=1), "pierwsza"), registration(UUID(int=2))
    batch = columns([one, other, registration(UUID(int=1), "druga")])
    assert batch["ids"] == [UUID(int=1), UUID(int=2)]
    assert batch["subjects"][0] == "pierwsza"
    assert storable("ą\x00\udc80") == "ą?"
    assert is_transient(ConnectionRefusedError())
