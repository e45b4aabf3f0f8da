"""The migrations make what core/okienko/core/schema.py says."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import head_revision, revision, upgrade
from okienko.core.schema import metadata


def differences(connection: sa.Connection) -> list[Any]:
    def ours(name: str | None, type_: str, _: Any) -> bool:
        return type_ != "table" or not str(name).startswith("pgqueuer")

    options = {"compare_type": True, "compare_server_default": True, "include_name": ours}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_migrations_and_metadata_agree(engine: AsyncEngine) -> None:
    assert await upgrade(engine)
    assert await revision(engine) == head_revision()
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    assert await upgrade(engine) == []
