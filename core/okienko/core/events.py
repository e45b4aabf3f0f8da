"""Writing events. They are only ever added."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

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


async def append(raw: Any, events: Iterable[NewEvent]) -> None:
    """Write the events in order, in the transaction of `raw` (an asyncpg connection)."""
    rows = [(e.case_id, e.at, e.type.value, e.actor, json.dumps(e.data, ensure_ascii=False)) for e in events]
    if rows:
        await raw.copy_records_to_table("event", records=rows, columns=("case_id", "at", "type", "actor", "data"))
