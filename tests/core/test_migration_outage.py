"""Migration 0010: a live database gets the numbers' columns, and the way back leaves no message that the older program cannot send."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from alembic import command

from core.test_migration_actions import to
from okienko.core.database import head_revision, revision, upgrade


async def test_there_and_back_with_a_case_that_waits(desk: Any, mail: Any) -> None:
    await desk.take(mail())
    await desk.step()
    desk.clock.advance(timedelta(minutes=6))
    assert await desk.delivery.acknowledge() == 1
    await to(desk.engine, "0008", command.downgrade)
    assert await desk.value("SELECT state FROM notification WHERE kind = 'received'") == "failed"
    assert await upgrade(desk.engine)
    assert await revision(desk.engine) == head_revision()
    await desk.settle()
    assert await desk.value("SELECT csd_number || ' ' || number FROM cases") == "ZGL000000001 OK000000001"
