"""The keyring: master keys that wrap the cases' data keys, and keys that sign anchors. One file, the same on every machine.

    # comments
    vault v-5d41402abc4b2a76 <32 octets in base64>      the first of each purpose is used for what is new
    anchor a-9f86d081884c7d65 <32 octets in base64>

A key's id is made from the key, so that a damaged or mistaken line is found when the file is read. The database knows the
ids only: a machine with another keyring is refused instead of making a second one.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from okienko.plugins.errors import MisconfiguredError

VARIABLE = "OKIENKO_KEYRING"
_PREFIXES = {"vault": "v", "anchor": "a"}
_HEADER = "# okienko keyring. Without it sealed personal data is lost: keep a copy in a safe place, apart from the database's.\n"


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    purpose: str
    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Made from the key: for the vault from its octets, for anchors from the public half, which an auditor has."""
        public = self.secret if self.purpose == "vault" else self.signer().public_key().public_bytes_raw()
        return key_id(self.purpose, public)

    def derive(self, purpose: str) -> bytes:
        """32 octets for one more purpose, from which nobody learns this key (HKDF, RFC 5869)."""
        return HKDFExpand(SHA256(), 32, f"okienko {purpose} v1".encode()).derive(self.secret)

    def signer(self) -> Ed25519PrivateKey:
        """The key as one that signs."""
        return Ed25519PrivateKey.from_private_bytes(self.secret)


def key_id(purpose: str, octets: bytes) -> str:
    """`v-` or `a-` and 16 hex digits of a hash."""
    digest = sha256(f"okienko {purpose} key id v1\0".encode() + octets).hexdigest()
    return f"{_PREFIXES[purpose]}-{digest[:16]}"


def public_id(key: Ed25519PublicKey) -> str:
    """The id of an anchor key, from its public half."""
    return key_id("anchor", key.public_bytes_raw())


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys, the current one of each purpose first."""

    keys: tuple[Key, ...]

    @classmethod
    def new(cls) -> Keyring:
        """Fresh keys, one for each purpose."""
        return cls((Key("vault", secrets.token_bytes(32)), Key("anchor", secrets.token_bytes(32))))

    def of(self, purpose: str) -> tuple[Key, ...]:
        """The keys for one purpose."""
        return tuple(key for key in self.keys if key.purpose == purpose)

    def current(self, purpose: str) -> Key:
        """The key for what is new."""
        return self.of(purpose)[0]

    def find(self, wanted: str) -> Key | None:
        """The key of that id."""
        return next((key for key in self.keys if key.id == wanted), None)

    def text(self) -> str:
        """The file's content."""
        return _HEADER + "".join(f"{k.purpose} {k.id} {base64.b64encode(k.secret).decode()}\n" for k in self.keys)


def parse(text: str, where: str) -> Keyring:
    """Read a keyring. Raises MisconfiguredError that names the place and line, never a key."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3 or words[0] not in _PREFIXES:
            raise MisconfiguredError(f"{where}, line {number}: not `vault ID KEY` or `anchor ID KEY`")
        try:
            secret = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != 32 or (key := Key(words[0], secret)).id != words[1]:
            raise MisconfiguredError(
                f"{where}, line {number}: the key does not belong to the id {words[1]}: it is damaged; restore the copy"
            )
        if key not in keys:
            keys.append(key)
    ring = Keyring(tuple(keys))
    for purpose in _PREFIXES:
        if not ring.of(purpose):
            raise MisconfiguredError(f"{where} holds no {purpose} key; `okienko vault new-keyring` prints a whole one")
    return ring


class KeySource:
    """Where the keyring comes from: a setting's text, or a file, which is read again when it changes.

    A file that others may read is refused; one that we made must not be open to its group either (a mounted secret may be,
    since Kubernetes gives it to the pod's group).
    """

    def __init__(self, *, home: Path, text: str | None = None, path: Path | None = None) -> None:
        self.path = None if text is not None and path is None else path or home / "keys" / "keyring"
        self.own = text is None and path is None
        """Whether the file is ours to make and to rewrite."""
        self._text = text
        self._stamp: tuple[int, int, int] | None = None
        self._ring: Keyring | None = None

    @property
    def where(self) -> str:
        """For messages."""
        return VARIABLE if self.path is None else f"the keyring {self.path}"

    def exists(self) -> bool:
        """Whether there is one."""
        return self.path is None or self.path.exists()

    def load(self) -> Keyring:
        """The keyring as it is now. Raises MisconfiguredError."""
        if self.path is None:
            if self._ring is None:
                self._ring = parse(self._text or "", self.where)
            return self._ring
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_mode)
            if self._ring is None or stamp != self._stamp:
                self._refuse_open(status.st_mode)
                self._ring, self._stamp = parse(self.path.read_text(encoding="utf-8"), self.where), stamp
        except (OSError, UnicodeDecodeError) as error:
            raise MisconfiguredError(
                f"{self.where} cannot be read ({getattr(error, 'strerror', None) or 'not text'}): restore the copy, or set {VARIABLE}_FILE"
            ) from None
        return self._ring

    def _refuse_open(self, mode: int) -> None:
        open_bits = 0o077 if self.own else 0o037
        if stat.S_IMODE(mode) & open_bits:
            who = "others" if mode & 0o007 else "its group"
            raise MisconfiguredError(
                f"{self.where} has mode {stat.S_IMODE(mode):04o}: {who} may use it. Whoever had access knows the keys: "
                f"`chmod 600 {self.path}`, and if anybody did have it, `okienko vault rotate`"
            )

    def write(self, ring: Keyring) -> None:
        """Put `ring` in our own file, at once and for good. Raises MisconfiguredError when it is not ours or cannot be."""
        if self.path is None or not self.own:
            raise MisconfiguredError(
                f"{self.where} is not okienko's own file: change it where you keep it, then restart"
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.path, ring.text(), mode=0o600)
        except OSError as error:
            raise MisconfiguredError(f"{self.where} cannot be written: {error.strerror}") from None


def write_atomically(path: Path, text: str, *, mode: int) -> None:
    """The whole file or nothing, and on the disk when this returns. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
