"""Connections and migrations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import resources
from typing import Any

import asyncpg
import sqlalchemy as sa
from pgqueuer.adapters.persistence.queries import Queries
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from okienko.core.audit import log as audit
from okienko.plugins.errors import MisconfiguredError, TransientError

UNREACHABLE = (
    OSError,
    OperationalError,
    InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # asyncpg's state machine when the server dies in the middle of an answer.
    asyncpg.InternalClientError,
    TimeoutError,
)
"""What a database that is down, full or restarting raises."""

HEAD = "0010"
"""The newest migration; a test holds it to what Alembic finds."""
_SEALS = "0008"
"""The migration that brought seals in."""
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TRANSIENT_SQLSTATES = ("08", "40", "53", "55P03", "57")
"""Connection, serialisation and deadlock, out of resources (disk full is 53100), lock not available, shutdown."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_TRANSIENT_SQLSTATES)
    return isinstance(error, UNREACHABLE)


def make_engine(url: str, *, pool_size: int = 8) -> AsyncEngine:
    """An engine for any PostgreSQL URL. Raises MisconfiguredError for what is not one."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise MisconfiguredError(
            "OKIENKO_DATABASE_URL is no database URL: write postgresql://user@host/database"
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise MisconfiguredError(
            f"OKIENKO_DATABASE_URL speaks of {parsed.get_backend_name()}: okienko needs PostgreSQL"
        )
    return create_async_engine(
        parsed.set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=16,
        pool_pre_ping=False,
        connect_args={"timeout": 10, "server_settings": {"application_name": "okienko"}},
    )


class TransactionDriver:
    """PgQueuer's view of a connection that is inside our transaction, so that a job commits with the change it follows."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Rows of `query`."""
        return [dict(row) for row in await self._connection.fetch(query, *args)]

    async def execute(self, query: str, *args: object) -> str:
        """The status line of `query`."""
        return str(await self._connection.execute(query, *args))


async def raw_connection(connection: AsyncConnection) -> Any:
    """The asyncpg connection below a SQLAlchemy one."""
    return (await connection.get_raw_connection()).driver_connection


async def enqueue(
    connection: AsyncConnection, entrypoint: str, ids: list[str], *, delay: timedelta = timedelta()
) -> None:
    """Enqueue one job for each id, in the open `transaction` of the connection; each becomes due after `delay`."""
    if not ids:
        return
    queries = Queries(TransactionDriver(await raw_connection(connection)))  # type: ignore[arg-type]  # only fetch and execute are used here
    await queries.enqueue(
        [entrypoint] * len(ids), [i.encode() for i in ids], [0] * len(ids), execute_after=[delay] * len(ids)
    )


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, snapshot: bool = False) -> AsyncIterator[AsyncConnection]:
    """A transaction that is open from the first line of the block; what says that the database is away is TransientError.

    SQLAlchemy itself begins with the first statement that goes through it, and what went to asyncpg before that would
    commit alone. Audit entries recorded in the block are appended last, right before it commits. With `snapshot`, all reads
    see one moment and nothing can be written.
    """
    try:
        async with engine.connect() as connection:
            await _living(connection)
            async with connection.begin():
                await connection.exec_driver_sql(_SNAPSHOT if snapshot else "SELECT 1")
                raw = await raw_connection(connection)
                audit.begin(raw)
                try:
                    yield connection
                    await audit.flush(raw)
                finally:
                    audit.discard(raw)
    except (DBAPIError, asyncpg.PostgresError, *UNREACHABLE) as error:
        if is_transient(error):
            raise TransientError(
                f"the database does not answer ({type(error).__name__}): it will be tried again"
            ) from error
        raise


async def _living(connection: AsyncConnection) -> None:
    """Connect anew as long as the pool lends out connections that the server has closed meanwhile."""
    while (await raw_connection(connection)).is_closed():
        await connection.invalidate()


async def upgrade(engine: AsyncEngine, seal_open: Callable[[Any], Awaitable[int]] | None = None) -> list[str]:
    """Bring our tables and the queue's to the newest version; returns what was done, for people. Idempotent.

    `seal_open` seals the open actions of before there were seals. It is called within the upgrade that brings them in and never
    again: later on an action without a seal is one that somebody put there.
    """
    done: list[str] = []
    async with transaction(engine) as connection:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('okienko upgrade'))"))
        before = await connection.run_sync(_revision)
        if before != HEAD:
            await connection.run_sync(_run_alembic)
        after = await connection.run_sync(_revision)
        if before != after:
            done.append(f"schema {before or 'none'} -> {after}")
        raw = await raw_connection(connection)
        if (
            seal_open is not None
            and before is not None
            and before < _SEALS <= (after or "")
            and (n := await seal_open(raw))
        ):
            done.append(f"{n} open reset action(s) sealed: each has to be approved anew")
        queries = Queries(TransactionDriver(raw))  # type: ignore[arg-type]  # as in enqueue
        if not await queries.schema_is_installed():
            await queries.install()
            done.append("queue installed")
    if not done:
        async with engine.connect() as connection:
            autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
            queries = Queries(TransactionDriver(await raw_connection(autocommit)))  # type: ignore[arg-type]  # as in enqueue
            plan = await queries.apply_upgrade()
            done += [f"queue: {statement.splitlines()[0]}" for statement in plan.statements]
    return done


async def revision(engine: AsyncEngine) -> str | None:
    """The schema's revision, or None when there is none."""
    async with transaction(engine) as connection:
        return await connection.run_sync(_revision)


def head_revision() -> str:
    """The newest revision this program knows."""
    return HEAD


def _revision(connection: sa.Connection) -> str | None:
    # Asked without Alembic, whose 13 MB a service whose schema is up to date does not need.
    if connection.scalar(sa.text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("okienko.core").joinpath("migrations")))
    return config


def _run_alembic(connection: sa.Connection) -> None:
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
