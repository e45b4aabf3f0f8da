"""Writing events. They are only ever added. What is a look-up, decision, approval or execution goes to the audit as well."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.core.audit import log as audit
from okienko.core.audit.entries import of_event
from okienko.schemas import EventType

ACTOR = "okienko"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is not written yet."""

    case_id: UUID
    type: EventType
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)
    actor: str = ACTOR
    personal: bytes | None = None
    """For the audit only: what `Vault.seal` made of the personal side of it."""


async def append(raw: Any, events: Iterable[NewEvent]) -> None:
    """Write the events in order, in the transaction of `raw` (an asyncpg connection), and have them audited at its commit."""
    events = list(events)
    rows = [(e.case_id, e.at, e.type.value, e.actor, json.dumps(e.data, ensure_ascii=False)) for e in events]
    if rows:
        await raw.copy_records_to_table("event", records=rows, columns=("case_id", "at", "type", "actor", "data"))
    entries = (of_event(e.type, e.case_id, e.at, e.actor, e.data, e.personal) for e in events)
    audit.record(raw, (entry for entry in entries if entry is not None))
