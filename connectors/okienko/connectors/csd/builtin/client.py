"""The register's tables and statements. A batch is one statement, whatever its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Row, TextClause, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.connectors.csd.builtin.mapping import columns, is_transient, storable, ticket_of
from okienko.connectors.csd.builtin.settings import BuiltinCsdSettings
from okienko.plugins.csd import CsdBase, Ticket, TicketGoneError
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.ports import Finding, Registration, Severity
from okienko.schemas import CsdRef

_TABLES = (
    "CREATE SCHEMA IF NOT EXISTS csd_builtin",
    "CREATE SEQUENCE IF NOT EXISTS csd_builtin.number_seq",
    """
    CREATE TABLE IF NOT EXISTS csd_builtin.ticket (
        correlation_id uuid PRIMARY KEY,
        number text NOT NULL UNIQUE,
        kind text NOT NULL,
        procedure text,
        subject text NOT NULL,
        description text NOT NULL,
        requester text,
        status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
        solution text,
        opened_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        closed_at timestamptz
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS csd_builtin.note (
        number text NOT NULL REFERENCES csd_builtin.ticket (number),
        key text NOT NULL,
        text text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (number, key)
    )
    """,
)

_NOW = bindparam("now", type_=DateTime(timezone=True))

# Numbers are drawn in the order of the batch; rows go in by id, so that two machines with the same cases cannot
# deadlock. The GREATEST keeps lpad from cutting a number that has outgrown its digits.
_CREATE = text("""
    WITH wanted AS MATERIALIZED (
        SELECT w.*, nextval('csd_builtin.number_seq')::text AS serial
        FROM (
            SELECT * FROM unnest(
                CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:procedures AS text[]), CAST(:subjects AS text[]),
                CAST(:descriptions AS text[]), CAST(:requesters AS text[]), CAST(:opened AS timestamptz[])
            ) WITH ORDINALITY AS u (id, kind, procedure, subject, description, requester, opened_at, place)
            WHERE NOT EXISTS (SELECT FROM csd_builtin.ticket t WHERE t.correlation_id = u.id)
            ORDER BY place
        ) AS w
    )
    INSERT INTO csd_builtin.ticket
        (correlation_id, number, kind, procedure, subject, description, requester, opened_at, created_at)
    SELECT id, CAST(:prefix AS text) || lpad(serial, GREATEST(CAST(:digits AS int), length(serial)), '0'),
           kind, procedure, subject, description, requester, opened_at, :now
    FROM wanted ORDER BY id
    ON CONFLICT (correlation_id) DO NOTHING
    RETURNING correlation_id, number
""").bindparams(_NOW)
_FIND = text("SELECT correlation_id, number FROM csd_builtin.ticket WHERE correlation_id = ANY(CAST(:ids AS uuid[]))")

# Each of these answers with one row when the ticket exists and with none when it does not.
_CLOSE = text("""
    WITH changed AS (
        UPDATE csd_builtin.ticket SET status = 'closed', solution = :solution, closed_at = :now
        WHERE number = :number AND status = 'open'
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)
_REOPEN = text("""
    WITH changed AS (
        UPDATE csd_builtin.ticket SET status = 'open', closed_at = NULL
        WHERE number = :number AND status = 'closed' RETURNING number
    ), noted AS (
        INSERT INTO csd_builtin.note (number, key, text, at)
        SELECT number, 'reopened ' || CAST(gen_random_uuid() AS text), :reason, :now FROM changed
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)
_GET = text("""
    SELECT t.number, t.correlation_id, t.status, t.subject, t.solution, t.created_at, t.opened_at, t.closed_at,
           n.key AS note_key, n.text AS note_text, n.at AS note_at
    FROM csd_builtin.ticket t LEFT JOIN csd_builtin.note n ON n.number = t.number
    WHERE t.number = :number ORDER BY n.at, n.key
""")
_COMMENT = text("""
    WITH added AS (
        INSERT INTO csd_builtin.note (number, key, text, at)
        SELECT number, :key, :text, :now FROM csd_builtin.ticket WHERE number = :number
        ON CONFLICT DO NOTHING
    )
    SELECT true FROM csd_builtin.ticket WHERE number = :number
""").bindparams(_NOW)


class BuiltinCsd(CsdBase):
    """See CsdBackend. Creating the same correlation id twice, even at once from two machines, gives one ticket.

    Every call raises TransientError when the database is away or busy, PermanentError when it refuses the statement,
    and MisconfiguredError when there is no database.
    """

    name = "builtin"

    def __init__(self, settings: BuiltinCsdSettings, engine: AsyncEngine | None, now: Callable[[], datetime]) -> None:
        self._settings = settings
        # Each call is a single statement, atomic by itself: without BEGIN and COMMIT it is one round trip, not three.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT") if engine is not None else None
        self._transactions = engine
        self._now = now

    async def start(self) -> None:
        """See CsdBackend."""
        engine = self._transactions
        if engine is None:
            raise _no_database()
        try:
            async with engine.begin() as connection:
                # CREATE … IF NOT EXISTS by itself fails when two processes start at once.
                await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('okienko csd_builtin'))"))
                if await connection.scalar(text("SELECT to_regclass('csd_builtin.note')")) is None:
                    for statement in _TABLES:
                        await connection.execute(text(statement))
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        if not correlation_ids:
            return {}
        return self._refs(await self._run(_FIND, ids=list(correlation_ids)))

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        if not registrations:
            return {}
        batch = columns(registrations)
        settings = self._settings
        rows = await self._run(_CREATE, prefix=settings.prefix, digits=settings.digits, now=self._now(), **batch)
        refs = self._refs(rows)
        missing = [key for key in batch["ids"] if key not in refs]
        # A ticket that someone else put in while we tried is seen only by a new statement.
        return refs | await self.find(missing)

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend. Raises TicketGoneError when there is no such ticket."""
        await self._change(_CLOSE, ref, solution=storable(solution))

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. The reason becomes a note. Raises TicketGoneError when there is no such ticket."""
        await self._change(_REOPEN, ref, reason=storable(reason))

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        rows = await self._run(_GET, number=ref.number)
        return ticket_of(self.name, rows) if rows else None

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend. Every note is internal: nobody but its readers looks into the register."""
        del public
        await self._change(_COMMENT, ref, key=storable(key), text=storable(text))

    async def check(self) -> list[Finding]:
        """Count what is in the register."""
        try:
            rows = await self._run(text("SELECT count(*) FROM csd_builtin.ticket"))
        except OkienkoError as error:
            cure = "see that the database runs and that its user may create the schema csd_builtin"
            return [Finding("csd builtin", Severity.ERROR, str(error), cure)]
        return [Finding("csd builtin", Severity.OK, f"{rows[0][0]} tickets in the register")]

    def _refs(self, rows: Sequence[Row[Any]]) -> dict[UUID, CsdRef]:
        return {key: CsdRef(backend=self.name, number=number) for key, number in map(tuple, rows)}

    async def _change(self, statement: TextClause, ref: CsdRef, **values: Any) -> None:
        if not await self._run(statement, number=ref.number, now=self._now(), **values):
            raise TicketGoneError(
                f"the register has no ticket {ref.number}: another CSD made it, or someone removed it"
            )

    async def _run(self, statement: TextClause, **values: Any) -> Sequence[Row[Any]]:
        if self._engine is None:
            raise _no_database()
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, values)).all()
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error


def _no_database() -> MisconfiguredError:
    return MisconfiguredError(
        "the built-in register needs the service's database: start it with one, or set OKIENKO_CSD"
    )


def _translated(error: Exception) -> OkienkoError:
    # The texts name no values: SQLAlchemy's own message quotes what was to be stored.
    if is_transient(error):
        return TransientError(f"the register's database does not answer now ({type(error).__name__})")
    state = getattr(getattr(error, "orig", None), "sqlstate", "unknown")
    return PermanentError(f"the register's database refused the statement (SQLSTATE {state})")
