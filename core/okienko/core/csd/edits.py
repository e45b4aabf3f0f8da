"""A person at this window changes fields of a case; the CSD is told by the case's outbox."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.csd import outbox
from okienko.core.csd.outbox import Kind
from okienko.core.database import raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.plugins.csd import Capability, UnsupportedError
from okienko.plugins.errors import PermanentError
from okienko.plugins.ports import CsdBackend
from okienko.schemas import CaseState, EventType, Priority

SETTABLE = {
    "subject": Capability.SUBJECT,
    "priority": Capability.PRIORITY,
    "queue": Capability.QUEUE,
    "assignee": Capability.ASSIGNEE,
}
"""What can be set, if the CSD can."""
_LONGEST = 500


async def set_fields(
    engine: AsyncEngine, csd: CsdBackend, key: str, values: Mapping[str, str], who: str, now: datetime
) -> UUID:
    """Set fields of the case with that id or number. Raises PermanentError that says what cannot be set, and why."""
    wanted = {name: _checked(csd, name, value) for name, value in values.items()}
    if not wanted:
        raise PermanentError(f"nothing to set: write FIELD=VALUE with {', '.join(SETTABLE)}")
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        case_id = await cases.find(raw, key)
        if case_id is None:
            raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
        row = (await cases.fetch(raw, [case_id], lock=True))[case_id]
        if row["state"] == CaseState.DECIDED:
            raise PermanentError("the case waits for its registration in the CSD: set it afterwards")
        if not row["csd_number"]:
            raise PermanentError("the case has no ticket: its answer was the whole work")
        if row["silenced"] == "erased":
            raise PermanentError("the person of the case was erased: nothing is written to it any more")
        new = {name: row[name] for name in SETTABLE} | wanted
        changed = sorted(name for name in wanted if row[name] != new[name])
        if changed:
            await raw.execute(
                "UPDATE cases SET subject = $2, priority = $3, queue = $4, assignee = $5, edited_at = $6 WHERE id = $1",
                case_id, *(new[name] for name in SETTABLE), now,
            )  # fmt: skip
            await outbox.put(raw, [(case_id, Kind.FIELDS, None)], now)
            await outbox.wake(connection, [case_id])
            await append(raw, [NewEvent(case_id, EventType.FIELDS_CHANGED, now, {"fields": changed}, who)])
    return case_id


def _checked(csd: CsdBackend, name: str, value: str) -> str:
    if name not in SETTABLE:
        raise PermanentError(f"{name!r} cannot be set: write FIELD=VALUE with {', '.join(SETTABLE)}")
    if SETTABLE[name] not in csd.capabilities:
        raise UnsupportedError(f"the CSD {csd.name} cannot change the {name} of a ticket: change it there by hand")
    value = " ".join(value.split())
    if not value or len(value) > _LONGEST:
        raise PermanentError(f"{name} must have 1 to {_LONGEST} characters")
    if name == "priority" and value not in list(Priority):
        raise PermanentError(f"{value!r} is no priority: write {', '.join(Priority)}")
    return value
