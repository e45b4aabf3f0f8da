"""Migration 0005: cases of before have no repeats, and on the way back what was repeated counts as merged."""

from __future__ import annotations

from typing import Any

from core.recoverykit import Counter
from core.test_migration_actions import to
from okienko.core.database import head_revision, revision, upgrade


async def test_there_and_back_with_a_flood(counter: Counter) -> None:
    from alembic import command

    desk: Any = counter.bench
    for _ in range(3):
        await counter.ask()
    await to(desk.engine, "0003", command.downgrade)
    roles = await desk.rows("SELECT role, count(*) AS n FROM case_message GROUP BY 1 ORDER BY 1")
    assert [(row["role"], row["n"]) for row in roles] == [("merged", 2), ("opened", 1)]
    assert await upgrade(desk.engine)
    assert await revision(desk.engine) == head_revision()
    assert await desk.value("SELECT repeats FROM cases") == 0
    # What is open and has no key takes nothing in; from now on it is as ever.
    second = await counter.ask()
    assert await counter.ask() == second
    assert await desk.value("SELECT count(*) FROM cases") == 2
