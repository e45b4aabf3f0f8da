"""Sessions of signed-in administrators, kept in the database; the browser holds a random token and nothing else.

A new token is made at every sign-in (no fixation), the database holds its SHA-256 only, and a session ends after 30 minutes
without a request or 8 hours after its beginning, whichever comes first. Source: OWASP ASVS 4.0, V3.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

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

    token: str
    person: Person


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime], *, https: bool) -> None:
        self._engine = engine
        self._now = now
        self._https = https
        self.cookie = "__Host-okienko" if https else "okienko"

    async def open(self, person: Person) -> Session:
        """A new session after a sign-in; sessions that are over are thrown away by the way."""
        token, now = secrets.token_urlsafe(32), self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(
                "DELETE FROM web_session WHERE created_at < $1 OR seen_at < $2", now - LONGEST, now - IDLE
            )
            await raw.execute(
                "INSERT INTO web_session (token_sha256, who, name, emails, roles, created_at, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $6)",
                _fingerprint(token), person.who, person.name, list(person.emails), sorted(person.roles), now,
            )  # fmt: skip
        return Session(token, person)

    async def find(self, request: Request) -> Session | None:
        """The session of a request, or None."""
        token = request.cookies.get(self.cookie)
        if not token:
            return None
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = await raw.fetchrow(
                "SELECT who, name, emails, roles, seen_at FROM web_session WHERE token_sha256 = $1 AND created_at > $2 AND seen_at > $3",
                _fingerprint(token), now - LONGEST, now - IDLE,
            )  # fmt: skip
            if row is None:
                return None
            if now - row["seen_at"] > _TOUCH:
                await raw.execute(
                    "UPDATE web_session SET seen_at = $2 WHERE token_sha256 = $1", _fingerprint(token), now
                )
        return Session(token, Person(row["who"], row["name"], tuple(row["emails"]), roles_of(row["roles"])))

    async def end(self, session: Session) -> None:
        """Sign out."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute("DELETE FROM web_session WHERE token_sha256 = $1", _fingerprint(session.token))

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
