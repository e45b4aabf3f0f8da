"""The audit's part of `okienko check`: keyring, end of the chain, age of the anchor."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit import anchor
from okienko.core.audit.keyring import KeySource
from okienko.core.audit.keys import is_new
from okienko.core.audit.verify import verify_tail
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import Finding, Severity

TAIL = 1000
"""Entries looked at."""
_OLD = timedelta(hours=26)


async def check(engine: AsyncEngine, keys: KeySource, folder: Path, now: datetime) -> list[Finding]:
    """One finding each for the keyring, the chain's end and the anchors."""
    findings = []
    trusted = {}
    try:
        if await is_new(engine, keys):
            text = f"there is no keyring yet: the first start makes it in {keys.where}"
            findings.append(
                Finding("keyring", Severity.WARNING, text, "start okienko, then keep a copy in a safe place")
            )
        else:
            trusted = anchor.trusted_keys(keys.load())
            findings.append(Finding("keyring", Severity.OK, f"{keys.where} is readable and closed to others"))
    except MisconfiguredError as error:
        findings.append(Finding("keyring", Severity.ERROR, str(error), "the message names it"))
    report = await verify_tail(engine, TAIL)
    if broken := report.first_broken:
        cure = "run `okienko audit verify`, keep database and anchors as they are, and see docs/audit.md"
        findings.append(Finding("audit chain", Severity.ERROR, broken.text, cure))
    else:
        findings.append(Finding("audit chain", Severity.OK, f"the last {report.entries} entries hold"))
    anchors, unreadable = await asyncio.to_thread(anchor.read_folders, [folder])
    good = [a for a in anchors if anchor.signed_by(a, trusted) is None]
    if unreadable or len(good) < len(anchors):
        text = f"{len(unreadable) + len(anchors) - len(good)} file(s) in {folder} are no anchors of this keyring"
        findings.append(Finding("audit anchors", Severity.ERROR, text, "run `okienko audit verify`: it names them"))
    elif not good or now - good[-1].at > _OLD:
        text = f"the last anchor in {folder} is of {good[-1].date}" if good else f"there is no anchor in {folder} yet"
        findings.append(
            Finding(
                "audit anchors",
                Severity.WARNING,
                text,
                "`okienko serve` makes one each day; `okienko audit anchor` at once",
            )
        )
    else:
        findings.append(
            Finding("audit anchors", Severity.OK, f"the last one is of {good[-1].date}, entry {good[-1].seq}")
        )
    return findings
