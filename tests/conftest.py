"""A real PostgreSQL for the tests: started once, thrown away at the end; a fresh database for each test that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from rigs.postgres import Postgres, running_postgres

collect_ignore = ["example_plugin"]
"""The example is a package of its own; tests/plugins/test_example_plugin.py installs it and runs its tests."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server that tests share."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty database."""
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the fresh database."""
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()
