"""What was agreed last, on record: one row for each case with a ticket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.core import cases
from okienko.core.assessing import wants_assessment
from okienko.core.csd.merge import Value
from okienko.core.csd.twoway import REOPEN_REASON, STATUS, Local, Shadow
from okienko.schemas import CaseState, CsdRef, TicketStatus

FIELDS = ("subject", "priority", "queue", "assignee")
_BEGIN = """
INSERT INTO csd_shadow (case_id, fields) SELECT * FROM unnest($1::uuid[], $2::jsonb[]) ON CONFLICT (case_id) DO NOTHING
"""
_FETCH = """
SELECT case_id, fields::text AS fields, sent::text AS sent, revision, version, notes, files, followed, followed_id, lost, news, news_read
FROM csd_shadow WHERE case_id = ANY($1::uuid[])
"""
_SAVE = """
UPDATE csd_shadow SET fields = $2, revision = $3, version = $4, notes = $5, files = $6, sent = '{}', lost = NULL, agreed_at = $7
WHERE case_id = $1
"""
_STATUS = """
UPDATE csd_shadow SET fields = jsonb_set(fields, '{status}', to_jsonb($2::text)), revision = revision + 1 WHERE case_id = $1
"""
_FILES = "UPDATE csd_shadow SET files = ARRAY(SELECT DISTINCT unnest(files || $2::text[])) WHERE case_id = $1"
_SENDING = "UPDATE csd_shadow SET sent = $2 WHERE case_id = $1"
_NEWS = """
WITH known AS (
    SELECT c.id FROM cases c JOIN unnest($2::text[], $3::text[]) AS d(number, key)
    ON c.csd_backend = $1 AND (c.csd_number = d.number OR (d.key <> '' AND c.csd_id = d.key))
    UNION SELECT s.case_id FROM csd_shadow s JOIN cases c ON c.id = s.case_id JOIN unnest($2::text[], $3::text[]) AS d(number, key)
    ON c.csd_backend = $1 AND (s.followed = d.number OR (d.key <> '' AND s.followed_id = d.key))
)
UPDATE csd_shadow s SET news = s.news + 1 FROM known k WHERE s.case_id = k.id
RETURNING s.case_id, s.news - 1 = s.news_read AS first
"""
_ALL_OPEN = """
UPDATE csd_shadow s SET news = s.news + 1 FROM cases c WHERE c.id = s.case_id AND c.csd_backend = $1 AND c.state <> 'closed'
RETURNING s.case_id
"""
_OPEN_ACTIONS = """
SELECT DISTINCT case_id FROM reset_action WHERE case_id = ANY($1::uuid[]) AND state IN ('waiting', 'cooling', 'ready', 'executing')
"""
_SOLUTIONS = "SELECT case_id, solution FROM closing WHERE case_id = ANY($1::uuid[]) ORDER BY id"


async def begin(raw: Any, rows: Iterable[Any]) -> None:
    """Cases (rows of the cases table) have got their tickets: as registered, that is agreed. In the caller's transaction."""
    made = [(row["id"], json.dumps(registered_fields(row["subject"]))) for row in rows]
    if made:
        await raw.execute(_BEGIN, *(list(column) for column in zip(*made, strict=True)))


def registered_fields(subject: str) -> dict[str, Value]:
    """What both sides have when a ticket was made. Its queue and assignee are the system's to choose."""
    return {STATUS: TicketStatus.OPEN.value, "subject": subject, "priority": "normal"}


async def fetch(raw: Any, case_ids: Sequence[UUID]) -> dict[UUID, Any]:
    """The rows of those of the cases that have one."""
    return {row["case_id"]: row for row in await raw.fetch(_FETCH, list(case_ids))}


def to_shadow(row: Any) -> Shadow:
    """The model of a row."""
    return Shadow(
        json.loads(row["fields"]),
        row["revision"],
        row["version"],
        frozenset(row["notes"]),
        frozenset(row["files"]),
        json.loads(row["sent"]),
    )


async def sending(raw: Any, sent: Iterable[tuple[UUID, Mapping[str, Sequence[str]]]]) -> None:
    """These values are on their way to the CSD. In the caller's transaction."""
    rows = sorted((case_id, json.dumps(dict(values))) for case_id, values in sent)
    await raw.executemany(_SENDING, rows)


async def save(raw: Any, agreed: Iterable[tuple[UUID, Shadow]], now: datetime) -> None:
    """Write each case's, in the caller's transaction."""
    rows = [
        (i, json.dumps(dict(s.fields)), s.revision, s.version, sorted(s.notes), sorted(s.files), now)
        for i, s in sorted(agreed, key=lambda one: one[0])
    ]
    await raw.executemany(_SAVE, rows)


async def set_status(raw: Any, case_id: UUID, status: TicketStatus) -> None:
    """okienko moved the ticket, and that is agreed. In the caller's transaction."""
    await raw.execute(_STATUS, case_id, status.value)


async def add_files(raw: Any, attached: Iterable[tuple[UUID, Sequence[str]]]) -> None:
    """okienko attached files. In the caller's transaction."""
    if rows := sorted((case_id, list(keys)) for case_id, keys in attached if keys):
        await raw.executemany(_FILES, rows)


async def local(raw: Any, rows: Sequence[Any]) -> dict[UUID, Local]:
    """The side of each case, from rows of the cases table."""
    ids = [row["id"] for row in rows]
    acting = {r["case_id"] for r in await raw.fetch(_OPEN_ACTIONS, ids)}
    told: dict[UUID, list[str]] = {case_id: [] for case_id in ids}
    for r in await raw.fetch(_SOLUTIONS, ids):
        told[r["case_id"]].append(r["solution"])
    return {row["id"]: _local(row, told[row["id"]], action_open=row["id"] in acting) for row in rows}


def _local(row: Any, solutions: Sequence[str], *, action_open: bool) -> Local:
    case = cases.to_case(row)
    return Local(
        state=case.state,
        fields={name: row[name] for name in FIELDS},
        edited_at=row["edited_at"] or row["opened_at"],
        held=action_open or (wants_assessment(case) and case.state is not CaseState.CLOSED),
        action_open=action_open,
        solution=solutions[-1] if solutions else "",
        own_words=frozenset({REOPEN_REASON, *(text.strip() for text in solutions)}),
    )


def ref_of(row: Any, shadow: Any) -> CsdRef | None:
    """The ticket to be kept in step: the case's own, or the one that it was merged into."""
    ref = cases.to_case(row).csd
    if ref is not None and shadow is not None and shadow["followed"]:
        return CsdRef(backend=ref.backend, number=shadow["followed"], id=shadow["followed_id"] or "")
    return ref


async def news(raw: Any, backend: str, refs: Sequence[CsdRef]) -> tuple[list[UUID], int]:
    """These tickets may have changed, in the caller's transaction: the cases whose job has to be enqueued, and how many are known.

    A case that has unread news already has its job.
    """
    numbers = list(dict.fromkeys((ref.number, ref.id) for ref in refs))
    rows = await raw.fetch(_NEWS, backend, [n for n, _ in numbers], [i for _, i in numbers]) if numbers else []
    return [row["case_id"] for row in rows if row["first"]], len(rows)


async def all_open(raw: Any, backend: str) -> list[UUID]:
    """Every open case has news, because nothing is known of what happened so far."""
    return [row["case_id"] for row in await raw.fetch(_ALL_OPEN, backend)]
