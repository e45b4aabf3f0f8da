"""The built-in register on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from okienko.connectors.csd.builtin import okienko_csd_backends
from okienko.connectors.csd.builtin.client import BuiltinCsd
from okienko.connectors.csd.builtin.mapping import columns, is_transient, storable
from okienko.connectors.csd.builtin.settings import BuiltinCsdSettings
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Severity
from okienko.plugins.testing import FixedClock
from okienko.plugins.testing.conformance import CsdConformance
from okienko.plugins.testing.conformance.csd import registration
from okienko.schemas import CsdRef


def register(engine: AsyncEngine | None, **settings: object) -> BuiltinCsd:
    return BuiltinCsd(BuiltinCsdSettings(**settings), engine, FixedClock())  # type: ignore[arg-type]


@pytest.fixture
async def started(engine: AsyncEngine) -> BuiltinCsd:
    backend = register(engine)
    await backend.start()
    return backend


class TestBuiltin(CsdConformance):
    @pytest.fixture
    def backend(self, engine: AsyncEngine) -> BuiltinCsd:
        return register(engine)


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


async def test_no_database() -> None:
    backend = register(None)
    for call in (
        backend.start(),
        backend.find([uuid4()]),
        backend.close(CsdRef(backend="builtin", number="ZGL1"), "x"),
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
