"""Sealing, opening, erasing, rotating; wrong keys and open files."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from core.audit.ledgerkit import START, intruder, lay, raw_transaction, write
from okienko.core.audit import keyring, keys
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.keyring import Key, Keyring, KeySource
from okienko.core.audit.vault import Erased, Vault, wrap
from okienko.core.database import upgrade
from okienko.plugins.errors import MisconfiguredError, PermanentError

SECRET = "Żaneta Niebyła 00000000000".encode()
CASE, OTHER = uuid4(), uuid4()


@pytest.fixture
async def vault(engine: AsyncEngine, tmp_path: Path) -> Vault:
    await upgrade(engine)
    source = KeySource(home=tmp_path)
    await keys.prepare(engine, source, START)
    return Vault(source)


async def test_what_was_sealed_opens_for_its_case_and_field_only(engine: AsyncEngine, vault: Vault) -> None:
    async with raw_transaction(engine) as raw:
        sealed, again, other = await vault.seal_many(
            raw, [(CASE, "pesel", SECRET), (CASE, "pesel", SECRET), (OTHER, "pesel", SECRET)], START
        )
    assert sealed != again
    assert SECRET not in sealed
    async with raw_transaction(engine) as raw:
        assert await vault.open(raw, CASE, "pesel", sealed) == SECRET
        assert await vault.open(raw, OTHER, "pesel", other) == SECRET
        for case_id, field, what in (
            (CASE, "login", sealed),
            (OTHER, "pesel", sealed),
            (CASE, "pesel", b""),
            (CASE, "pesel", SECRET),
        ):
            with pytest.raises(PermanentError):
                await vault.open(raw, case_id, field, what)
        assert await raw.fetchval("SELECT count(*) FROM case_key") == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_every_changed_octet_is_refused(engine: AsyncEngine, vault: Vault, data: st.DataObject) -> None:
    async with raw_transaction(engine) as raw:
        sealed = bytearray(await vault.seal(raw, CASE, "pesel", SECRET, START))
        sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
        with pytest.raises(PermanentError):
            await vault.open(raw, CASE, "pesel", bytes(sealed))


async def test_a_data_key_moved_or_exchanged_in_the_database_is_refused(engine: AsyncEngine, vault: Vault) -> None:
    master = vault.source.load().current("vault")
    async with raw_transaction(engine) as raw:
        sealed = await vault.seal(raw, CASE, "pesel", SECRET, START)
        key_id = await raw.fetchval("SELECT id FROM case_key")
        await raw.execute("UPDATE case_key SET wrapped = $1", wrap(master, key_id, CASE, bytes(32)))
        with pytest.raises(PermanentError, match="another key"):
            await vault.open(raw, CASE, "pesel", sealed)
        await raw.execute("UPDATE case_key SET wrapped = $1", wrap(master, key_id, OTHER, bytes(32)))
        with pytest.raises(PermanentError, match="altered in the database"):
            await vault.open(raw, CASE, "pesel", sealed)


async def test_two_transactions_that_need_the_first_key_of_a_case_share_it(engine: AsyncEngine, vault: Vault) -> None:
    async def seal() -> bytes:
        async with raw_transaction(engine) as raw:
            return await vault.seal(raw, CASE, "pesel", SECRET, START)

    sealed = await asyncio.gather(*(seal() for _ in range(5)))
    async with raw_transaction(engine) as raw:
        assert [await vault.open(raw, CASE, "pesel", one) for one in sealed] == [SECRET] * 5
        assert await raw.fetchval("SELECT count(*) FROM case_key") == 1


async def test_erasure_keeps_the_chain_whole_and_the_person_is_gone(engine: AsyncEngine, tmp_path: Path) -> None:
    laid = await lay(engine, tmp_path)
    vault = Vault(laid.keys)
    async with raw_transaction(engine) as raw:
        sealed, kept = await vault.seal_many(raw, [(CASE, "audit", SECRET), (OTHER, "audit", SECRET)], START)
    await write(engine, [NewEntry(AuditAction.DECIDED, START, "puesc", CASE, personal=sealed)])
    async with raw_transaction(engine) as raw:
        key = await raw.fetchval("SELECT wrapped FROM case_key WHERE case_id = $1", CASE)
        assert await vault.erase(raw, CASE, START + timedelta(days=3)) == 1
    async with raw_transaction(engine) as raw:
        assert await vault.open(raw, CASE, "audit", sealed) == Erased(CASE, START + timedelta(days=3))
        assert await vault.open(raw, OTHER, "audit", kept) == SECRET
        dump = await everything(raw)
        assert SECRET.hex() not in dump
        assert SECRET.decode() not in dump
        assert key.hex() not in dump
        assert sealed.hex() in dump
        # A person who writes again is a new person to the vault.
        anew = await vault.seal(raw, CASE, "audit", SECRET, START)
        assert await vault.open(raw, CASE, "audit", anew) == SECRET
        assert await vault.open(raw, CASE, "audit", sealed) == Erased(CASE, START + timedelta(days=3))
    async with intruder(engine) as raw:
        report = await laid.check(raw)
    assert report.intact
    assert report.entries == 36


async def everything(raw: Any) -> str:
    """Every row of every table as text, octets in hex."""
    tables = await raw.fetch("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    rows = [await raw.fetch(f'SELECT t::text AS row FROM "{t["table_name"]}" t') for t in tables]
    return "\n".join(row["row"] for table in rows for row in table)


async def test_rotation_in_batches_while_others_seal(
    engine: AsyncEngine, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_BATCH", 7)
    other_process = Vault(KeySource(home=vault.source.path.parent.parent))  # type: ignore[union-attr]
    case_ids = [uuid4() for _ in range(40)]
    async with raw_transaction(engine) as raw:
        sealed = await vault.seal_many(raw, [(case_id, "pesel", SECRET) for case_id in case_ids[:20]], START)
        await other_process.open(raw, case_ids[0], "pesel", sealed[0])
        await vault.erase(raw, case_ids[3], START)
    old = vault.source.load().current("vault")

    async def seal(case_id: Any) -> bytes:
        async with raw_transaction(engine) as raw:
            return await other_process.seal(raw, case_id, "pesel", SECRET, START)

    (new, count), *more = await asyncio.gather(keys.rotate(engine, vault, START, "admin"), *map(seal, case_ids[20:]))
    assert new == vault.source.load().current("vault").id != old.id
    assert 19 <= count <= 39
    assert await keys.prune(engine, vault, START, "admin") == [old.id]
    assert vault.source.load().find(old.id) is None
    assert await keys.prune(engine, vault, START, "admin") == []
    async with raw_transaction(engine) as raw:
        opened = [await other_process.open(raw, c, "pesel", s) for c, s in zip(case_ids, [*sealed, *more], strict=True)]
        assert opened.count(SECRET) == 39
        assert isinstance(opened[3], Erased)
        assert {
            r["master"] for r in await raw.fetch("SELECT DISTINCT master FROM case_key WHERE wrapped IS NOT NULL")
        } == {new}
        actions = [r["action"] for r in await raw.fetch("SELECT action FROM audit_entry ORDER BY seq")]
    assert actions == ["keys_rotated", "keys_rotated"]
    await keys.prepare(engine, vault.source, START)


async def test_prune_takes_no_key_away_from_under_data(engine: AsyncEngine, vault: Vault) -> None:
    async with raw_transaction(engine) as raw:
        sealed = await vault.seal(raw, CASE, "pesel", SECRET, START)
    ring = vault.source.load()
    vault.source.write(Keyring((Keyring.new().current("vault"), *ring.keys)))
    assert await keys.prune(engine, vault, START, "admin") == [ring.current("vault").id]
    async with raw_transaction(engine) as raw:
        assert await vault.open(raw, CASE, "pesel", sealed) == SECRET


# --- the keyring ------------------------------------------------------------------------------------------------------


async def test_the_first_start_makes_a_closed_file(vault: Vault) -> None:
    path = vault.source.path
    assert path is not None
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert "secret" not in repr(vault.source.load())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
async def test_an_open_file_is_refused_with_its_cure(vault: Vault, mode: int) -> None:
    path = vault.source.path
    assert path is not None
    path.chmod(mode)
    with pytest.raises(MisconfiguredError, match=f"chmod 600 {path}"):
        vault.source.load()
    path.chmod(0o600)
    vault.source.load()


@pytest.mark.parametrize(("mode", "fine"), [(0o400, True), (0o440, True), (0o460, False), (0o444, False)])
def test_a_mounted_secret_may_be_readable_to_the_group(tmp_path: Path, mode: int, fine: bool) -> None:
    path = tmp_path / "secret"
    path.write_text(Keyring.new().text())
    path.chmod(mode)
    source = keys.source_of(tmp_path, path.read_text(), {"OKIENKO_KEYRING_FILE": str(path)})
    if fine:
        source.load()
    else:
        with pytest.raises(MisconfiguredError, match="chmod"):
            source.load()


async def test_another_keyring_is_refused(engine: AsyncEngine, vault: Vault, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(MisconfiguredError, match="another keyring"):
        await keys.prepare(engine, KeySource(home=elsewhere), START)
    assert not elsewhere.exists()
    with pytest.raises(MisconfiguredError, match="another keyring"):
        await keys.prepare(engine, KeySource(home=elsewhere, text=Keyring.new().text()), START)
    copy = KeySource(home=elsewhere, text=vault.source.load().text())
    assert await keys.prepare(engine, copy, START) == vault.source.load()


async def test_a_keyring_without_the_master_key_is_refused_by_name(engine: AsyncEngine, vault: Vault) -> None:
    async with raw_transaction(engine) as raw:
        sealed = await vault.seal(raw, CASE, "pesel", SECRET, START)
    ring = vault.source.load()
    lost = ring.current("vault")
    vault.source.write(Keyring((Keyring.new().current("vault"), *ring.of("anchor"))))
    with pytest.raises(MisconfiguredError, match=lost.id):
        await keys.prepare(engine, vault.source, START)
    with pytest.raises(MisconfiguredError, match=lost.id):
        async with raw_transaction(engine) as raw:
            await vault.open(raw, CASE, "pesel", sealed)


def test_a_damaged_keyring_names_the_line_and_no_key() -> None:
    ring = Keyring.new()
    assert keyring.parse(ring.text(), "x") == ring
    secret = ring.text().split()[-1]
    for text, what in (
        (ring.text().replace(secret, secret[:-4] + "AAA="), "line 3"),
        (ring.text().replace(secret, "%"), "line 3"),
        (ring.text().replace("anchor a", "anker a"), "line 3"),
        (ring.text().rsplit("anchor", 1)[0], "no anchor key"),
        ("", "no vault key"),
    ):
        with pytest.raises(MisconfiguredError, match=what) as caught:
            keyring.parse(text, "the keyring")
        assert secret not in str(caught.value)


def test_a_lost_keyring_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="restore the copy"):
        KeySource(home=tmp_path).load()


async def test_only_one_of_many_first_starts_makes_the_keyring(engine: AsyncEngine, tmp_path: Path) -> None:
    await upgrade(engine)
    rings = await asyncio.gather(*(keys.prepare(engine, KeySource(home=tmp_path), START) for _ in range(5)))
    assert len({ring.text() for ring in rings}) == 1


def test_a_configured_keyring_is_never_written(tmp_path: Path) -> None:
    source = KeySource(home=tmp_path, text=Keyring.new().text())
    with pytest.raises(MisconfiguredError, match="where you keep it"):
        source.write(Keyring.new())
    assert os.listdir(tmp_path) == []  # noqa: PTH208  empty or not is all that is asked


def test_ids_follow_from_keys() -> None:
    assert Key("vault", bytes(32)).id == Key("vault", bytes(32)).id != Key("vault", b"\1" * 32).id
    anchor = Key("anchor", bytes(32))
    assert anchor.id == keyring.public_id(anchor.signer().public_key())
