"""Migration 0006 on a database at work: open actions stay whole, and the way back ends what the older program cannot know."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.recoverykit import ADA, Counter
from core.test_migration_actions import to
from core.test_service_requests import conflict
from okienko.core.database import raw_connection, revision, transaction, upgrade
from okienko.core.desk import list_actions
from okienko.schemas import ActionState

_ROWS = "SELECT a.state, a.steps, a.digest, c.state AS case_state FROM reset_action a JOIN cases c ON c.id = a.case_id ORDER BY c.seq"


async def rows(engine: AsyncEngine) -> list[dict[str, Any]]:
    async with transaction(engine) as connection:
        return [dict(row) for row in await (await raw_connection(connection)).fetch(_ROWS)]


@pytest.mark.parametrize("ended", [False, True])
async def test_up_with_open_actions_and_down_again(counter: Counter, ended: bool) -> None:
    from alembic import command

    engine = counter.bench.engine
    await counter.ask()
    assert (await counter.approve(ADA)).state is ActionState.READY
    await counter.bench.settle()

    await conflict(counter)
    if ended:
        (_, action) = await counter.actions()
        await counter.bench.recovery.approvals.refuse(action.frozen.action_id, ADA, reason="x", solution="x")
        await counter.bench.settle()
    await to(engine, "0003", command.downgrade)
    assert await revision(engine) == "0003"
    password, conflicted = await rows(engine)
    assert (password["state"], password["digest"]) == ("done", "")
    assert (conflicted["steps"], conflicted["digest"]) == (["by_hand"], "")
    expected = ("refused", "closed") if ended else ("expired", "human_review")
    assert (conflicted["state"], conflicted["case_state"]) == expected
    assert await upgrade(engine)
    assert [row["tampered"] for row in await list_actions(engine, counter.bench.seals, everything=True)] == [
        False,
        False,
    ]
