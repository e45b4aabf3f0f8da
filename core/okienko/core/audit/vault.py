"""Personal data sealed under a key of its case, so that destroying the key erases the person wherever the octets lie.

sealed  = 1 || data key id (16) || key commitment (32) || nonce (12) || AES-256-GCM ciphertext and tag
          associated data: "okienko vault v1\\0" || case id (16) || data key id (16) || field name in UTF-8
          key and commitment: HKDF-SHA256 of the data key with info "okienko vault v1" || case id, 64 octets
wrapped = nonce (12) || AES-256-GCM of the data key under the master key
          associated data: "okienko vault wrap v1\\0" || case id || data key id

The key commitment is there because GCM alone lets the maker of a ciphertext open it to different texts under different keys;
with it, what the audit's chain commits to has one meaning only.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from okienko.core.audit.keyring import Key, KeySource
from okienko.plugins.errors import MisconfiguredError, PermanentError

_VERSION = b"\x01"
_HEADER = 1 + 16 + 32 + 12
# Held shared by who wraps, exclusively by who takes a master key away, so that no data key is left under a key that is gone.
_WRAPPING = "SELECT pg_advisory_xact_lock_shared(hashtext('okienko vault'))"
ROTATING = "SELECT pg_advisory_xact_lock(hashtext('okienko vault'))"
_LIVE = "SELECT id, case_id, wrapped, master FROM case_key WHERE case_id = ANY($1::uuid[]) AND wrapped IS NOT NULL"
_ADD = """
INSERT INTO case_key (id, case_id, wrapped, master, made_at)
SELECT id, case_id, wrapped, $4, $5 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS k(id, case_id, wrapped)
ORDER BY case_id ON CONFLICT (case_id) WHERE wrapped IS NOT NULL DO NOTHING
"""
_ERASE = """
UPDATE case_key SET wrapped = NULL, master = NULL, erased_at = $2 WHERE case_id = $1 AND wrapped IS NOT NULL RETURNING id
"""
_OLD = """
SELECT id, case_id, wrapped, master FROM case_key WHERE wrapped IS NOT NULL AND master <> $1 ORDER BY id LIMIT $2 FOR UPDATE
"""
_REWRAP = """
UPDATE case_key k SET wrapped = d.wrapped, master = $3 FROM unnest($1::uuid[], $2::bytea[]) AS d(id, wrapped) WHERE k.id = d.id
"""


@dataclass(frozen=True, slots=True)
class Erased:
    """The answer for what was sealed under a key that was destroyed: there was something, and nobody can read it any more."""

    case_id: UUID
    at: datetime


class Vault:
    """Seals and opens. Data keys are never kept: a process that runs on cannot open what another one has erased."""

    def __init__(self, source: KeySource) -> None:
        self.source = source

    async def seal(self, raw: Any, case_id: UUID, field: str, plaintext: bytes, now: datetime) -> bytes:
        """`plaintext` sealed for one field of a case. See `seal_many`."""
        return (await self.seal_many(raw, [(case_id, field, plaintext)], now))[0]

    async def seal_many(self, raw: Any, items: Sequence[tuple[UUID, str, bytes]], now: datetime) -> list[bytes]:
        """Seal each (case, field, plaintext), in the open transaction of `raw` (an asyncpg connection).

        A case that has no key gets one, committed with the transaction. Raises MisconfiguredError when the keyring is wrong.
        """
        if not items:
            return []
        await raw.execute(_WRAPPING)
        wanted = list({case_id for case_id, _, _ in items})
        keys = await self._live(raw, wanted)
        if missing := [case_id for case_id in wanted if case_id not in keys]:
            master = self.source.load().current("vault")
            made = [(uuid4(), case_id, secrets.token_bytes(32)) for case_id in missing]
            wrapped = [wrap(master, key_id, case_id, key) for key_id, case_id, key in made]
            await raw.execute(_ADD, [m[0] for m in made], missing, wrapped, master.id, now)
            # Read back: another transaction may have been first with a key for the same case.
            keys |= await self._live(raw, missing)
        return [_seal(*keys[case_id], case_id, field, plaintext) for case_id, field, plaintext in items]

    async def open(self, raw: Any, case_id: UUID, field: str, sealed: bytes) -> bytes | Erased:
        """What was sealed for that field of that case, or Erased.

        Raises PermanentError when it was sealed for something else or altered, MisconfiguredError when the keyring lacks the
        master key.
        """
        if len(sealed) < _HEADER + 16 or not sealed.startswith(_VERSION):
            raise PermanentError("this is not sealed by okienko's vault, or it was cut")
        key_id = UUID(bytes=sealed[1:17])
        row = await raw.fetchrow(
            "SELECT id, case_id, wrapped, master, erased_at FROM case_key WHERE id = $1 AND case_id = $2",
            key_id,
            case_id,
        )
        if row is None:
            raise PermanentError(f"it was sealed under the data key {key_id}, which case {case_id} does not have")
        if row["wrapped"] is None:
            return Erased(case_id, row["erased_at"])
        return _open(self._unwrap(row), key_id, case_id, field, sealed)

    async def erase(self, raw: Any, case_id: UUID, now: datetime) -> int:
        """Destroy the keys of a case, in the open transaction of `raw`; returns how many. What they sealed is gone."""
        return len(await raw.fetch(_ERASE, case_id, now))

    async def rewrap(self, raw: Any, limit: int) -> int:
        """Put up to `limit` data keys under the current master key, in the open transaction of `raw`; returns how many."""
        await raw.execute(_WRAPPING)
        master = self.source.load().current("vault")
        rows = await raw.fetch(_OLD, master.id, limit)
        if rows:
            fresh = [wrap(master, row["id"], row["case_id"], self._unwrap(row)) for row in rows]
            await raw.execute(_REWRAP, [row["id"] for row in rows], fresh, master.id)
        return len(rows)

    async def _live(self, raw: Any, case_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, bytes]]:
        rows = await raw.fetch(_LIVE, list(case_ids))
        return {row["case_id"]: (row["id"], self._unwrap(row)) for row in rows}

    def _unwrap(self, row: Mapping[str, Any]) -> bytes:
        master = self.source.load().find(row["master"])
        if master is None:
            raise MisconfiguredError(
                f"{self.source.where} lacks the master key {row['master']}, under which the keys of cases lie: put its line back"
            )
        return unwrap(master, row["id"], row["case_id"], row["wrapped"])


def wrap(master: Key, key_id: UUID, case_id: UUID, key: bytes) -> bytes:
    """A data key under a master key."""
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(master.secret).encrypt(nonce, key, _wrap_data(key_id, case_id))


def unwrap(master: Key, key_id: UUID, case_id: UUID, wrapped: bytes) -> bytes:
    """The data key. Raises PermanentError when it was altered or belongs to another case."""
    try:
        return AESGCM(master.secret).decrypt(wrapped[:12], wrapped[12:], _wrap_data(key_id, case_id))
    except InvalidTag:
        raise PermanentError(f"the data key {key_id} of case {case_id} was altered in the database") from None


def _wrap_data(key_id: UUID, case_id: UUID) -> bytes:
    return b"okienko vault wrap v1\0" + case_id.bytes + key_id.bytes


def _derive(key: bytes, case_id: UUID) -> tuple[bytes, bytes]:
    both = HKDFExpand(SHA256(), 64, b"okienko vault v1" + case_id.bytes).derive(key)
    return both[:32], both[32:]


def _field_data(key_id: UUID, case_id: UUID, field: str) -> bytes:
    return b"okienko vault v1\0" + case_id.bytes + key_id.bytes + field.encode()


def _seal(key_id: UUID, key: bytes, case_id: UUID, field: str, plaintext: bytes) -> bytes:
    encryption, commitment = _derive(key, case_id)
    nonce = secrets.token_bytes(12)
    ciphertext = AESGCM(encryption).encrypt(nonce, plaintext, _field_data(key_id, case_id, field))
    return _VERSION + key_id.bytes + commitment + nonce + ciphertext


def _open(key: bytes, key_id: UUID, case_id: UUID, field: str, sealed: bytes) -> bytes:
    encryption, commitment = _derive(key, case_id)
    if not hmac.compare_digest(commitment, sealed[17:49]):
        raise PermanentError("it was sealed under another key than the case has: it or the key was altered")
    try:
        return AESGCM(encryption).decrypt(sealed[49:61], sealed[61:], _field_data(key_id, case_id, field))
    except InvalidTag:
        raise PermanentError(f"it was altered, or sealed for another field than {field!r}") from None
