"""The audit chain as arithmetic: canonical bytes, links, commitments. No I/O; docs/audit.md tells an auditor the same.

body       = RFC 8785 (JCS) JSON of the entry's fields
hash(n)    = SHA-256("okienko audit entry v1\\0" || hash(n-1) || n as 8 octets, big-endian || SHA-256(body))
hash(0)    = SHA-256("okienko audit chain v1\\0" || the chain's UUID, 16 octets)
commitment = SHA-256("okienko audit personal v1\\0" || the sealed personal part), as lower-case hex in the body
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

ENTRY_DOMAIN = b"okienko audit entry v1\0"
CHAIN_DOMAIN = b"okienko audit chain v1\0"
PERSONAL_DOMAIN = b"okienko audit personal v1\0"

_SAFE_INTEGER = 2**53 - 1
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """The fields of an entry that its hash covers, next to its number and its predecessor's hash."""

    at: datetime
    case_id: UUID | None
    actor: str
    action: str
    subject: str
    reason: str
    origin: str
    data: Mapping[str, Any]
    commitment: str | None
    """`commit` of the sealed personal part; None when there is none."""


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of null, booleans, strings, whole numbers up to 2^53-1, lists, and objects with ASCII names.

    Within these the standard library's encoder writes what the RFC asks for: the RFC differs only for fractions and for
    names beyond ASCII. Raises ValueError for anything else, and for text that PostgreSQL or UTF-8 cannot hold.
    """
    _refuse_others(value)
    return _ENCODER.encode(value).encode()


def _refuse_others(value: Any) -> None:
    # In the order of how often it is asked, plain types first: this runs for every value of every entry.
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("audit data cannot hold the character U+0000")
    elif value is None or value is True or value is False:
        return
    elif isinstance(value, int):
        if not -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
            raise ValueError("audit data cannot hold a whole number beyond 2^53-1")
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str) or not name.isascii() or "\0" in name:
                raise ValueError("names in audit data are ASCII text")
            if item is not None:
                _refuse_others(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_others(item)
    else:
        raise ValueError(f"audit data cannot hold a {type(value).__name__}")


def time_text(at: datetime) -> str:
    """`2026-11-24T09:15:00.000000Z`: always UTC, always six digits. Raises ValueError for a time without a zone."""
    if at.tzinfo is None:
        raise ValueError("times in the audit have a zone")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The reverse of `time_text`. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError("not a time of the audit")
    return datetime.fromisoformat(text)


def body(entry: Entry) -> bytes:
    """The canonical bytes of an entry. Raises ValueError as `canonical` does."""
    return canonical(
        {
            "action": entry.action,
            "actor": entry.actor,
            "at": time_text(entry.at),
            "case": str(entry.case_id) if entry.case_id else None,
            "data": dict(entry.data),
            "origin": entry.origin,
            "personal": entry.commitment,
            "reason": entry.reason,
            "subject": entry.subject,
        }
    )


def link(prev: bytes, seq: int, entry_body: bytes) -> bytes:
    """The hash of entry `seq`."""
    return sha256(ENTRY_DOMAIN + prev + seq.to_bytes(8, "big") + sha256(entry_body).digest()).digest()


def genesis(chain: UUID) -> bytes:
    """What the first entry follows: every installation's chain has a beginning of its own, so that none can be passed off as another."""
    return sha256(CHAIN_DOMAIN + chain.bytes).digest()


def commit(sealed: bytes | None) -> str | None:
    """What stands in the chain for the sealed personal part. It stays right when the key is gone."""
    return None if sealed is None else sha256(PERSONAL_DOMAIN + sealed).hexdigest()
