"""Taking in: durable before the answer, once by external id, nothing on failure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from okienko.core import envelopes
from okienko.core.batching import Batcher
from okienko.core.intake import INLINE_LIMIT, DurableIntake
from okienko.plugins.errors import TooLargeError, TransientError
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName


def item(
    data: bytes = b"x", external_id: str | None = None, source: str = "imap:a", path: Path | None = None
) -> RawItem:
    raw = RawContent(path=path) if path else RawContent(data)
    return RawItem(ChannelName.EMAIL, "email", source, raw, external_id=external_id)


async def test_envelope_and_job_in_one_commit(desk: Any) -> None:
    envelope_id = await desk.intake.accept(item(b"abc"))
    (row,) = await desk.rows("SELECT id, raw, outcome, size FROM envelope")
    assert row == {"id": envelope_id, "raw": b"abc", "outcome": "received", "size": 3}
    assert await desk.jobs() == [("process", envelope_id)]


async def test_external_id_once(desk: Any) -> None:
    first = await desk.intake.accept(item(external_id="1.7"))
    same = await asyncio.gather(*(desk.intake.accept(item(external_id="1.7")) for _ in range(5)))
    assert set(same) == {first}
    others = await asyncio.gather(
        desk.intake.accept(item(external_id="1.8")),
        desk.intake.accept(item(external_id="1.7", source="imap:b")),
        desk.intake.accept(item()),
        desk.intake.accept(item()),
    )
    assert len({first, *others}) == 5
    assert len(await desk.jobs()) == 5


async def test_external_id_once_between_two_processes(desk: Any) -> None:
    intakes = [DurableIntake(desk.engine, desk.clock, max_size=100, batch_size=10) for _ in range(4)]
    wanted = [item(external_id=str(n)) for n in range(20)]
    found = await asyncio.gather(*(one.accept(i) for one in intakes for i in wanted))
    assert len(set(found)) == 20
    assert await desk.value("SELECT count(*) FROM envelope") == 20
    assert len(await desk.jobs()) == 20


async def test_large_in_chunks(desk: Any, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096 * 2 + b"end"
    path = tmp_path / "large"
    path.write_bytes(data)
    envelope_id = await desk.intake.accept(item(path=path))
    assert len(data) > INLINE_LIMIT
    assert await desk.value("SELECT raw FROM envelope") is None
    assert await desk.value("SELECT count(*) FROM envelope_chunk") == 3
    async with envelopes.load(desk.engine, [envelope_id], spool=tmp_path / "spool") as (loaded,):
        assert loaded.raw.read() == data
    assert list((tmp_path / "spool").iterdir()) == []


async def test_too_large(desk: Any) -> None:
    with pytest.raises(TooLargeError):
        await desk.intake.accept(item(b"x" * (desk.intake._max_size + 1)))
    assert await desk.value("SELECT count(*) FROM envelope") == 0


async def test_nothing_on_failure(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job cannot be queued: then there is no envelope either, and the source keeps the mail."""
    await desk.rows("ALTER TABLE pgqueuer RENAME TO away")
    with pytest.raises(Exception, match="pgqueuer"):
        await desk.intake.accept(item(external_id="1"))
    await desk.rows("ALTER TABLE away RENAME TO pgqueuer")
    assert await desk.value("SELECT count(*) FROM envelope") == 0
    await desk.intake.accept(item(external_id="1"))
    assert await desk.value("SELECT count(*) FROM envelope") == 1


async def test_a_restarted_database_is_transient_and_then_forgotten(desk: Any, mail: Any) -> None:
    """Every pooled connection is dead at once: no later call may be lent one of them for ever."""
    await asyncio.gather(*(desk.rows("SELECT pg_sleep(0.05)") for _ in range(6)))
    ids = await desk.take(mail())
    for attempt in (desk.pipeline.process, desk.delivery.notify, desk.delivery.register):
        await asyncio.gather(*(desk.rows("SELECT pg_sleep(0.05)") for _ in range(6)))
        await desk.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _ in range(3):
            (result,) = await attempt(ids)
            if result is None:
                break
            assert isinstance(result, TransientError)
        assert result is None, "the pool lends dead connections out again and again"
    assert await desk.value("SELECT count(*) FROM cases") == 1


async def test_concurrent_takers_share_commits(desk: Any) -> None:
    sizes: list[int] = []
    store = desk.intake._store

    async def counting(items: Any) -> Any:
        sizes.append(len(items))
        return await store(items)

    desk.intake._small = Batcher[RawItem, UUID](counting, limit=100, parallel=2)
    await asyncio.gather(*(desk.intake.accept(item()) for _ in range(250)))
    assert sum(sizes) == 250
    assert len(sizes) <= 4
