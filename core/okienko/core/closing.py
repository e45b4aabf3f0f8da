"""Asking for a case to be closed, in the transaction of what ended it. The CSD is told by a job, then comes mail 2."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from okienko.core.csd import outbox
from okienko.core.csd.outbox import Kind


async def request_close(
    connection: AsyncConnection, raw: Any, case_id: UUID, solution: str, who: str, now: datetime
) -> None:
    """Note the solution that the person will read, and put the closing into the case's outbox."""
    await raw.execute(
        "INSERT INTO closing (case_id, solution, who, at) VALUES ($1, $2, $3, $4)", case_id, solution, who, now
    )
    await outbox.put(raw, [(case_id, Kind.CLOSE, None)], now)
    await outbox.wake(connection, [case_id])
