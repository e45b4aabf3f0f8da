"""Seals: what was proposed, approved and sent is bound to a key that is not in the database.

Who can write to the database can change rows, but not make a seal for them. A seal is HMAC-SHA256 (RFC 2104) over a canonical
JSON array, under a key that HKDF (RFC 5869) derives from an anchor key of the keyring, with a label of its own. The anchor key and
not the master key, because `okienko vault rotate --prune` removes old master keys, while an old anchor key stays for as long as it
has something to prove.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from okienko.core.audit.keyring import KeySource

_PURPOSE = "reset action seals"


class SealKind(StrEnum):
    """What is sealed. No seal of one kind is good for another."""

    PROPOSAL = "okienko proposal seal v1"
    APPROVAL = "okienko approval seal v1"
    ACTIVATION = "okienko activation seal v1"


class Trust(StrEnum):
    """What a look at a seal says."""

    GENUINE = "genuine"
    FORGED = "forged"
    """Somebody wrote or changed the row who does not have the key."""
    UNSEALED = "unsealed"
    """The row has no seal: an okienko of before seals wrote it, or somebody else did."""
    KEY_MISSING = "key_missing"
    """The keyring does not hold the key that the seal names."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal as it is stored beside what it is for."""

    key: str
    """Id of the anchor key."""
    mac: bytes


class Seals:
    """Makes and checks seals. The keyring is read when it is needed, so that a rotation is taken up by running processes."""

    def __init__(self, source: KeySource) -> None:
        self._source = source

    @property
    def where(self) -> str:
        """The keyring, for messages."""
        return self._source.where

    def make(self, kind: SealKind, parts: Sequence[Any]) -> Seal:
        """The seal of `parts` under the current key. Raises MisconfiguredError when the keyring cannot be read."""
        key = self._source.load().current("anchor")
        return Seal(key.id, _mac(key.derive(_PURPOSE), kind, parts))

    def look(self, kind: SealKind, parts: Sequence[Any], key_id: str | None, mac: bytes | None) -> Trust:
        """Whether a stored seal is right for `parts`. Raises MisconfiguredError when the keyring cannot be read."""
        if key_id is None or mac is None:
            return Trust.UNSEALED
        key = self._source.load().find(key_id)
        if key is None or key.purpose != "anchor":
            return Trust.KEY_MISSING
        right = hmac.compare_digest(_mac(key.derive(_PURPOSE), kind, parts), mac)
        return Trust.GENUINE if right else Trust.FORGED


def moment(at: datetime) -> str:
    """A time as it stands in a seal: UTC, always six digits."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _mac(key: bytes, kind: SealKind, parts: Sequence[Any]) -> bytes:
    text = json.dumps([kind.value, *parts], ensure_ascii=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
