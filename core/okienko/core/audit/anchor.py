"""Anchors: the chain's end, signed and written to a file outside the database, so that a cut tail and a rewritten chain show.

body      = RFC 8785 JSON of format, chain, date, at, seq, count, hash, previous, key
digest    = SHA-256("okienko audit anchor v1\\0" || body); the next anchor's `previous`, and in the chain's own `anchored` entry
signature = Ed25519 of the 32 octets of the digest, in base64
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from okienko.core.audit import chain
from okienko.core.audit.keyring import Key, Keyring, public_id, write_atomically
from okienko.core.audit.log import Head
from okienko.plugins.errors import MisconfiguredError

FORMAT = "okienko-audit-anchor-1"
DOMAIN = b"okienko audit anchor v1\0"
SUFFIX = ".anchor.json"


@dataclass(frozen=True, slots=True)
class Anchor:
    """What one anchor says."""

    chain: UUID
    date: str
    """Day of `at` in UTC."""
    at: datetime
    seq: int
    count: int
    """Entries up to here: equal to `seq`, since numbers begin at 1 and have no gaps."""
    hash: bytes
    previous: str | None
    """Digest of the anchor before this one."""
    key: str
    signature: bytes = b""
    source: str = ""
    """The file it came from, for messages."""

    @property
    def digest(self) -> bytes:
        """What is signed."""
        return sha256(DOMAIN + chain.canonical(self.fields())).digest()

    def fields(self) -> dict[str, Any]:
        """What the digest covers."""
        return {
            "format": FORMAT, "chain": str(self.chain), "date": self.date, "at": chain.time_text(self.at), "seq": self.seq,
            "count": self.count, "hash": self.hash.hex(), "previous": self.previous, "key": self.key,
        }  # fmt: skip

    def text(self) -> str:
        """The file's content."""
        whole = self.fields() | {"signature": base64.b64encode(self.signature).decode()}
        return json.dumps(whole, indent=2) + "\n"

    @property
    def file_name(self) -> str:
        """By day and number, so that names sort as the chain goes."""
        return f"{self.date}-{self.seq:012}{SUFFIX}"


class BadAnchorError(ValueError):
    """A file is no anchor of okienko."""


def make(head: Head, at: datetime, previous: str | None, key: Key) -> Anchor:
    """A signed anchor of the chain's end."""
    text = chain.time_text(at)
    anchor = Anchor(head.chain, text[:10], at, head.seq, head.seq, head.hash, previous, key.id)
    return Anchor(
        head.chain, text[:10], at, head.seq, head.seq, head.hash, previous, key.id, key.signer().sign(anchor.digest)
    )


def parse(text: str, source: str) -> Anchor:
    """Read an anchor's file. Raises BadAnchorError; whether the signature is right is `signed_by`'s question."""
    try:
        data = json.loads(text)
        anchor = Anchor(
            UUID(data["chain"]), data["date"], chain.parse_time(data["at"]), int(data["seq"]), int(data["count"]),
            bytes.fromhex(data["hash"]), data["previous"], data["key"], base64.b64decode(data["signature"], validate=True),
            source,
        )  # fmt: skip
        same = anchor.fields() | {"signature": data["signature"]} == data
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadAnchorError(f"{source}: it cannot be read as an anchor") from None
    if not same:
        raise BadAnchorError(f"{source}: it holds other fields than an anchor of {FORMAT} has")
    return anchor


def signed_by(anchor: Anchor, trusted: Mapping[str, Ed25519PublicKey]) -> str | None:
    """None when one of the trusted keys signed it, else what is wrong."""
    key = trusted.get(anchor.key)
    if key is None:
        return f"it is signed with {anchor.key}, which is not among the trusted keys ({', '.join(sorted(trusted)) or 'none'})"
    try:
        key.verify(anchor.signature, anchor.digest)
    except InvalidSignature:
        return "its signature is wrong: it was altered, or not made with that key"
    return None


def write(anchor: Anchor, folder: Path, key: Key) -> Path:
    """Put the anchor into the folder, with the public key beside. Raises MisconfiguredError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        public = folder / f"{key.id}.pub.pem"
        if not public.exists():
            pem = key.signer().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            write_atomically(public, pem.decode(), mode=0o644)
        path = folder / anchor.file_name
        write_atomically(path, anchor.text(), mode=0o644)
    except OSError as error:
        raise MisconfiguredError(
            f"the anchor cannot be written to {folder} ({error.strerror}): set OKIENKO_AUDIT_ANCHORS to a folder that can"
        ) from None
    return path


def read_folders(folders: Iterable[Path]) -> tuple[list[Anchor], list[str]]:
    """All anchors in the folders, by number, and what is wrong with files that are none. A folder that is not there is empty."""
    anchors: dict[bytes, Anchor] = {}
    problems = []
    for folder in folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                anchor = parse(path.read_text(encoding="utf-8"), path.name)
            except BadAnchorError as error:
                problems.append(str(error))
            except (OSError, UnicodeDecodeError):
                problems.append(f"{path.name}: it cannot be read as an anchor")
            else:
                anchors[anchor.digest + anchor.signature] = anchor
    return sorted(anchors.values(), key=lambda a: (a.seq, a.at)), problems


def trusted_keys(ring: Keyring | None, files: Iterable[Path] = ()) -> dict[str, Ed25519PublicKey]:
    """Public keys of the keyring and of PEM files, by id. Raises MisconfiguredError for a file that holds none."""
    keys = [key.signer().public_key() for key in (ring.of("anchor") if ring else ())]
    for path in files:
        try:
            loaded = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError):
            loaded = None
        if not isinstance(loaded, Ed25519PublicKey):
            raise MisconfiguredError(f"{path} is not the PEM file of an Ed25519 public key")
        keys.append(loaded)
    return {public_id(key): key for key in keys}
