"""Secret links that only their receiver ever sees.

A token is derived from a key and the id of the message that carries it, so that the database holds neither the token nor a
text that it stands in: the text has a marker, and the token takes its place on the way out. What a visitor brings is
recognised by its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum
from itertools import product
from uuid import UUID

from okienko.plugins.errors import PermanentError


class LinkKind(StrEnum):
    """What a link does; the last part of its path."""

    ACTIVATE = "activate"
    """Set a new password."""
    STOP = "stop"
    """Stop a change of login."""


class Links:
    """Makes and recognises links. A key has at least 32 random octets; `base` is the public address of the web shell.

    `older` are keys of before a rotation: a message that waits to be sent was written under one of them, by a process that
    knew no newer one.
    """

    def __init__(self, key: bytes, base: str, older: Iterable[bytes] = ()) -> None:
        keys = [key, *older]
        if min(map(len, keys)) < 32:
            raise ValueError("the key of links needs at least 32 octets")
        self._key = key
        self._keys = {_name(one): one for one in keys}
        self._base = base.rstrip("/")

    def token(self, kind: LinkKind, message_id: UUID) -> str:
        """The token of a message's link: 256 bits, base64url without padding."""
        return self._token(self._key, kind, message_id)

    @staticmethod
    def _token(key: bytes, kind: LinkKind, message_id: UUID) -> str:
        mac = hmac.new(key, kind.value.encode() + b"\0" + message_id.bytes, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def fingerprint(self, token: str) -> bytes:
        """What is stored of a token."""
        return hashlib.sha256(b"okienko link\0" + token.encode("utf-8", "replace")).digest()

    def marker(self, kind: LinkKind, message_id: UUID) -> str:
        """What stands in the stored text instead of the link. It cannot be guessed before the message exists."""
        return self._marker(_name(self._key), kind, message_id)

    def _marker(self, key: str, kind: LinkKind, message_id: UUID) -> str:
        return f"{self._base}/{kind.value}/[{key}.{message_id}]"

    def fill(self, text: str, message_id: UUID) -> str:
        """The text with the real link, for the moment it goes out.

        Raises PermanentError when the key that its link was made under is gone: nobody gets a mail with a dead link.
        """
        for kind, (name, key) in product(LinkKind, self._keys.items()):
            marker = self._marker(name, kind, message_id)
            if marker in text:
                text = text.replace(marker, f"{self._base}/{kind.value}/{self._token(key, kind, message_id)}")
        if f".{message_id}]" in text:
            raise PermanentError("the key of the message's link was pruned from the keyring: put it back, then replay")
        return text


def _name(key: bytes) -> str:
    """Which key it is, without telling anything about it."""
    return hashlib.sha256(b"okienko link key\0" + key).hexdigest()[:16]
