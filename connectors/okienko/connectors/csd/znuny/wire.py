"""The Generic Interface on the wire: sessions, and errors that come with HTTP 200.

Measured against Znuny 6.5 (GenericTicketConnectorREST): every failure of an operation is `{"Error": {"ErrorCode", "ErrorMessage"}}`
with status 200; a route or a body that the transport cannot take is a 500 in plain text; an unknown ticket is `AccessDenied`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import SecretStr

from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import HttpApi, harmless


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


class ZnunyWire:
    """One web service, as one agent."""

    def __init__(self, api: HttpApi, user: str, password: SecretStr) -> None:
        self._api = api
        self._user = user
        self._password = password
        self._session = ""
        self._lock = asyncio.Lock()

    async def stop(self) -> None:
        """Close the connections. The session ends by itself: SessionDelete would want the password in the address."""
        await self._api.close()

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

    async def get(self, ticket_ids: list[str], *, articles: bool) -> list[dict[str, Any]]:
        """TicketGet with dynamic fields; none when one of them is unknown or closed to us."""
        query: dict[str, str | int] = {"DynamicFields": 1}
        if articles:
            query |= {"AllArticles": 1, "Attachments": 1, "GetAttachmentContents": 0}
        try:
            found = await self._call("GET", f"/Ticket/{','.join(ticket_ids)}", query, repeatable=True)
        except ZnunyRefusedError as refused:
            if refused.reason == "AccessDenied":
                return []
            raise
        tickets = found.get("Ticket", [])
        return [one for one in tickets if isinstance(one, dict)] if isinstance(tickets, list) else []

    async def _call(
        self, method: str, path: str, values: dict[str, Any], *, repeatable: bool = False
    ) -> dict[str, Any]:
        for attempt in (1, 2):
            session = await self._sign_in()
            signed = {**values, "SessionID": session}
            if method == "GET":
                answer = await self._api.request(method, path, params=signed, repeatable=repeatable)
            else:
                answer = await self._api.request(method, path, json=signed, repeatable=repeatable)
            try:
                return self._read(answer.status, answer.json(), answer.kind, f"{method} {path}")
            except ZnunyRefusedError as refused:
                # Refused before anything was done: a new session, once.
                if refused.reason != "AuthFail" or attempt == 2:
                    raise
                async with self._lock:
                    if self._session == session:
                        self._session = ""
        raise AssertionError("unreachable")

    async def _sign_in(self) -> str:
        async with self._lock:
            if not self._session:
                body = {"UserLogin": self._user, "Password": self._password.get_secret_value()}
                answer = await self._api.request("POST", "/Session", json=body, repeatable=True)
                try:
                    found = self._read(answer.status, answer.json(), answer.kind, "POST /Session")
                except ZnunyRefusedError:
                    raise MisconfiguredError(
                        f"Znuny does not let {self._user!r} in: check USER and PASSWORD, and that the agent is valid"
                    ) from None
                self._session = str(found.get("SessionID") or "")
                if not self._session:
                    raise MisconfiguredError("POST /Session gave no SessionID: is URL the web service's address?")
            return self._session

    @staticmethod
    def _read(status: int, body: Any, kind: str, what: str) -> dict[str, Any]:
        if status == 200 and isinstance(body, dict):
            error = body.get("Error")
            if not isinstance(error, dict):
                return body
            raise ZnunyRefusedError(harmless(error.get("ErrorCode")), harmless(error.get("ErrorMessage")))
        if status == 500 and kind == "text/plain":
            raise MisconfiguredError(
                f"{what}: the web service has no such operation, or takes it by another method: import "
                "GenericTicketConnectorREST.yml as it is shipped (docs/csd-znuny.md)"
            )
        if status in (401, 403, 404):
            raise MisconfiguredError(f"{what}: {status}: check URL and what stands before Znuny")
        if status >= 500:
            raise TransientError(f"{what}: the server failed with {status}")
        raise PermanentError(f"{what}: an answer that Znuny does not give ({status}, {kind})")
