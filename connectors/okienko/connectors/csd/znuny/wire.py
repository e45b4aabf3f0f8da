"""The Generic Interface on the wire: sessions, and errors that come with HTTP 200.

Measured against Znuny 6.5 (GenericTicketConnectorREST): every failure of an operation is `{"Error": {"ErrorCode", "ErrorMessage"}}`
with status 200; a route or a body that the transport cannot take is a 500 in plain text; an unknown ticket is `AccessDenied`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import SecretStr

from okienko.plugins.context import utc_now
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, HttpApi, harmless

_TOGETHER = 40
"""Tickets that one TicketGet asks for: their ids stand in the address."""


class ZnunyRefusedError(PermanentError):
    """An operation was refused; `code` is Znuny's, such as `TicketCreate.InvalidParameter`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"Znuny refused: {code}: {text}")
        self.code = code
        self.text = text

    @property
    def reason(self) -> str:
        """The code without the operation."""
        return self.code.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Session:
    """An agent's session."""

    id: str
    user_id: str
    """The agent's own id, as articles name their author."""
    data: dict[str, str]


class ZnunyWire:
    """One web service, as one agent."""

    def __init__(self, api: HttpApi, user: str, password: SecretStr, now: Callable[[], datetime] = utc_now) -> None:
        self._api = api
        self._user = user
        self._password = password
        self._now = now
        self._session: Session | None = None
        self._lock = asyncio.Lock()
        self.clock: datetime | None = None
        """The server's time at the last answer, rather too early than too late."""

    async def close(self) -> None:
        """Close the connections. The session ends by itself: SessionDelete would want the password in the address."""
        await self._api.close()

    async def session(self) -> Session:
        """The session in use. Raises MisconfiguredError when Znuny does not let us in."""
        async with self._lock:
            if self._session is None:
                self._session = await self._sign_in()
            return self._session

    async def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """TicketCreate. Not repeatable: what follows a lost answer is the caller's to find out."""
        return await self._call("POST", "/Ticket", body)

    async def update(self, ticket_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """TicketUpdate, by PATCH as in the example configuration."""
        return await self._call("PATCH", f"/Ticket/{ticket_id}", body)

    async def search(self, query: dict[str, Any]) -> list[str]:
        """TicketSearch: the ids."""
        found = (await self._call("POST", "/Ticket/Search", query, repeatable=True)).get("TicketID", [])
        return [str(one) for one in (found if isinstance(found, list) else [found])]

    async def get(
        self, ticket_ids: list[str], *, articles: bool = False, contents: bool = False
    ) -> list[dict[str, Any]]:
        """TicketGet with dynamic fields, without those that are not there or closed to us. One such fails the whole
        request, so that the others are asked for again by halves.
        """
        tickets: list[dict[str, Any]] = []
        waiting = [ticket_ids[at : at + _TOGETHER] for at in range(0, len(ticket_ids), _TOGETHER)]
        while waiting:
            part = waiting.pop(0)
            found = await self._get(part, articles=articles, contents=contents)
            if found is not None:
                tickets += found
            elif len(part) > 1:
                waiting[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
        return tickets

    async def _get(self, ticket_ids: list[str], *, articles: bool, contents: bool) -> list[dict[str, Any]] | None:
        query: dict[str, str | int] = {"DynamicFields": 1}
        if articles:
            query |= {"AllArticles": 1, "Attachments": 1, "GetAttachmentContents": int(contents)}
        try:
            found = await self._call("GET", f"/Ticket/{','.join(ticket_ids)}", query, repeatable=True)
        except ZnunyRefusedError as refused:
            if refused.reason == "AccessDenied":
                return None
            raise
        tickets = found.get("Ticket", [])
        return [one for one in tickets if isinstance(one, dict)] if isinstance(tickets, list) else []

    async def history(self, ticket_id: str) -> list[dict[str, Any]]:
        """TicketHistoryGet: the entries, oldest first."""
        found = await self._call("GET", f"/Ticket/History/{ticket_id}", {}, repeatable=True)
        tickets = found.get("TicketHistory") or []
        entries = tickets[0].get("History") if tickets and isinstance(tickets[0], dict) else None
        return [one for one in entries or [] if isinstance(one, dict)]

    async def _call(
        self, method: str, path: str, values: dict[str, Any], *, repeatable: bool = False
    ) -> dict[str, Any]:
        what = f"{method} {path.partition(',')[0]}"
        for _ in (1, 2):
            session = await self.session()
            signed = {**values, "SessionID": session.id}
            kind = {"params": signed} if method == "GET" else {"json": signed}
            try:
                return self._read(await self._asked(method, path, repeatable=repeatable, **kind), what)
            except ZnunyRefusedError as refused:
                if refused.reason != "AuthFail":
                    raise
                # Refused before anything was done: a new session, once.
                async with self._lock:
                    if self._session is session:
                        self._session = None
        raise MisconfiguredError(
            f"{what}: Znuny lets {self._user!r} in and refuses its session: see that REMOTE_ADDR checks "
            "(SessionCheckRemoteIP) do not stand against it, and that the agent is valid"
        )

    async def _sign_in(self) -> Session:
        body = {"UserLogin": self._user, "Password": self._password.get_secret_value()}
        try:
            answer = await self._asked("POST", "/Session", json=body, repeatable=True)
            session_id = str(self._read(answer, "POST /Session").get("SessionID") or "")
            if not session_id.isalnum():
                raise MisconfiguredError("POST /Session gave no SessionID: is URL the web service's address?")
            told = self._read(await self._asked("GET", f"/Session/{session_id}", repeatable=True), "GET /Session/…")
        except ZnunyRefusedError:
            raise MisconfiguredError(
                f"Znuny does not let {self._user!r} in: check USER and PASSWORD, and that the agent is valid"
            ) from None
        pairs = [one for one in told.get("SessionData") or [] if isinstance(one, dict)]
        data = {str(one.get("Key")): str(one.get("Value")) for one in pairs}
        if not data.get("UserID"):
            raise MisconfiguredError("GET /Session/… tells no UserID: import the web service as it is shipped")
        return Session(session_id, data["UserID"], data)

    async def _asked(self, method: str, path: str, **arguments: Any) -> Answer:
        before = time.monotonic()
        answer = await self._api.request(method, path, **arguments)
        took = timedelta(seconds=time.monotonic() - before)
        try:
            date = parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
        except (TypeError, ValueError):
            date = self._now() - timedelta(minutes=1)
        self.clock = date - took
        return answer

    @staticmethod
    def _read(answer: Answer, what: str) -> dict[str, Any]:
        status, body, kind = answer.status, answer.json(), answer.kind
        if status == 200 and isinstance(body, dict):
            error = body.get("Error")
            if not isinstance(error, dict):
                return body
            raise ZnunyRefusedError(harmless(error.get("ErrorCode")), harmless(error.get("ErrorMessage")))
        if status == 500 and kind == "text/plain":
            text = answer.content[:500]
            if b"determine Operation" in text:
                raise MisconfiguredError(
                    f"{what}: the web service has no such operation, or takes it by another method: import "
                    "GenericTicketConnectorREST.yml as it is shipped (docs/csd-znuny.md)"
                )
            if b"decoding request" in text or b"length" in text:
                raise PermanentError(
                    f"{what}: Znuny cannot take the request: {harmless(text.decode('utf-8', 'replace'))}"
                )
        if status in (401, 403, 404):
            raise MisconfiguredError(f"{what}: {status}: check URL and what stands before Znuny")
        if status == 413:
            raise PermanentError(
                f"{what}: 413: larger than the web server takes: raise its limit, or attach the file by hand"
            )
        if status >= 500:
            raise TransientError(f"{what}: the server failed with {status}")
        raise PermanentError(f"{what}: an answer that Znuny does not give ({status}, {kind})")
