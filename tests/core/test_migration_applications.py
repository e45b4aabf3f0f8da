"""Migration 0004: a live database gets the table, and the way back leaves nothing that the older program does not know."""

from __future__ import annotations

from uuid import UUID

from alembic import command
from sqlalchemy.ext.asyncio import AsyncEngine

from core.recoverykit import ADA, JAN, NEW, Counter, letter
from core.test_migration_actions import to
from desk import BODY_B
from okienko.core.database import head_revision, raw_connection, revision, transaction, upgrade
from okienko.plugins.signatures import Application
from okienko.schemas import ActionState


async def state(engine: AsyncEngine, action_id: UUID) -> ActionState:
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        return ActionState(await raw.fetchval("SELECT state FROM reset_action WHERE id = $1", action_id))


async def test_there_and_back_with_actions_of_both_kinds(counter: Counter) -> None:
    counter.signs(application=Application())
    case_id = await counter.ask(letter(f"{BODY_B}, login {JAN}", NEW, attachments=[("wniosek.pdf", b"%PDF wniosek")]))
    row = (await counter.bench.rows("SELECT sha256 FROM signed_application"))[0]
    values = {"given_name": "Jan", "family_name": "Próbny", "old_login": JAN, "new_login": NEW}
    await counter.bench.recovery.typing.type(case_id, ADA, sha256=row["sha256"], revision=0, values=values)
    await counter.bench.settle()
    old, new = [action.frozen.action_id for action in await counter.actions_of(case_id)]

    engine = counter.bench.engine
    await to(engine, "0003", command.downgrade)
    assert await revision(engine) == "0003"
    assert (await state(engine, old), await state(engine, new)) == (ActionState.REFUSED, ActionState.EXPIRED)
    assert await upgrade(engine)
    assert await revision(engine) == head_revision()
    assert await counter.bench.rows("SELECT * FROM signed_application") == []
    assert await state(engine, new) is ActionState.EXPIRED
