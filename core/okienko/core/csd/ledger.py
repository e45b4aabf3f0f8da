"""The ledger of conflicts: each field that both sides changed, with both values, who won and by which rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.csd.merge import Rule
from okienko.core.csd.twoway import Entry
from okienko.core.database import raw_connection, transaction
from okienko.metrics import catalogue as metrics

FIELDS = ("status", "subject", "priority", "queue", "assignee")
DEFAULT = Rule.CSD
"""The service desk works there."""
_WRITE = """
INSERT INTO csd_conflict (case_id, field, base, okienko, csd, winner, rule, key, at)
SELECT d.case_id, d.field, d.base, d.okienko, d.csd, d.winner, d.rule, d.key, $9
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[]) WITH ORDINALITY
AS d(case_id, field, base, okienko, csd, winner, rule, key, n) ORDER BY d.n
ON CONFLICT (case_id, key) DO NOTHING RETURNING field, winner
"""
_READ = """
SELECT x.id, x.case_id, c.csd_number AS number, x.field, x.base, x.okienko, x.csd, x.winner, x.rule, x.at FROM csd_conflict x
JOIN cases c ON c.id = x.case_id WHERE ($1::uuid IS NULL OR x.case_id = $1) ORDER BY x.id DESC LIMIT $2
"""


def rules_of(policy: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rule of each field by `OKIENKO_CSD_POLICY`."""
    return dict.fromkeys(FIELDS, DEFAULT) | dict(policy)


async def write(raw: Any, found: Iterable[tuple[UUID, int, Sequence[Entry]]], now: datetime) -> None:
    """Write entries of cases, each with its revision, in the caller's transaction.

    What stands there from an attempt that was cut off is not written twice.
    """
    rows = [
        (case_id, e.field, e.base, e.okienko, e.csd, e.winner.value, e.rule, _key(e, revision))
        for case_id, revision, entries in sorted(found, key=lambda one: one[0])
        for e in entries
    ]
    if rows:
        for new in await raw.fetch(_WRITE, *(list(column) for column in zip(*rows, strict=True)), now):
            metrics.CSD_CONFLICTS.labels(new["field"], new["winner"]).inc()


def _key(entry: Entry, revision: int) -> bytes:
    whole = json.dumps([entry.field, revision, entry.base, entry.okienko, entry.csd, entry.winner.value])
    return hashlib.sha256(whole.encode()).digest()


async def of_case(raw: Any, case_id: UUID) -> list[dict[str, Any]]:
    """A case's entries, oldest first."""
    return [dict(row) for row in reversed(await raw.fetch(_READ, case_id, 1000))]


async def read(engine: AsyncEngine, *, case_id: UUID | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The newest entries first."""
    async with transaction(engine) as connection:
        rows = await (await raw_connection(connection)).fetch(_READ, case_id, limit)
    return [dict(row) for row in rows]
