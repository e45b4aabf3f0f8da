"""Local administrators, for installations without an identity provider: invited by a one-time link, signed in by a password."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.core.site.passwords import Passwords, outdated
from okienko.core.site.people import Person, Role, roles_of
from okienko.plugins.errors import PermanentError

INVITATION_LIFETIME = timedelta(hours=24)
FREE_FAILURES = 5
"""Wrong passwords in a row before the name is locked for a while."""
FIRST_LOCK = timedelta(seconds=30)
LONGEST_LOCK = timedelta(minutes=15)
"""Not longer: anyone who knows a name can lock it."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,31}")
EMAIL = re.compile(r"[^@\s<>()\[\],;:\\\"]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}")
_EVERYONE = frozenset({Role.IDENTITY_ADMIN})


class InvitationSpentError(PermanentError):
    """The invitation is unknown, used or too old."""

    def __init__(self) -> None:
        super().__init__("the invitation is not valid (any more): `okienko admin invite` makes a new one")


class NameTakenError(PermanentError):
    """There is an administrator of that name."""


class LastAdminError(PermanentError):
    """Without this administrator nobody could decide any more."""


@dataclass(frozen=True, slots=True)
class LocalAdmin:
    """A row of the list."""

    name: str
    email: str
    roles: frozenset[Role]
    created_at: datetime
    locked_until: datetime | None


def lock_for(failed: int) -> timedelta:
    """How long a name is locked after so many wrong passwords in a row: doubling, up to LONGEST_LOCK."""
    if failed < FREE_FAILURES:
        return timedelta()
    return min(LONGEST_LOCK, FIRST_LOCK * (1 << min(failed - FREE_FAILURES, 10)))


class LocalAdmins:
    """Invites, sets up, signs in, lists and removes."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._passwords = Passwords()

    async def invite(self, roles: Collection[Role] = _EVERYONE) -> str:
        """The token of a new one-time link; only its hash is kept."""
        async with transaction(self._engine) as connection:
            return await self._invite(await raw_connection(connection), roles)

    async def invite_first(self) -> str | None:
        """The token of the very first link; None when there ever was an administrator or an invitation."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute("SELECT pg_advisory_xact_lock(hashtext('okienko first administrator'))")
            if await raw.fetchval("SELECT EXISTS (SELECT FROM local_admin) OR EXISTS (SELECT FROM invitation)"):
                return None
            return await self._invite(raw, _EVERYONE)

    async def _invite(self, raw: Any, roles: Collection[Role]) -> str:
        token, now = secrets.token_urlsafe(32), self._now()
        await raw.execute(
            "INSERT INTO invitation (token_sha256, roles, created_at, expires_at) VALUES ($1, $2, $3, $4)",
            _fingerprint(token), sorted(roles), now, now + INVITATION_LIFETIME,
        )  # fmt: skip
        return token

    async def invited_roles(self, token: str) -> frozenset[Role]:
        """What the invitation is for. Raises InvitationSpentError."""
        async with transaction(self._engine) as connection:
            return await self._invited(await raw_connection(connection), token)

    async def _invited(self, raw: Any, token: str) -> frozenset[Role]:
        roles = await raw.fetchval(
            "SELECT roles FROM invitation WHERE token_sha256 = $1 AND used_at IS NULL AND expires_at > $2 FOR UPDATE",
            _fingerprint(token), self._now(),
        )  # fmt: skip
        if roles is None:
            raise InvitationSpentError
        return roles_of(roles)

    async def set_up(self, token: str, *, name: str, email: str, password: SecretStr) -> Person:
        """Use the invitation up. Raises InvitationSpentError, NameTakenError, ValueError for a name or address of wrong form."""
        if not NAME.fullmatch(name) or not EMAIL.fullmatch(email):
            raise ValueError("the name or the address has a wrong form")
        stored, now = await self._passwords.make_hash(password), self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            roles = await self._invited(raw, token)
            added = await raw.fetchval(
                "INSERT INTO local_admin (name, email, password, roles, created_at, failed) VALUES ($1, $2, $3, $4, $5, 0) "
                "ON CONFLICT DO NOTHING RETURNING name",
                name, email, stored, sorted(roles), now,
            )  # fmt: skip
            if added is None:
                raise NameTakenError(f"there is an administrator {name!r} already: choose another name")
            await raw.execute("UPDATE invitation SET used_at = $2 WHERE token_sha256 = $1", _fingerprint(token), now)
        return _person(name, email, roles)

    async def sign_in(self, name: str, password: SecretStr) -> Person | None:
        """The person, or None: a wrong name, a wrong password and a locked name look the same and take as long."""
        name, now = name.strip().lower(), self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = await raw.fetchrow(
                "SELECT name, email, password, roles, failed, locked_until FROM local_admin WHERE name = $1", name
            )
        right = await self._passwords.fits(row["password"] if row else None, password)
        locked = row is not None and row["locked_until"] is not None and now < row["locked_until"]
        if row is not None and right and not locked:
            renewed = await self._passwords.make_hash(password) if outdated(row["password"]) else None
            async with transaction(self._engine) as connection:
                raw = await raw_connection(connection)
                # Not when it was removed, locked or given another password meanwhile.
                kept = await raw.fetchval(
                    "UPDATE local_admin SET failed = 0, locked_until = NULL, password = coalesce($3, password) "
                    "WHERE name = $1 AND password = $2 AND (locked_until IS NULL OR locked_until <= $4) RETURNING name",
                    name, row["password"], renewed, now,
                )  # fmt: skip
            return _person(name, row["email"], roles_of(row["roles"])) if kept else None
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            # For an unknown and for a locked name it finds no row: nothing is counted, and it takes as long.
            failed = await raw.fetchval(
                "UPDATE local_admin SET failed = failed + 1 WHERE name = $1 AND (locked_until IS NULL OR locked_until <= $2) "
                "RETURNING failed",
                name, now,
            )  # fmt: skip
            if failed and (pause := lock_for(failed)):
                await raw.execute("UPDATE local_admin SET locked_until = $2 WHERE name = $1", name, now + pause)
        return None

    async def list(self) -> list[LocalAdmin]:
        """Everyone, by name."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch("SELECT name, email, roles, created_at, locked_until FROM local_admin ORDER BY name")
        return [
            LocalAdmin(r["name"], r["email"], roles_of(r["roles"]), r["created_at"], r["locked_until"]) for r in rows
        ]

    async def remove(self, name: str, *, even_last: bool = False) -> None:
        """Remove an administrator and end their sessions at once. Raises PermanentError, LastAdminError."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch("SELECT name, roles FROM local_admin FOR UPDATE")
            found = next((row for row in rows if row["name"] == name), None)
            if found is None:
                raise PermanentError(f"there is no administrator {name!r}: `okienko admin list` lists them")
            deciding = {row["name"] for row in rows if Role.IDENTITY_ADMIN in row["roles"]}
            if deciding == {name} and not even_last:
                raise LastAdminError(f"{name!r} is the last who may decide: invite somebody else first")
            await raw.execute("DELETE FROM local_admin WHERE name = $1", name)
            await raw.execute("DELETE FROM web_session WHERE who = $1", f"local:{name}")


def _person(name: str, email: str, roles: frozenset[Role]) -> Person:
    return Person(f"local:{name}", name, (email,), roles)


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(b"okienko invitation\0" + token.encode("utf-8", "replace")).digest()
