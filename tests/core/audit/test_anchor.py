"""Anchors as files, and what the service does by itself each day."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy.ext.asyncio import AsyncEngine

from core.audit.ledgerkit import START, Laid, fill, intruder, lay, raw_transaction
from okienko.core.audit import anchor as anchors
from okienko.core.audit import health
from okienko.core.audit.daily import anchor_now, daily
from okienko.core.audit.keyring import Keyring, KeySource
from okienko.core.audit.verify import Problem, Report, verify
from okienko.core.ledger import read_ledger
from okienko.metrics.ledger import families
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import Severity


@pytest.fixture
async def laid(engine: AsyncEngine, tmp_path: Path) -> Laid:
    return await lay(engine, tmp_path)


async def check(laid: Laid) -> Report:
    async with intruder(laid.engine) as raw:
        return await laid.check(raw)


def files(laid: Laid) -> list[Path]:
    return sorted(laid.folder.glob("*.anchor.json"))


async def test_anchors_say_what_they_vouch_for_and_follow_each_other(laid: Laid) -> None:
    first, second = (anchors.parse(path.read_text(), path.name) for path in files(laid))
    assert (first.seq, first.count, first.date, first.previous) == (15, 15, "2026-11-25", None)
    assert (second.seq, second.previous) == (31, first.digest.hex())
    assert [path.name for path in files(laid)] == [first.file_name, second.file_name]
    (pem,) = laid.folder.glob("*.pub.pem")
    public = load_pem_public_key(pem.read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(second.signature, second.digest)
    assert list(anchors.trusted_keys(None, [pem])) == [second.key] == [pem.name.removesuffix(".pub.pem")]


@pytest.mark.parametrize(
    "field", ["chain", "date", "at", "seq", "count", "hash", "previous", "key", "signature", "format", "more"]
)
async def test_a_changed_anchor_is_found(laid: Laid, field: str) -> None:
    path = files(laid)[1]
    data = json.loads(path.read_text())
    other = {
        "chain": "6f2c1c5e-8a57-4d0e-9c3b-0d6a4b1f2e3d", "date": "2026-11-27", "at": "2026-11-26T09:00:00.000001Z", "seq": 30,
        "count": 30, "hash": "00" * 32, "previous": None, "key": "a-0000000000000000", "signature": "AAAA", "format": "x", "more": 1,
    }  # fmt: skip
    path.write_text(json.dumps(data | {field: other[field]}))
    report = await check(laid)
    assert {f.problem for f in report.findings} == {Problem.ANCHOR, Problem.ANCHOR_MISSING}
    assert any(path.name in f.text for f in report.findings)


async def test_a_missing_anchor_is_named(laid: Laid) -> None:
    files(laid)[0].unlink()
    report = await check(laid)
    assert report.first_broken is not None
    assert (report.first_broken.problem, report.first_broken.seq) == (Problem.ANCHOR_MISSING, 15)
    assert any(f.seq == 31 and "before" in f.text for f in report.findings)


async def test_an_anchor_of_a_key_that_is_not_trusted_vouches_for_nothing(laid: Laid) -> None:
    found, _ = anchors.read_folders([laid.folder])
    report = await verify(laid.engine, found, anchors.trusted_keys(Keyring.new()))
    assert report.anchors == 0
    assert report.first_broken is not None
    assert report.first_broken.problem is Problem.ANCHOR


async def test_an_older_key_still_proves_its_anchors(laid: Laid) -> None:
    ring = laid.keys.load()
    fresh = Keyring.new().current("anchor")
    laid.keys.write(Keyring((*ring.of("vault"), fresh, *ring.of("anchor"))))
    made = await anchor_now(laid.engine, START, keys=laid.keys, folder=laid.folder, who="jan")
    assert made.key == fresh.id
    report = await check(laid)
    assert (report.intact, report.anchors) == (True, 3)


async def test_an_anchor_whose_process_died_before_the_commit_does_no_harm(
    laid: Laid, monkeypatch: pytest.MonkeyPatch
) -> None:
    from okienko.core.audit import daily as module

    def dies(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(module, "record", dies)
        with pytest.raises(ZeroDivisionError):
            await anchor_now(laid.engine, START, keys=laid.keys, folder=laid.folder, who="jan")
    assert len(files(laid)) == 3
    await fill(laid.engine, 2)
    await anchor_now(laid.engine, START, keys=laid.keys, folder=laid.folder, who="jan")
    report = await check(laid)
    assert report.intact, report.findings
    assert report.anchors == 4


async def test_a_folder_that_cannot_be_written_is_said(laid: Laid, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MisconfiguredError, match="OKIENKO_AUDIT_ANCHORS"):
        await anchor_now(laid.engine, START, keys=laid.keys, folder=tmp_path / "file", who="jan")
    assert (await check(laid)).entries == 35


def test_a_key_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(MisconfiguredError, match="Ed25519"):
        anchors.trusted_keys(None, [tmp_path / "x.pem"])


# --- daily --------------------------------------------------------------------------------------------------------------


async def test_many_processes_anchor_a_day_once(laid: Laid) -> None:
    now = START + timedelta(days=5)

    async def one(when: timedelta) -> tuple[bool, bool]:
        source = KeySource(home=laid.folder.parent)
        done = await daily(laid.engine, now + when, keys=source, folder=laid.folder)
        return done.report is not None, done.anchor is not None

    results = await asyncio.gather(*(one(timedelta(0)) for _ in range(6)))
    results += [await one(timedelta(hours=hour)) for hour in range(1, 8)]
    assert results.count((True, True)) == 1
    assert results.count((False, False)) == 12
    assert await one(timedelta(days=1)) == (True, True)
    report = await check(laid)
    assert (report.intact, report.anchors, report.entries) == (True, 4, 35 + 2 * 2)


async def test_metrics_and_check_tell_of_the_chain(laid: Laid) -> None:
    def told(ledger: object) -> dict[str, float]:
        samples = (sample for family in families(ledger) for sample in family.samples)  # type: ignore[arg-type]
        return {sample.name: sample.value for sample in samples if "audit" in sample.name}

    async def severities(now: timedelta) -> list[Severity]:
        findings = await health.check(laid.engine, laid.keys, laid.folder, START + now)
        assert [f.subject for f in findings] == ["keyring", "audit chain", "audit anchors"]
        return [f.severity for f in findings]

    now = START + timedelta(days=5)
    assert "okienko_audit_chain_intact" not in told(await read_ledger(laid.engine))
    await daily(laid.engine, now, keys=laid.keys, folder=laid.folder)
    figures = told(await read_ledger(laid.engine))
    assert figures == {
        "okienko_audit_entries_total": 37,
        "okienko_audit_chain_intact": 1,
        "okienko_audit_last_verification_timestamp_seconds": now.timestamp(),
        "okienko_audit_last_anchor_timestamp_seconds": now.timestamp(),
    }
    assert await severities(timedelta(days=5)) == [Severity.OK] * 3
    assert await severities(timedelta(days=9)) == [Severity.OK, Severity.OK, Severity.WARNING]
    async with raw_transaction(laid.engine) as raw:
        await raw.execute(
            "ALTER TABLE audit_entry DISABLE TRIGGER ALL; UPDATE audit_entry SET actor = 'x' WHERE seq = 20"
        )
    done = await daily(laid.engine, now + timedelta(days=1), keys=laid.keys, folder=laid.folder)
    assert done.report is not None
    assert done.anchor is not None
    assert told(await read_ledger(laid.engine))["okienko_audit_chain_intact"] == 0
    files(laid)[0].write_text("{}")
    assert await severities(timedelta(days=6)) == [Severity.OK, Severity.ERROR, Severity.ERROR]
    async with raw_transaction(laid.engine) as raw:
        row = await raw.fetchrow(
            "SELECT reason, data::text AS data FROM audit_entry WHERE action = 'verified' ORDER BY seq DESC LIMIT 1"
        )
    assert "entry 20" in row["reason"]
    assert json.loads(row["data"])["problem"] == "altered"
    assert laid.keys.path is not None
    laid.keys.path.chmod(0o644)
    assert (await severities(timedelta(days=6)))[0] is Severity.ERROR
