"""Parked work: shown, replayed once, dropped for good; never lost between two commits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from okienko.core import parking
from okienko.core.database import raw_connection, transaction
from okienko.core.jobs import Job
from okienko.core.ledger import read_ledger
from okienko.core.parking import Choice, ParkReason, choose, drop, list_parked, park, problem_of, reason_of, replay
from okienko.plugins.errors import (
    MisconfiguredError,
    PermanentError,
    PluginLoadError,
    TooLargeError,
    UnreadableError,
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreadableError("x"), ParkReason.UNREADABLE),
        (TooLargeError("x"), ParkReason.TOO_LARGE),
        (PermanentError("x"), ParkReason.REFUSED),
        (MisconfiguredError("x"), ParkReason.MISCONFIGURED),
        (PluginLoadError("x"), ParkReason.MISCONFIGURED),
        (ValueError("PESEL 02670803626"), ParkReason.DEFECT),
    ],
)
def test_reasons(error: Exception, reason: ParkReason) -> None:
    assert reason_of(error) is reason
    assert "02670803626" not in problem_of(error)


async def test_replay_once(desk: Any, mail: Any) -> None:
    desk.pack.failures["zepsute"] = PermanentError("bad")
    (envelope_id,) = await desk.take(mail("zepsute"))
    await desk.step()
    (parked,) = await list_parked(desk.engine)
    assert (parked.job, parked.ref, parked.problem, parked.source) == ("process", envelope_id, "bad", "test")
    assert await replay(desk.engine, [parked.id], desk.clock(), "ewa") == [parked.id]
    assert await replay(desk.engine, [parked.id], desk.clock(), "ewa") == []
    assert await desk.jobs() == [("process", envelope_id)]
    assert (await read_ledger(desk.engine)).balance == 1
    await desk.step()
    assert len(await list_parked(desk.engine)) == 1, "it is bad still, and parked again"
    assert len(await list_parked(desk.engine, everything=True)) == 2
    assert (await read_ledger(desk.engine)).balance == 0
    desk.pack.failures.clear()
    await replay(desk.engine, [p.id for p in await list_parked(desk.engine)], desk.clock(), "ewa")
    await desk.settle()
    assert await desk.value("SELECT state FROM cases") == "registered"
    assert (await read_ledger(desk.engine)).balance == 0


async def test_a_replay_that_breaks_off_changes_nothing(desk: Any, mail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before its last statement, it must not have taken the work off the list without queueing it."""
    desk.pack.failures["zepsute"] = PermanentError("bad")
    await desk.take(mail("zepsute"))
    await desk.step()
    (parked,) = await list_parked(desk.engine)

    async def killed(*_: object) -> None:
        raise RuntimeError("kill -9")

    with monkeypatch.context() as patch:
        patch.setattr(parking, "enqueue", killed)
        with pytest.raises(RuntimeError, match="kill -9"):
            await replay(desk.engine, [parked.id], desk.clock(), "ewa")
    assert await list_parked(desk.engine) == [parked]
    assert await desk.value("SELECT outcome FROM envelope") == "parked"


async def test_drop(desk: Any, mail: Any) -> None:
    await desk.take(b"no message", mail())
    await desk.settle()
    (parked,) = await list_parked(desk.engine)
    assert await drop(desk.engine, [parked.id], desk.clock(), "ewa") == [parked.id]
    assert await drop(desk.engine, [parked.id], desk.clock(), "ewa") == []
    assert await replay(desk.engine, [parked.id], desk.clock(), "ewa") == []
    assert await list_parked(desk.engine) == []
    row = (await desk.rows("SELECT outcome, reason, raw FROM envelope WHERE id = $1", parked.envelope_id))[0]
    assert row == {"outcome": "suppressed", "reason": "dropped", "raw": b"no message"}
    ledger = await read_ledger(desk.engine)
    assert (ledger.received, ledger.suppressed, ledger.balance) == (2, 1, 0)


async def test_a_choice_fits_all_that_it_says(desk: Any) -> None:
    start, hour = desk.clock(), timedelta(hours=1)
    wanted = [
        (Job.REGISTER, PermanentError("no")),
        (Job.NOTIFY, PermanentError("no")),
        (Job.REGISTER, MisconfiguredError("set X")),
    ]
    for job, error in wanted * 2:
        async with transaction(desk.engine) as connection:
            await park(await raw_connection(connection), job, uuid4(), None, error, desk.clock())
        desk.clock.advance(hour)

    async def chosen(**choice: Any) -> list[int]:
        return [item.id for item in await choose(desk.engine, Choice(**choice))]

    assert await chosen() == [1, 2, 3, 4, 5, 6]
    assert await chosen(ranges=((2, 3), (6, 6), (9, 99))) == [2, 3, 6]
    assert await chosen(since=start + hour, until=start + 4 * hour) == [2, 3, 4]
    assert await chosen(job=Job.REGISTER) == [1, 3, 4, 6]
    assert await chosen(job=Job.REGISTER, reason=ParkReason.REFUSED, since=start + hour) == [4]
    assert await replay(desk.engine, await chosen(job=Job.REGISTER), desk.clock(), "ewa") == [1, 3, 4, 6]
    assert await chosen() == [2, 5]
