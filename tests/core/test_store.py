"""The store: migrations make what the code expects, and events are only ever added."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import (
    _alembic_config,
    head_revision,
    make_engine,
    raw_connection,
    revision,
    transaction,
    upgrade,
)
from okienko.core.schema import metadata
from okienko.plugins.errors import MisconfiguredError, TransientError


async def test_the_migrations_make_the_schema(store: AsyncEngine) -> None:
    def differences(connection: sa.Connection) -> list[Any]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        def ours(thing: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
            return not (kind == "table" and reflected and (name or "").startswith("pgqueuer"))

        options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async with store.connect() as connection:
        found = await connection.run_sync(differences)
    assert [d for d in found if "alembic_version" not in str(d)] == []
    assert await revision(store) == head_revision()
    assert ScriptDirectory.from_config(_alembic_config()).get_current_head() == head_revision()


async def test_down_and_up_again(engine: AsyncEngine) -> None:
    from alembic import command

    def down(connection: sa.Connection) -> None:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    assert await upgrade(engine)
    async with engine.begin() as connection:
        await connection.run_sync(down)
    assert await revision(engine) is None
    assert await upgrade(engine)
    assert await upgrade(engine) == []


async def test_two_processes_upgrade_at_once(engine: AsyncEngine) -> None:
    done = await asyncio.gather(*(upgrade(engine) for _ in range(3)))
    assert sorted(map(len, done)) == [0, 0, 2]


@pytest.mark.parametrize("statement", ["UPDATE event SET actor = 'x'", "DELETE FROM event", "TRUNCATE event"])
async def test_events_are_append_only(desk: Any, mail: Any, statement: str) -> None:
    await desk.take(mail())
    await desk.settle()
    before = await desk.rows("SELECT * FROM event ORDER BY id")
    assert before
    with pytest.raises(Exception, match="append-only"):
        await desk.rows(statement)
    assert await desk.rows("SELECT * FROM event ORDER BY id") == before


async def test_a_transaction_is_open_from_its_first_line(store: AsyncEngine) -> None:
    """What goes to asyncpg directly must not commit alone."""

    async def breaks_off() -> None:
        async with transaction(store) as connection:
            raw = await raw_connection(connection)
            await raw.execute("INSERT INTO seen (mailbox, key, envelope_id) VALUES ('a', 'k', gen_random_uuid())")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        await breaks_off()
    async with transaction(store) as connection:
        assert await (await raw_connection(connection)).fetchval("SELECT count(*) FROM seen") == 0


async def test_a_snapshot_sees_one_moment_and_writes_nothing(store: AsyncEngine) -> None:
    count = "SELECT count(*) FROM seen"
    insert = "INSERT INTO seen (mailbox, key, envelope_id) VALUES ('a', 'k', gen_random_uuid())"
    async with transaction(store, snapshot=True) as connection:
        raw = await raw_connection(connection)
        assert await raw.fetchval(count) == 0
        async with transaction(store) as other:
            await (await raw_connection(other)).execute(insert)
        assert await raw.fetchval(count) == 0
    with pytest.raises(Exception, match="read-only"):
        async with transaction(store, snapshot=True) as connection:
            await (await raw_connection(connection)).execute(insert)


async def test_a_database_that_is_away_is_transient() -> None:
    engine = make_engine("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(TransientError, match="tried again"):
        await revision(engine)
    await engine.dispose()


@pytest.mark.parametrize(("url", "message"), [("nonsense", "no database URL"), ("sqlite:///x", "needs PostgreSQL")])
def test_wrong_urls(url: str, message: str) -> None:
    with pytest.raises(MisconfiguredError, match=message):
        make_engine(url)
