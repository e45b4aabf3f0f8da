"""Migration 0003: actions of before, which were all done by hand, get what a digest is made of, and the way back is open."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions import store
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Risk
from okienko.core.actions.seals import Seals, Trust
from okienko.core.audit.keyring import Keyring, KeySource
from okienko.core.database import _alembic_config, raw_connection, revision, transaction, upgrade
from okienko.core.desk import list_actions
from okienko.core.reconcile import reconcile
from okienko.schemas import ActionState

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
DECISION = {
    "results": [{"rule": "A4", "verdict": "unknown", "evidence": "żadnych dowodów", "text_pl": "", "text_en": ""}]
}


async def to(engine: AsyncEngine, target: str, way: Callable[..., None]) -> None:
    """Alembic to that revision."""

    def run(connection: sa.Connection) -> None:
        config = _alembic_config()
        config.attributes["connection"] = connection
        way(config, target)

    async with engine.begin() as connection:
        await connection.run_sync(run)


async def old_action(raw: Any, procedure: str, state: str, address: str | None = "jan@poczta.example") -> UUID:
    """A case with its action, as a program at 0002 wrote them."""
    case_id, action_id = uuid4(), uuid4()
    await raw.execute(
        "INSERT INTO cases (id, kind, procedure, state, channel, connector, mailbox, subject, requester_address, decision, "
        "description, csd_backend, csd_number, opened_at) "
        "VALUES ($1, 'recovery', $2, 'human_review', 'email', 'memory', 'default', 'HASŁO', $3, $4, '', 'memory', 'ZGL1', $5)",
        case_id, procedure, address, json.dumps(DECISION), AT,
    )  # fmt: skip
    ended = None if state == "waiting" else AT
    await raw.execute(
        "INSERT INTO reset_action (id, case_id, backend, procedure, state, must_check, created_at, ended_at, ended_by) "
        "VALUES ($1, $2, 'manual', $3, $4, '{A4}', $5, $6, $7)",
        action_id, case_id, procedure, state, AT, ended, "ewa" if ended else None,
    )  # fmt: skip
    return action_id


@pytest.fixture
async def old(engine: AsyncEngine) -> dict[str, UUID]:
    """A database at 0002 with actions."""
    from alembic import command

    await to(engine, "0002", command.upgrade)
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        return {
            "waiting": await old_action(raw, "emergency_password", "waiting"),
            "change": await old_action(raw, "emergency_password_and_email", "waiting"),
            "done": await old_action(raw, "emergency_password", "done"),
            "nobody": await old_action(raw, "emergency_password", "refused", None),
        }


@pytest.fixture
def seals(tmp_path: Path) -> Seals:
    """Of this installation's keyring."""
    return Seals(KeySource(home=tmp_path, text=Keyring.new().text()))


async def test_old_actions_are_whole_and_by_hand(engine: AsyncEngine, old: dict[str, UUID], seals: Seals) -> None:
    assert await upgrade(engine)
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        found = {name: await store.fetch(raw, seals, identity) for name, identity in old.items()}
    assert {name: (a.state, a.risk) for name, a in found.items()} == {
        "waiting": (ActionState.WAITING, Risk.LOW),
        "change": (ActionState.WAITING, Risk.HIGH),
        "done": (ActionState.DONE, Risk.LOW),
        "nobody": (ActionState.REFUSED, Risk.LOW),
    }
    for name, action in found.items():
        assert action.frozen.steps == (Step.BY_HAND,)
        assert action.frozen.must_check == ("A4",)
        assert action.frozen.old_login == ("" if name == "nobody" else "jan@poczta.example")
        assert action.expires_at == AT + timedelta(days=30)
    assert [row["tampered"] for row in await list_actions(engine, seals, everything=True)] == [False] * 4
    # They expire like others, and their cases are not assessed a second time.
    assert await reconcile(engine) == 2
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        assert {row["entrypoint"] for row in await raw.fetch("SELECT entrypoint FROM pgqueuer")} == {"expire"}


async def test_down_to_what_the_older_program_knows(engine: AsyncEngine, old: dict[str, UUID]) -> None:
    from alembic import command

    states = ("waiting", "cooling", "ready", "executing", "done", "refused", "expired", "stopped", "failed")
    assert await upgrade(engine)
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        await raw.execute("DELETE FROM reset_action WHERE id <> $1", old["waiting"])
        for state in states:
            case_id = uuid4()
            await raw.execute(
                "INSERT INTO cases (id, kind, procedure, state, channel, connector, mailbox, subject, decision, description, opened_at) "
                "SELECT $1, kind, procedure, state, channel, connector, mailbox, subject, decision, description, opened_at "
                "FROM cases LIMIT 1",
                case_id,
            )
            await raw.execute(
                "INSERT INTO reset_action (id, case_id, backend, procedure, risk, state, old_login, steps, must_check, decision_sha256, "
                "digest, handlers, created_at, expires_at, reason) VALUES (gen_random_uuid(), $1, 'm', 'emergency_password', 'low', $2, "
                "$2, '{by_hand}', '{}', '', '', '{}', $3, $3, 'x')",
                case_id, state, AT,
            )  # fmt: skip
    await to(engine, "0002", command.downgrade)
    assert await revision(engine) == "0002"
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await raw.fetch("SELECT state, count(*) AS n FROM reset_action GROUP BY state")
    assert {row["state"]: row["n"] for row in rows} == {"waiting": 5, "done": 1, "refused": 4}
    assert await upgrade(engine)


@pytest.mark.parametrize("keyring", [True, False])
async def test_open_actions_are_approved_anew_once_there_are_seals(
    engine: AsyncEngine, old: dict[str, UUID], seals: Seals, keyring: bool
) -> None:
    """Approvals of before cannot be told from forged ones. What is open is sealed by the upgrade itself, and by nothing later."""
    from alembic import command

    await to(engine, "0003", command.upgrade)
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        await raw.execute(
            "UPDATE reset_action SET state = 'cooling', not_before = now(), stop_sha256 = '' WHERE id = $1",
            old["change"],
        )
        await raw.execute("UPDATE reset_action SET state = 'executing' WHERE id = $1", old["waiting"])
        await raw.execute("UPDATE cases SET state = 'registered'")
        await raw.execute("INSERT INTO reset_approval SELECT id, 'ada', now(), digest, '{A4}' FROM reset_action")
    told = await upgrade(engine, partial(store.seal_open, seals=seals) if keyring else None)
    assert ("1 open reset action(s) sealed: each has to be approved anew" in told) is keyring
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        found = {name: await store.fetch(raw, seals, identity) for name, identity in old.items()}
        human = await raw.fetchval("SELECT count(*) FROM cases WHERE state = 'human_review'")
    change, cut = found["change"], found["waiting"]
    assert (change.state, change.not_before, change.approvals) == (ActionState.WAITING, None, ())
    assert change.trust is (Trust.GENUINE if keyring else Trust.UNSEALED)
    assert (cut.state, "look at the account" in str(cut.reason), human) == (ActionState.FAILED, True, 1)
    assert [a.trust for a in found["done"].approvals] == [Trust.UNSEALED]
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        await raw.execute("UPDATE reset_action SET seal = NULL, sealed_by = NULL WHERE id = $1", old["change"])
    assert await upgrade(engine, partial(store.seal_open, seals=seals)) == []
    async with transaction(engine) as connection:
        again = await store.fetch(await raw_connection(connection), seals, old["change"])
    assert again.trust is Trust.UNSEALED
