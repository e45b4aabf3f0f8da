"""The register's tables, and how an installation's older ones are brought up to date without losing or rewriting a row."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

FIRST = (
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
"""As they were first; okienko 0.1 before the two-way port made these. Never edited."""

BOTH_WAYS = (
    "CREATE SEQUENCE IF NOT EXISTS csd_builtin.change_seq",
    # Each new column is nullable or has a constant default, so that no row is rewritten.
    """
    ALTER TABLE csd_builtin.ticket
        ADD COLUMN IF NOT EXISTS requester_name text,
        ADD COLUMN IF NOT EXISTS channel text NOT NULL DEFAULT 'email',
        ADD COLUMN IF NOT EXISTS case_number text NOT NULL DEFAULT '',
        ADD COLUMN IF NOT EXISTS priority text NOT NULL DEFAULT 'normal',
        ADD COLUMN IF NOT EXISTS queue text,
        ADD COLUMN IF NOT EXISTS assignee text,
        ADD COLUMN IF NOT EXISTS updated_at timestamptz,
        ADD COLUMN IF NOT EXISTS changed bigint NOT NULL DEFAULT 0,
        DROP CONSTRAINT IF EXISTS ticket_status_check,
        ADD CONSTRAINT ticket_status_check CHECK (status IN ('open', 'pending', 'closed')) NOT VALID
    """,
    "CREATE INDEX IF NOT EXISTS ticket_changed ON csd_builtin.ticket (changed) WHERE changed > 0",
    """
    ALTER TABLE csd_builtin.note
        ADD COLUMN IF NOT EXISTS public boolean NOT NULL DEFAULT false,
        ADD COLUMN IF NOT EXISTS place bigint NOT NULL DEFAULT 0
    """,
    """
    CREATE TABLE IF NOT EXISTS csd_builtin.file (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        number text NOT NULL REFERENCES csd_builtin.ticket (number),
        filename text NOT NULL,
        media_type text NOT NULL,
        size bigint NOT NULL,
        sha256 text NOT NULL,
        at timestamptz NOT NULL,
        UNIQUE (number, filename, sha256)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS csd_builtin.file_chunk (
        file bigint NOT NULL REFERENCES csd_builtin.file (id) ON DELETE CASCADE,
        place int NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (file, place)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS csd_builtin.link (
        number text NOT NULL REFERENCES csd_builtin.ticket (number),
        other text NOT NULL REFERENCES csd_builtin.ticket (number),
        PRIMARY KEY (number, other)
    )
    """,
)
"""The second step; `link` is made last, so that its presence shows that the step is done."""

_STEPS = (("csd_builtin.note", FIRST), ("csd_builtin.link", BOTH_WAYS))


async def prepare(connection: AsyncConnection) -> None:
    """Make or update the tables, in the caller's transaction: all of it or nothing. Idempotent, also at once in many processes."""
    # CREATE … IF NOT EXISTS by itself fails when two processes start at once.
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('okienko csd_builtin'))"))
    # Whoever reads the table for long is not waited for while everyone else waits behind us: this start fails and is tried again.
    await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    for witness, statements in _STEPS:
        if await connection.scalar(text("SELECT to_regclass(:name)"), {"name": witness}) is None:
            for statement in statements:
                await connection.execute(text(statement))
