"""What the pages tell the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit import log as audit
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.database import raw_connection, transaction


class Recorded(StrEnum):
    """What is recorded. Decisions themselves are events of the case, and audited as those."""

    VIEWED = "viewed"
    """A person saw a case and its reset action."""
    LISTED = "listed"
    """A person saw the queue."""
    DOWNLOADED = "downloaded"
    """A person downloaded a document."""
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SIGN_IN_FAILED = "sign_in_failed"
    LIMITED = "limited"
    """An address tried too often; once in a period."""
    DENIED = "denied"
    """A signed-in person asked for what their roles do not allow."""
    ADMIN_INVITED = "admin_invited"
    ADMIN_ADDED = "admin_added"
    ADMIN_REMOVED = "admin_removed"


class Recorder(Protocol):
    """Writes one entry, lastingly, before it returns. When it raises, the person is shown an error instead of the page."""

    async def __call__(self, action: Recorded, actor: str, case_id: UUID | None, reason: str, origin: str) -> None:
        """Write it. `reason` never holds personal data, a token or what somebody typed."""
        ...


def record_in_audit(engine: AsyncEngine, now: Callable[[], datetime]) -> Recorder:
    """A Recorder that appends to the audit's chain."""

    async def record(action: Recorded, actor: str, case_id: UUID | None, reason: str, origin: str) -> None:
        entry = NewEntry(AuditAction(action.value), now(), actor, case_id, reason=reason, origin=origin)
        async with transaction(engine) as connection:
            audit.record(await raw_connection(connection), [entry])

    return record
