"""What the audit does by itself: check the chain once a day and anchor its end once a day, by one process however many run."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions.auditing import check_approvals
from okienko.core.actions.seals import Seals
from okienko.core.audit import anchor as anchors
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.keyring import KeySource
from okienko.core.audit.log import Head, lock_head, record
from okienko.core.audit.verify import Report, verify
from okienko.core.database import raw_connection, transaction
from okienko.plugins.errors import MisconfiguredError

log = structlog.get_logger(__name__)

ACTOR = "okienko"
_ONE = "SELECT pg_try_advisory_xact_lock(hashtext('okienko audit daily'))"
_LAST = "SELECT at, data::text AS data FROM audit_entry WHERE action = $1 AND action IN ('verified', 'anchored') ORDER BY seq DESC LIMIT 1"
_VERIFY_EVERY = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class Done:
    """What was done; None where nothing was due, or another process is at it."""

    report: Report | None = None
    anchor: anchors.Anchor | None = None


async def daily(engine: AsyncEngine, now: datetime, *, keys: KeySource, folder: Path) -> Done:
    """Verify if the last time is a day ago, and anchor if there is no anchor of this day (UTC). May run as often as it likes.

    A broken chain is logged as an error, counted by the metric, and still anchored: what comes after must not be open to
    changes as well. Raises MisconfiguredError when the anchor cannot be written, TransientError when the database is away.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        if not await raw.fetchval(_ONE):
            return Done()
        report = None
        last = await raw.fetchrow(_LAST, AuditAction.VERIFIED.value)
        if last is None or now - last["at"] >= _VERIFY_EVERY:
            report = await check(engine, keys, folder)
            record(raw, [_verified(report, now)])
        last = await raw.fetchrow(_LAST, AuditAction.ANCHORED.value)
        anchor = None
        if last is None or json.loads(last["data"])["date"] != f"{now:%Y-%m-%d}":
            anchor = await _anchor(raw, now, keys, folder)
    return Done(report, anchor)


async def check(engine: AsyncEngine, keys: KeySource, folder: Path) -> Report:
    """Verify against our own anchors and keys, and log the result: a log that is shipped elsewhere is one more witness."""
    started = time.perf_counter()
    found, unreadable = await asyncio.to_thread(anchors.read_folders, [folder])
    report = await verify(engine, found, anchors.trusted_keys(keys.load()), unreadable)
    report.findings += await check_approvals(engine, Seals(keys))
    facts = {
        "action": "audit_verify", "entries": report.entries, "hash": report.hash.hex(), "anchors": report.anchors,
        "seconds": round(time.perf_counter() - started, 3),
    }  # fmt: skip
    broken = report.first_broken
    if broken is None:
        log.info("audit chain is intact", **facts)
    else:
        log.error("audit chain is BROKEN", problem=broken.problem.value, seq=broken.seq, what=broken.text, **facts)
    return report


async def anchor_now(engine: AsyncEngine, now: datetime, *, keys: KeySource, folder: Path, who: str) -> anchors.Anchor:
    """Anchor the chain's end at once, whatever was anchored before. Raises as `daily` does."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        return await _anchor(raw, now, keys, folder, who)


async def _anchor(raw: Any, now: datetime, keys: KeySource, folder: Path, who: str = ACTOR) -> anchors.Anchor:
    """The file is there before the chain tells of it: a crash between the two leaves an anchor too many, never one too few."""
    head: Head = await lock_head(raw)
    last = await raw.fetchrow(_LAST, AuditAction.ANCHORED.value)
    previous = json.loads(last["data"])["anchor"] if last else None
    key = keys.load().current("anchor")
    anchor = anchors.make(head, now, previous, key)
    try:
        path = await asyncio.to_thread(anchors.write, anchor, folder, key)
    except MisconfiguredError:
        log.error("audit not anchored", action="audit_anchor", folder=str(folder))  # noqa: TRY400  who calls tells why
        raise
    data = {"anchor": anchor.digest.hex(), "date": anchor.date, "seq": anchor.seq, "key": anchor.key}
    record(raw, [NewEntry(AuditAction.ANCHORED, now, who, subject=path.name, data=data)])
    log.info("audit anchored", action="audit_anchor", seq=anchor.seq, hash=anchor.hash.hex(), file=path.name)
    return anchor


def _verified(report: Report, now: datetime) -> NewEntry:
    broken = report.first_broken
    data: dict[str, Any] = {"intact": report.intact, "seq": report.entries, "anchors": report.anchors}
    if broken is not None:
        data |= {"problem": broken.problem.value, "broken_seq": broken.seq}
    return NewEntry(AuditAction.VERIFIED, now, ACTOR, reason=broken.text if broken else "", data=data)
