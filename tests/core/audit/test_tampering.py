"""Whatever an owner of the database does to the chain is found, and the right place is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from core.audit.ledgerkit import Laid, intruder, lay, relink
from okienko.core.audit.chain import genesis
from okienko.core.audit.verify import Problem, verify_tail

LENGTH, ANCHORED = 35, 31
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
places = st.integers(1, LENGTH)

EDITS = {
    "actor": "actor || 'x'",
    "action": "'erased'",
    "subject": "subject || ' '",
    "reason": "upper(reason) || '!'",
    "origin": "'elsewhere'",
    "at": "at + interval '1 microsecond'",
    "case_id": "gen_random_uuid()",
    "no case": "NULL",
    "data": """data || '{"more": 1}'""",
    "a fraction": """'{"n": 1.5}'""",
    "no object": "'[1]'",
    "personal": "'\\x01'",
    "prev": "set_byte(prev, 31, get_byte(prev, 31) # 1)",
    "hash": "set_byte(hash, 0, get_byte(hash, 0) # 128)",
}
COLUMN = {"no case": "case_id", "a fraction": "data", "no object": "data"}


@pytest.fixture
async def laid(engine: AsyncEngine, tmp_path: Path) -> Laid:
    return await lay(engine, tmp_path)


async def first(laid: Laid, raw: Any) -> tuple[Problem, int]:
    report = await laid.check(raw)
    assert not report.intact
    assert report.first_broken is not None
    return report.first_broken.problem, report.first_broken.seq


async def test_an_untouched_chain_is_intact(laid: Laid) -> None:
    async with intruder(laid.engine) as raw:
        report = await laid.check(raw)
    assert report.intact, report.findings
    assert (report.entries, report.anchors, report.anchored_seq) == (LENGTH, 2, ANCHORED)
    assert (await verify_tail(laid.engine, 10)).intact
    assert (await verify_tail(laid.engine, 10_000)).entries == LENGTH


@many
@given(seq=places)
async def test_deletion(laid: Laid, seq: int) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("DELETE FROM audit_entry WHERE seq = $1", seq)
        assert await first(laid, raw) == (Problem.TAIL_CUT if seq == LENGTH else Problem.DELETED, seq)


@many
@given(seq=places, what=st.sampled_from(sorted(EDITS)))
async def test_editing(laid: Laid, seq: int, what: str) -> None:
    async with intruder(laid.engine) as raw:
        before = await raw.fetchrow("SELECT * FROM audit_entry WHERE seq = $1", seq)
        await raw.execute(f"UPDATE audit_entry SET {COLUMN.get(what, what)} = {EDITS[what]} WHERE seq = $1", seq)
        if await raw.fetchrow("SELECT * FROM audit_entry WHERE seq = $1", seq) == before:
            return  # it was NULL already
        report = await laid.check(raw)
        finding = report.first_broken
        assert finding is not None
        assert (finding.problem, finding.seq) == (Problem.ALTERED, seq)
        assert report.entries == seq - 1
        times = {
            row["seq"]: row["at"]
            for row in await raw.fetch("SELECT seq, at FROM audit_entry WHERE seq = ANY($1::bigint[])", [seq, seq - 1])
        }
        assert (finding.after, finding.before) == (times.get(seq - 1), times[seq])


@many
@given(pair=st.lists(places, min_size=2, max_size=2, unique=True))
async def test_swapping(laid: Laid, pair: list[int]) -> None:
    async with intruder(laid.engine) as raw:
        one, two = pair
        await raw.execute(
            "UPDATE audit_entry SET seq = $1::bigint + $2::bigint - seq WHERE seq IN ($1::bigint, $2::bigint)", one, two
        )
        assert await first(laid, raw) == (Problem.ALTERED, min(pair))


@many
@given(seq=places)
async def test_insertion_beside(laid: Laid, seq: int) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("INSERT INTO audit_entry SELECT * FROM audit_entry WHERE seq = $1", seq)
        assert await first(laid, raw) == (Problem.INSERTED, seq)


@many
@given(seq=places)
async def test_insertion_between_with_the_rest_moved_up(laid: Laid, seq: int) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("CREATE TEMP TABLE forged ON COMMIT DROP AS SELECT * FROM audit_entry WHERE seq = $1", seq)
        await raw.execute("UPDATE audit_entry SET seq = seq + 1 WHERE seq >= $1", seq)
        await raw.execute("UPDATE forged SET actor = 'forger'")
        await raw.execute("INSERT INTO audit_entry SELECT * FROM forged")
        await raw.execute("UPDATE audit_head SET seq = seq + 1")
        assert await first(laid, raw) == (Problem.ALTERED, seq)


@many
@given(seq=st.integers(1, LENGTH - 1))
async def test_exchange_for_an_entry_that_is_right_in_itself(laid: Laid, seq: int) -> None:
    async with intruder(laid.engine) as raw:
        rest = await raw.fetch("SELECT seq, prev, hash FROM audit_entry WHERE seq > $1", seq)
        head = await raw.fetchval("SELECT hash FROM audit_head")
        await raw.execute("UPDATE audit_entry SET actor = 'forger' WHERE seq = $1", seq)
        await relink(raw, seq)
        await raw.executemany(
            "UPDATE audit_entry SET prev = $2, hash = $3 WHERE seq = $1",
            [(r["seq"], r["prev"], r["hash"]) for r in rest],
        )
        await raw.execute("UPDATE audit_head SET hash = $1", head)
        expected = (Problem.REWRITTEN, {15: 1, 31: 16}[seq]) if seq in (15, 31) else (Problem.RELINKED, seq + 1)
        assert await first(laid, raw) == expected


@many
@given(last=st.integers(0, LENGTH - 1))
async def test_tail_cut_that_forgets_the_head(laid: Laid, last: int) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("DELETE FROM audit_entry WHERE seq > $1", last)
        assert await first(laid, raw) == (Problem.TAIL_CUT, last + 1)


@many
@given(last=st.integers(0, LENGTH - 1))
async def test_tail_cut_with_the_head_set_back_shows_against_the_anchor(laid: Laid, last: int) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("DELETE FROM audit_entry WHERE seq > $1", last)
        head = await raw.fetchrow("SELECT chain FROM audit_head")
        assert head is not None
        if last:
            await raw.execute(
                "UPDATE audit_head SET (seq, hash) = (SELECT seq, hash FROM audit_entry WHERE seq = $1)", last
            )
        else:
            await raw.execute("UPDATE audit_head SET seq = 0, hash = $1", genesis(head["chain"]))
        report = await laid.check(raw)
        if last < ANCHORED:
            assert report.first_broken is not None
            assert (report.first_broken.problem, report.first_broken.seq) == (Problem.TAIL_CUT, last + 1)
        else:
            # What docs/audit.md says is not proved: entries that no anchor vouches for yet.
            assert report.intact
            assert report.anchored_seq == ANCHORED


@many
@given(seq=places)
async def test_a_chain_made_anew_shows_against_the_anchor(laid: Laid, seq: int) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("UPDATE audit_entry SET actor = 'forger' WHERE seq = $1", seq)
        await relink(raw, seq)
        report = await laid.check(raw)
        if seq <= ANCHORED:
            assert report.first_broken is not None
            assert report.first_broken.problem is Problem.REWRITTEN
            assert report.first_broken.seq == (1 if seq <= 15 else 16)
        else:
            assert report.intact


async def test_another_chain_in_its_place(laid: Laid) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("UPDATE audit_head SET chain = gen_random_uuid()")
        assert await first(laid, raw) == (Problem.RELINKED, 1)
        await relink(raw, 1)
        assert await first(laid, raw) == (Problem.REWRITTEN, 1)


async def test_the_head_row(laid: Laid) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("UPDATE audit_head SET hash = '\\x00'")
        assert await first(laid, raw) == (Problem.HEAD, LENGTH)
        await raw.execute("DELETE FROM audit_head")
        assert await first(laid, raw) == (Problem.HEAD, 0)


async def test_the_commitment_is_what_the_chain_holds_of_sealed_data(laid: Laid) -> None:
    async with intruder(laid.engine) as raw:
        await raw.execute("UPDATE audit_entry SET personal = '\\x0102' WHERE seq = 7")
        assert await first(laid, raw) == (Problem.ALTERED, 7)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'x' WHERE seq = 3",
        "DELETE FROM audit_entry WHERE seq = 3",
        "TRUNCATE audit_entry",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "UPDATE audit_head SET seq = seq - 1",
        "UPDATE audit_head SET chain = gen_random_uuid(), seq = seq + 1",
    ],
)
async def test_the_database_refuses_at_first(laid: Laid, statement: str) -> None:
    import asyncpg

    async with laid.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        with pytest.raises(asyncpg.RaiseError, match=r"append-only|goes forward"):
            await raw.execute(statement)
