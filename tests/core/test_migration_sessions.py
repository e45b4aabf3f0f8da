"""Migration 0007: sessions of before live on but cannot approve, mails may be about no case, and the way back is open."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from core.test_migration_actions import AT, to
from okienko.core.database import raw_connection, revision, transaction, upgrade

SESSION = (
    "INSERT INTO web_session (token_sha256, who, name, emails, roles, created_at, seen_at) "
    "VALUES ($1, 'local:anna', 'anna', '{}', '{identity_admin}', $2, $2)"
)


async def test_there_and_back(engine: AsyncEngine) -> None:
    from alembic import command

    await to(engine, "0003", command.upgrade)
    async with transaction(engine) as connection:
        await (await raw_connection(connection)).execute(SESSION, b"1", AT)
    assert await upgrade(engine)
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        (row,) = await raw.fetch("SELECT checked_at, authenticated_at, id_token FROM web_session")
        assert dict(row) == {"checked_at": AT, "authenticated_at": None, "id_token": None}
        # A process of the older program that has not been stopped yet.
        await raw.execute(SESSION, b"2", AT)
        await raw.execute(
            "INSERT INTO notification (id, kind, connector, to_name, to_address, subject, text, message_id, state, created_at) "
            "VALUES ($1, 'digest', 'email', '', 'anna@urzad.example', '', '', 'd@okienko.invalid', 'queued', $2)",
            uuid4(), AT,
        )  # fmt: skip
    await to(engine, "0003", command.downgrade)
    assert await revision(engine) == "0003"
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        assert await raw.fetchval("SELECT count(*) FROM notification") == 0
        assert await raw.fetchval("SELECT count(*) FROM web_session") == 2
    assert await upgrade(engine)
