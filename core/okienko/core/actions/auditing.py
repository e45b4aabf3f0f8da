"""Approvals held against the audit, for `okienko audit verify`: none without its entry, and nothing carried out without enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions import people, store
from okienko.core.actions.seals import Seals, Trust
from okienko.core.audit.verify import Finding, Problem
from okienko.core.database import raw_connection, transaction

_BATCH = 500
_LEAST = {"low": 1, "high": 2}
"""Approvals that no policy goes below."""
# An entry of before seals holds no seal; the approval is known by its digest then. What was erased has no digest to compare.
_APPROVALS = """
SELECT a.id, a.risk, a.digest AS own, a.state IN ('executing', 'done') AS executed, p.action_id, p.who, p.at, p.digest, p.checked,
       p.names, p.decision, p.seal, p.sealed_by,
       (SELECT min(e.seq) FROM audit_entry e WHERE e.case_id = a.case_id AND e.action = 'action_approved'
           AND e.data->>'action' = a.id::text
           AND CASE WHEN p.seal IS NULL THEN e.data->>'seal' IS NULL AND e.data->>'digest' = p.digest
                    ELSE e.data->>'seal' = encode(p.seal, 'hex') END) AS entry
FROM reset_action a LEFT JOIN reset_approval p ON p.action_id = a.id ORDER BY a.id, p.at, p.who
"""
_WITHOUT_ACTION = """
SELECT e.seq, e.data->>'action' AS id FROM audit_entry e
WHERE e.action = 'action_executed' AND NOT EXISTS (SELECT FROM reset_action a WHERE a.id::text = e.data->>'action') ORDER BY e.seq
"""


async def check_approvals(engine: AsyncEngine, seals: Seals | None) -> list[Finding]:
    """What is wrong with approvals, in one consistent snapshot and in bounded memory.

    Without `seals` (an auditor without the keyring) only the entries are compared. Raises MisconfiguredError when the keyring
    cannot be read, TransientError when the database is away.
    """
    findings: list[Finding] = []
    async with transaction(engine, snapshot=True) as connection:
        raw = await raw_connection(connection)
        async for rows in _by_action(raw):
            found, counting = _of_action(rows, seals)
            findings += found
            first = rows[0]
            if first["executed"] and len(counting) < (least := _LEAST.get(first["risk"], 2)):
                findings.append(
                    Finding(
                        Problem.APPROVAL, 0,
                        f"the reset action {first['id']} was carried out with {len(counting)} approval(s) that hold; it needs {least}",
                    )
                )  # fmt: skip
        for row in await raw.fetch(_WITHOUT_ACTION):
            text = f"the reset action {row['id']} was carried out by entry {row['seq']}, but its row is gone"
            findings.append(Finding(Problem.APPROVAL, row["seq"], text))
    return findings


async def _by_action(raw: Any) -> AsyncIterator[list[Mapping[str, Any]]]:
    """The rows of one action at a time."""
    group: list[Mapping[str, Any]] = []
    async for row in raw.cursor(_APPROVALS, prefetch=_BATCH):
        if group and group[0]["id"] != row["id"]:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _of_action(rows: list[Mapping[str, Any]], seals: Seals | None) -> tuple[list[Finding], list[str]]:
    """What is wrong with the approvals of an action, and the different people whose approvals hold."""
    findings: list[Finding] = []
    given: list[tuple[str, frozenset[str]]] = []
    for row in rows:
        if row["who"] is None:
            continue
        what = f"the approval of the reset action {row['id']} by {row['who']}"
        if row["entry"] is None:
            findings.append(Finding(Problem.APPROVAL, 0, f"{what} has no entry in the audit: nobody gave it"))
            continue
        if seals is not None and row["own"] and (trust := _trust(row, seals)) is not Trust.GENUINE:
            why = "its key is not in the keyring" if trust is Trust.KEY_MISSING else "its seal is wrong: it was changed"
            findings.append(Finding(Problem.APPROVAL, row["entry"], f"{what} cannot be trusted: {why}"))
            continue
        given.append((row["who"], frozenset(row["names"]) | {row["who"]}))
    return findings, people.distinct(given)


def _trust(row: Mapping[str, Any], seals: Seals) -> Trust:
    """An approval without a seal got this far because its entry has none either: it is of before seals, and the chain holds it."""
    return Trust.GENUINE if row["seal"] is None else store.to_approval(row, seals).trust
