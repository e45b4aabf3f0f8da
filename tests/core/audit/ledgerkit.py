"""A migrated database with an audit in it, and the hand of an intruder who owns the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit import chain
from okienko.core.audit.anchor import read_folders, trusted_keys
from okienko.core.audit.daily import anchor_now
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.keyring import KeySource
from okienko.core.audit.keys import prepare
from okienko.core.audit.log import record
from okienko.core.audit.verify import COLUMNS, Report, _body, verify_on
from okienko.core.database import raw_connection, transaction, upgrade

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def entry(n: int, **more: Any) -> NewEntry:
    """The n-th entry of a test."""
    at = START + timedelta(seconds=n)
    return NewEntry(AuditAction.DECIDED, at, "puesc", UUID(int=n), f"sprawa {n}", "met: C3", {"n": n}, **more)


@asynccontextmanager
async def raw_transaction(engine: AsyncEngine) -> AsyncIterator[Any]:
    """An asyncpg connection inside okienko's own transaction."""
    async with transaction(engine) as connection:
        yield await raw_connection(connection)


async def write(engine: AsyncEngine, entries: Sequence[NewEntry]) -> None:
    """Append in one transaction."""
    async with raw_transaction(engine) as raw:
        record(raw, entries)


async def fill(engine: AsyncEngine, count: int) -> None:
    """`count` entries in transactions of three."""
    for first in range(1, count + 1, 3):
        await write(engine, [entry(n) for n in range(first, min(first + 3, count + 1))])


@dataclass
class Laid:
    """A chain of 35 entries, with anchors over entries 15 and 31 (told of by entries 16 and 32)."""

    engine: AsyncEngine
    keys: KeySource
    folder: Path

    async def check(self, raw: Any, *, without: str = "") -> Report:
        """The whole check as the intruder's transaction sees the chain; `without`: no anchors of files with that name."""
        found, unreadable = read_folders([self.folder])
        found = [anchor for anchor in found if not without or not anchor.source.startswith(without)]
        return await verify_on(raw, found, trusted_keys(self.keys.load()), unreadable)


async def lay(engine: AsyncEngine, home: Path) -> Laid:
    """Make the chain."""
    await upgrade(engine)
    laid = Laid(engine, KeySource(home=home), home / "anchors")
    await prepare(engine, laid.keys, START)
    await fill(engine, 15)
    for day, more in ((1, 15), (2, 3)):
        now = START + timedelta(days=day)
        await anchor_now(engine, now, keys=laid.keys, folder=laid.folder, who="okienko")
        await fill(engine, more)
    return laid


@asynccontextmanager
async def intruder(engine: AsyncEngine) -> AsyncIterator[Any]:
    """A superuser's connection on which no trigger fires and no key is unique; what it does is rolled back at the end."""
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        attack = raw.transaction()
        await attack.start()
        try:
            await raw.execute("ALTER TABLE audit_entry DISABLE TRIGGER ALL; ALTER TABLE audit_head DISABLE TRIGGER ALL")
            await raw.execute("ALTER TABLE audit_entry DROP CONSTRAINT pk_audit_entry")
            yield raw
        finally:
            await attack.rollback()


async def relink(raw: Any, start: int) -> None:
    """What a patient intruder does: every link from `start` on is made anew, and the head with them."""
    head = await raw.fetchrow("SELECT chain FROM audit_head")
    prev = await raw.fetchval("SELECT hash FROM audit_entry WHERE seq = $1", start - 1) or chain.genesis(head["chain"])
    rows = await raw.fetch(f"SELECT {COLUMNS} FROM audit_entry WHERE seq >= $1 ORDER BY seq", start)
    for row in rows:
        link = chain.link(prev, row["seq"], _body(row))
        await raw.execute("UPDATE audit_entry SET prev = $2, hash = $3 WHERE seq = $1", row["seq"], prev, link)
        prev = link
    await raw.execute("UPDATE audit_head SET seq = (SELECT max(seq) FROM audit_entry), hash = $1", prev)
