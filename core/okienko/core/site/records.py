"""What the pages tell the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit import log as audit
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.database import raw_connection, transaction


class Recorder(Protocol):
    """Writes one entry, lastingly, before it returns. When it raises, the person is shown an error instead of the page."""

    async def __call__(self, action: AuditAction, actor: str, case_id: UUID | None, reason: str, origin: str) -> None:
        """Write it. `reason` never holds personal data, a token or what somebody typed."""
        ...


def record_in_audit(engine: AsyncEngine, now: Callable[[], datetime]) -> Recorder:
    """A Recorder that appends to the audit's chain."""

    async def record(action: AuditAction, actor: str, case_id: UUID | None, reason: str, origin: str) -> None:
        entry = NewEntry(action, now(), actor, case_id, reason=reason, origin=origin)
        async with transaction(engine) as connection:
            audit.record(await raw_connection(connection), [entry])

    return record
