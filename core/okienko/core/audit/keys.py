"""Which keyring belongs to the database; making the first one; rotation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.keyring import VARIABLE, Key, Keyring, KeySource
from okienko.core.audit.log import record
from okienko.core.audit.vault import ROTATING, Vault
from okienko.core.database import raw_connection, transaction
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import FILE_SUFFIX

log = structlog.get_logger(__name__)

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('okienko keyring'))"
_REGISTER = "INSERT INTO keyring (id, purpose, made_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_BATCH = 500


def source_of(home: Path, text: str | None, environ: Mapping[str, str]) -> KeySource:
    """The keyring's source by the settings: OKIENKO_KEYRING, OKIENKO_KEYRING_FILE, or the file in the home folder."""
    named = next((v for k, v in environ.items() if k.upper() == VARIABLE + FILE_SUFFIX), None)
    return KeySource(home=home, text=text, path=Path(named) if named else None)


async def prepare(engine: AsyncEngine, source: KeySource, now: datetime) -> Keyring:
    """The keyring of this database. The first process of all makes it, unless one is configured.

    Raises MisconfiguredError when it is missing, damaged, open to others, or not the one that the database was used with:
    a second keyring would seal what no other process can open.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        # Only the first start has something to write; every other one reads and goes on.
        registered = await _registered(raw)
        if not registered:
            await raw.execute(_LOCK)
            registered = await _registered(raw)
        if not source.exists():
            if registered or not source.own:
                raise MisconfiguredError(_missing(source, registered))
            source.write(Keyring.new())
            log.warning("keyring made: keep a copy in a safe place", action="keyring_made", file=str(source.path))
        ring = source.load()
        ids = {key.id for key in ring.keys}
        if registered and not ids & {key_id for key_id, _ in registered}:
            raise MisconfiguredError(_missing(source, registered))
        for key in ring.keys:
            if (key.id, key.purpose) not in registered:
                await raw.execute(_REGISTER, key.id, key.purpose, now)
        lacking = await raw.fetchval(
            "SELECT master FROM case_key WHERE wrapped IS NOT NULL AND NOT (master = ANY($1::text[])) LIMIT 1",
            list(ids),
        )
        if lacking is not None:
            raise MisconfiguredError(
                f"{source.where} lacks the master key {lacking}, under which keys of cases lie: put it back"
            )
    return ring


async def is_new(engine: AsyncEngine, source: KeySource) -> bool:
    """Whether database and keyring have never been used, so that the first start will make the keyring."""
    if source.exists() or not source.own:
        return False
    async with transaction(engine) as connection:
        return not await _registered(await raw_connection(connection))


async def _registered(raw: Any) -> list[tuple[str, str]]:
    return [(r["id"], r["purpose"]) for r in await raw.fetch("SELECT id, purpose FROM keyring ORDER BY made_at, id")]


def _missing(source: KeySource, registered: list[tuple[str, str]]) -> str:
    if not registered:
        return f"{source.where} does not exist: `okienko vault new-keyring > FILE` makes one"
    names = ", ".join(key_id for key_id, _ in registered)
    return (
        f"this database is used with another keyring (its keys: {names}) than {source.where}: copy the file keys/keyring from "
        f"the home folder of the machine that made it, or name it in {VARIABLE}_FILE"
    )


async def rotate(engine: AsyncEngine, vault: Vault, now: datetime, who: str) -> tuple[str, int]:
    """Put every data key under a new master key; returns the new key's id and how many were re-wrapped.

    With our own file a fresh key is put first; a configured keyring must have got it there already, or only what lies under
    its older keys is re-wrapped. The old key stays in the file until `prune`: running processes take up the change by
    themselves. Interrupted, it is simply run again. Raises MisconfiguredError.
    """
    source = vault.source
    if source.own:
        ring = source.load()
        source.write(Keyring((Key("vault", Keyring.new().current("vault").secret), *ring.keys)))
    current = source.load().current("vault")
    await prepare(engine, source, now)
    total = 0
    while True:
        async with transaction(engine) as connection:
            raw = await raw_connection(connection)
            count = await vault.rewrap(raw, _BATCH)
            total += count
            if not count:
                data = {"master": current.id, "rewrapped": total}
                record(raw, [NewEntry(AuditAction.KEYS_ROTATED, now, who, subject=current.id, data=data)])
                return current.id, total


async def prune(engine: AsyncEngine, vault: Vault, now: datetime, who: str) -> list[str]:
    """Take all master keys but the current one out of our own file, with nothing left under them; returns their ids.

    From then on no backup of the database can bring back what was erased before. Raises MisconfiguredError when the file is
    not ours.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        # While this is held nobody wraps; who wraps next reads the file again and finds the newer keys only.
        await raw.execute(ROTATING)
        source, ring = vault.source, vault.source.load()
        # What was sealed by others while `rotate` ran.
        while await vault.rewrap(raw, _BATCH):
            pass
        current = ring.current("vault")
        gone = [key for key in ring.of("vault") if key != current]
        if gone:
            source.write(Keyring(tuple(key for key in ring.keys if key not in gone)))
            await raw.execute("DELETE FROM keyring WHERE id = ANY($1::text[])", [key.id for key in gone])
            data = {"removed": [key.id for key in gone]}
            record(raw, [NewEntry(AuditAction.KEYS_ROTATED, now, who, subject=current.id, reason="pruned", data=data)])
    return [key.id for key in gone]
