"""Cases as rows and as models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from okienko.plugins.ports import Classification
from okienko.schemas import (
    Address,
    Case,
    CaseKind,
    CaseState,
    ChannelName,
    CsdRef,
    Decision,
    Person,
    Procedure,
)

COLUMNS = (
    "id, seq, number, acknowledged_at, asked_at, "
    "kind, procedure, state, channel, connector, mailbox, subject, requester_name, requester_address, "
    "person::text AS person, decision::text AS decision, "
    "description, origin_message_id, silenced, csd_backend, csd_number, csd_id, opened_at, closed_at, priority, queue, assignee, edited_at"
)


def to_case(row: Any) -> Case:
    """The model of a row of the cases table."""
    return Case(
        id=row["id"],
        number=row["number"],
        kind=CaseKind(row["kind"]),
        procedure=Procedure(row["procedure"]) if row["procedure"] else None,
        state=CaseState(row["state"]),
        channel=ChannelName(row["channel"]),
        mailbox=row["mailbox"],
        subject=row["subject"],
        requester=Address(name=row["requester_name"] or "", address=row["requester_address"])
        if row["requester_address"]
        else None,
        person=Person.model_validate_json(row["person"]) if row["person"] else None,
        decision=Decision.model_validate_json(row["decision"]),
        csd=CsdRef(backend=row["csd_backend"], number=row["csd_number"], id=row["csd_id"] or "")
        if row["csd_number"]
        else None,
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
    )


# NO KEY: a worker that adds a mail to the case need not wait for us.
_LOCKS = {True: " FOR NO KEY UPDATE", False: ""}


async def fetch(raw: Any, ids: Sequence[UUID], *, lock: bool = False) -> dict[UUID, Any]:
    """Rows of the cases, by id; with `lock` nobody else changes them until the transaction ends."""
    sql = f"SELECT {COLUMNS} FROM cases WHERE id = ANY($1::uuid[]) ORDER BY seq{_LOCKS[lock]}"  # noqa: S608  constants
    return {row["id"]: row for row in await raw.fetch(sql, list(ids))}


async def find(raw: Any, key: str) -> UUID | None:
    """The case with that id, CSD number or number of okienko's own, or None."""
    try:
        wanted = UUID(key)
    except ValueError:
        row = await raw.fetchrow(
            "SELECT id FROM cases WHERE csd_number = $1 OR number = $1 ORDER BY csd_number = $1 DESC NULLS LAST LIMIT 1",
            key.strip().upper(),
        )
    else:
        row = await raw.fetchrow("SELECT id FROM cases WHERE id = $1", wanted)
    return row["id"] if row else None


def classification(row: Any) -> Classification:
    """What kind of matter a row of the cases table is."""
    return Classification(CaseKind(row["kind"]), Procedure(row["procedure"]) if row["procedure"] else None)


def loads(text: str | None) -> Any:
    """JSON from a column, or None."""
    return None if text is None else json.loads(text)


async def to_human_review(raw: Any, case_id: UUID) -> None:
    """A registered case whose reset action came to nothing waits for a person."""
    await raw.execute("UPDATE cases SET state = 'human_review' WHERE id = $1 AND state = 'registered'", case_id)
