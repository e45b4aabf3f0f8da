"""Migration 0009: what a live installation had asked of the CSD, and what it had queued and parked for it, is done all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy.ext.asyncio import AsyncEngine

from core.test_migration_actions import to
from okienko.core import parking
from okienko.core.database import head_revision, raw_connection, revision, transaction, upgrade
from okienko.core.reconcile import reconcile


async def test_there_and_back_with_work_under_way(store: AsyncEngine, bench: Any, mail: Any, tmp_path: Path) -> None:
    desk = bench(store, tmp_path / "spool")
    one, two, three = mail("jeden"), mail("dwa"), mail("trzy unmet")
    await desk.take(one, two, three)
    await desk.settle()
    ids = {row["subject"]: row["id"] for row in await desk.rows("SELECT id, subject FROM cases")}
    await desk.take(mail("Re: dwa", in_reply_to=(two.message_id,)))
    await desk.step()
    ((kind, _),) = await desk.jobs()
    assert kind == "sync"
    envelope = await desk.value("SELECT envelope_id FROM case_message WHERE role = 'merged'")

    await to(store, "0008", command.downgrade)
    assert await revision(store) == "0008"
    async with transaction(store) as connection:
        raw = await raw_connection(connection)
        await raw.execute("DELETE FROM pgqueuer")
        await raw.execute(
            "INSERT INTO closing (case_id, solution, who, at) VALUES ($1, 'Gotowe.', 'ewa', now())", ids["jeden"]
        )
        await raw.execute(
            "INSERT INTO parked (job, ref, reason, problem, at, state) VALUES ('follow_up', $1, 'refused', 'x', now(), 'parked')",
            envelope,
        )
    assert await upgrade(store)
    assert await revision(store) == head_revision()

    await desk.queue("close", ids["jeden"])
    assert await reconcile(store) == 1, "the closing has its job"
    (parked,) = await parking.list_parked(store)
    await parking.replay(store, [parked.id], desk.clock(), "ewa")
    await desk.settle()
    tickets = {ticket.subject: ticket for ticket in desk.csd.tickets.values()}
    assert (tickets["jeden"].closed, tickets["dwa"].closed) == (True, False)
    assert [m.text for m in desk.channel.sent].count("Gotowe.") == 1
    assert len([n for n in tickets["dwa"].notes if n.key]) == 1
    shadows = {
        r["case_id"]: r["status"]
        for r in await desk.rows("SELECT case_id, fields->>'status' AS status FROM csd_shadow")
    }
    assert shadows == {ids["jeden"]: "closed", ids["dwa"]: "open", ids["trzy unmet"]: "open"}
