"""Sessions of signed-in administrators, kept in the database; the browser holds a random token and nothing else.

A new token is made at every sign-in (no fixation), the database holds its SHA-256 only, and a session ends after 30 minutes
without a request or 8 hours after its beginning, whichever comes first. Roles that an identity provider gives may be taken
away there: they are asked for again while the session lasts. Source: OWASP ASVS 4.0, V3.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from okienko.core.database import raw_connection, transaction
from okienko.core.site.people import Person, roles_of

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=8)
_TOUCH = timedelta(minutes=1)
"""How often a session's last use is written at the most."""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person."""

    token: str = field(repr=False)
    person: Person
    checked_at: datetime
    """When their roles were last heard of."""


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(
        self, engine: AsyncEngine, now: Callable[[], datetime], *, https: bool, recheck: timedelta | None = None
    ) -> None:
        """`recheck`: how old the word of an identity provider about somebody's roles may be; None: roles are our own."""
        self._recheck = recheck
        self._engine = engine
        self._now = now
        self._https = https
        self.cookie = "__Host-okienko" if https else "okienko"

    async def open(self, person: Person, *, id_token: str | None = None) -> Session:
        """A new session after a sign-in; sessions that are over are thrown away by the way."""
        token, now = secrets.token_urlsafe(32), self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(
                "DELETE FROM web_session WHERE created_at < $1 OR seen_at < $2", now - LONGEST, now - IDLE
            )
            await raw.execute(
                "INSERT INTO web_session (token_sha256, who, name, emails, roles, created_at, seen_at, checked_at, authenticated_at, "
                "id_token) VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7, $8)",
                _fingerprint(token), person.who, person.name, list(person.emails), sorted(person.roles), now,
                person.authenticated_at, _seal(token, id_token),
            )  # fmt: skip
        return Session(token, person, now)

    async def renew(self, session: Session, person: Person, *, id_token: str) -> None:
        """The identity provider said again who the person is and what they may do. Raises ValueError for somebody else."""
        if person.who != session.person.who:
            raise ValueError("a session never becomes another person's")
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(
                "UPDATE web_session SET name = $2, emails = $3, roles = $4, checked_at = $5, id_token = $7, "
                "authenticated_at = coalesce($6, authenticated_at) WHERE token_sha256 = $1",
                _fingerprint(session.token), person.name, list(person.emails), sorted(person.roles), self._now(),
                person.authenticated_at, _seal(session.token, id_token),
            )  # fmt: skip

    def is_due(self, session: Session) -> bool:
        """Whether to ask for the roles again at the next page: at half their time, so that a form has the other half to be sent in."""
        return self._recheck is not None and self._now() - session.checked_at > self._recheck / 2

    async def find(self, request: Request) -> Session | None:
        """The session of a request, or None."""
        token = request.cookies.get(self.cookie)
        if not token:
            return None
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = await raw.fetchrow(
                "SELECT who, name, emails, roles, seen_at, checked_at, authenticated_at FROM web_session "
                "WHERE token_sha256 = $1 AND created_at > $2 AND seen_at > $3 AND checked_at > $4",
                _fingerprint(token), now - LONGEST, now - IDLE, now - (self._recheck or LONGEST),
            )  # fmt: skip
            if row is None:
                return None
            if now - row["seen_at"] > _TOUCH:
                await raw.execute(
                    "UPDATE web_session SET seen_at = $2 WHERE token_sha256 = $1", _fingerprint(token), now
                )
        person = Person(row["who"], row["name"], tuple(row["emails"]), roles_of(row["roles"]), row["authenticated_at"])
        return Session(token, person, row["checked_at"])

    async def end(self, session: Session) -> str | None:
        """Sign out; returns the ID token that the session began or was renewed with, if there was one."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            sealed = await raw.fetchval(
                "DELETE FROM web_session WHERE token_sha256 = $1 RETURNING id_token", _fingerprint(session.token)
            )
        return _unseal(session.token, sealed)

    async def end_all_of(self, who: str) -> None:
        """Sign a person out in every browser."""
        async with transaction(self._engine) as connection:
            await (await raw_connection(connection)).execute("DELETE FROM web_session WHERE who = $1", who)

    def give(self, response: Response, session: Session) -> None:
        """Set the cookie: for this host only, not for scripts, not for other sites' posts."""
        response.set_cookie(
            self.cookie, session.token, path="/", httponly=True, secure=self._https, samesite="lax",
            max_age=int(LONGEST.total_seconds()),
        )  # fmt: skip

    def take(self, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(self.cookie, path="/", httponly=True, secure=self._https, samesite="lax")


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(b"okienko session\0" + token.encode("utf-8", "replace")).digest()


def _seal(token: str, id_token: str | None) -> bytes | None:
    """An ID token that only who holds the session's token can read: the database alone does not give it away."""
    if id_token is None:
        return None
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(_sealing_key(token)).encrypt(nonce, id_token.encode(), None)


def _unseal(token: str, sealed: bytes | None) -> str | None:
    if not sealed:
        return None
    try:
        return AESGCM(_sealing_key(token)).decrypt(sealed[:12], sealed[12:], None).decode()
    except InvalidTag:
        return None


def _sealing_key(token: str) -> bytes:
    return hashlib.sha256(b"okienko session seal\0" + token.encode("utf-8", "replace")).digest()
