"""Passwords of local administrators: argon2id, a few at a time, never on the event loop.

Source: OWASP Password Storage Cheat Sheet (argon2id, 19 MiB, t=2, p=1 at the least); RFC 9106 by argon2-cffi.
"""

from __future__ import annotations

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

SHORTEST, LONGEST = 12, 200


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys() -> str:
    """A hash that no password fits, so that an unknown name takes as long as a known one."""
    return _hasher().hash("\0 nobody")


class Passwords:
    """Hashes and compares, two at a time: each takes 64 MiB and a core, and a flood of sign-ins must not take the machine."""

    def __init__(self) -> None:
        self._at_once = asyncio.Semaphore(2)

    async def make_hash(self, password: SecretStr) -> str:
        """The PHC string of a password."""
        async with self._at_once:
            return await asyncio.to_thread(_hasher().hash, password.get_secret_value())

    async def fits(self, stored: str | None, password: SecretStr) -> bool:
        """Whether the password is the stored one; takes as long when there is none stored."""
        async with self._at_once:
            return await asyncio.to_thread(_fits, stored, password.get_secret_value()[: LONGEST + 1])


def _fits(stored: str | None, password: str) -> bool:
    try:
        return _hasher().verify(stored or _nobodys(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher().check_needs_rehash(stored)


def weakness(password: str, *others: str) -> str | None:
    """Key of the text that says what is wrong with a new password, or None. `others` must not be in it."""
    if len(password) < SHORTEST:
        return "short"
    if len(password) > LONGEST:
        return "long"
    if len(set(password)) < 5 or any(o and o.lower() in password.lower() for o in others):
        return "guessable"
    return None
