"""The mail balance after any history equals a count by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from okienko.core.database import make_engine
from okienko.core.ledger import read_ledger
from okienko.core.parking import drop, list_parked, replay
from okienko.metrics.ledger import Snapshot
from okienko.plugins.errors import PermanentError
from okienko.schemas import Address, AutoKind, InboundMessage

STEPS = st.lists(
    st.sampled_from(["new", "same", "answer", "auto", "junk", "bad", "mend", "work", "replay", "drop"]),
    min_size=1,
    max_size=25,
)


async def history(desk: Any, steps: list[str]) -> dict[str, int]:
    """Live it; the outcomes that the envelopes must have once all is worked off."""
    sent: list[InboundMessage] = []

    async def message(subject: str, **fields: Any) -> None:
        one = InboundMessage(
            message_id=f"{uuid4().hex}@poczta.example", subject=subject, sender=Address(address="a@b.example"), **fields
        )
        sent.append(one)
        await desk.take(one)

    for step in steps:
        last = sent[-1].message_id if sent else "none@poczta.example"
        match step:
            case "new":
                await message("NOWE")
            case "same" if sent:
                await desk.take(sent[-1])
            case "answer":
                await message("Re: NOWE", in_reply_to=(last,))
            case "auto":
                await message("w urlopie", auto=AutoKind.AUTO_REPLIED)
            case "junk":
                await desk.take(uuid4().bytes)
            case "bad":
                desk.pack.failures["NOWE"] = PermanentError("bad")
            case "mend":
                desk.pack.failures.clear()
            case "work":
                await desk.step()
            case "replay" | "drop":
                wanted = [parked.id for parked in await list_parked(desk.engine)][:2]
                await (replay if step == "replay" else drop)(desk.engine, wanted, desk.clock(), "ewa")
        await balanced(desk)
    await desk.settle()
    await balanced(desk)
    ledger = await read_ledger(desk.engine)
    assert ledger.balance == 0
    return {"received": ledger.received}


async def balanced(desk: Any) -> None:
    """By hand, from the envelopes alone."""
    outcomes = [row["outcome"] for row in await desk.rows("SELECT outcome FROM envelope")]
    ledger = await read_ledger(desk.engine)
    assert ledger.received == len(outcomes)
    assert ledger.cased == outcomes.count("cased")
    assert ledger.merged == outcomes.count("merged")
    assert ledger.suppressed == outcomes.count("suppressed") + outcomes.count("duplicate")
    assert ledger.parked == outcomes.count("parked")
    assert ledger.balance == outcomes.count("received")
    (family,) = [f for f in Snapshot(ledger).collect() if f.name == "okienko_mail_balance"]
    assert family.samples[0].value == ledger.balance


def test_any_history_balances(postgres: Any, template: str, tmp_path: Path, bench: Any) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(STEPS)
    def lived(steps: list[str]) -> None:
        name = f"test_{uuid4().hex}"
        postgres.sql(f"CREATE DATABASE {name} TEMPLATE {template}")

        async def run() -> None:
            engine = make_engine(postgres.url(name))
            try:
                await history(bench(engine, tmp_path / "spool"), steps)
            finally:
                await engine.dispose()

        asyncio.run(run())
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")

    lived()
