"""Zammad's REST API v1 on the wire.

Errors are `{"error": …, "error_human": …}` with 403 (no right), 404 (not there) and 422 (anything that it does not like, an unknown
column in a search as well). Who is no administrator gets `Error ID …: Please contact your administrator.` for what has no human words.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from okienko.plugins.context import utc_now
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, HttpApi, harmless

Record = dict[str, Any]
PAGE = 200
"""The most that Zammad's search gives."""


class ZammadRefusedError(PermanentError):
    """A request was refused: `status` 403, 404 or 422, and Zammad's words."""

    def __init__(self, what: str, status: int, text: str) -> None:
        super().__init__(f"Zammad refused {what}: {status}: {text}")
        self.status = status
        self.text = text


class ZammadWire:
    """One Zammad, as one agent."""

    def __init__(self, api: HttpApi, now: Callable[[], datetime] = utc_now) -> None:
        self._api = api
        self._now = now
        self._me: Record | None = None
        self.clock: datetime | None = None
        """The server's time at the last answer, rather too early than too late."""

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def me(self) -> Record:
        """Our own account, asked for once."""
        if self._me is None:
            self._me = await self.fetch("/users/me")
            if not self._me.get("id"):
                raise MisconfiguredError("GET /users/me tells no id: is URL Zammad's address?")
        return self._me

    async def search(
        self, condition: dict[str, Any], *, limit: int = PAGE, page: int = 1, by: str = "id"
    ) -> list[Record]:
        """Tickets by a condition, with names instead of ids, in the order of `by` and id.

        With a condition and no query Zammad asks its database; its search index would not know a ticket that was just made
        (zammad/zammad issue 5369 and `CanSearch`).
        """
        body = {
            "condition": condition, "expand": True, "per_page": limit, "limit": limit, "page": page,
            "sort_by": by if by == "id" else f"{by}, id", "order_by": "asc" if by == "id" else "asc, asc",
        }  # fmt: skip
        found = await self._asked("POST", "/tickets/search", json=body, repeatable=True)
        if not isinstance(found, list):
            raise PermanentError("POST /tickets/search: no list: is it Zammad 5 or later?")
        return [one for one in found if isinstance(one, dict)]

    async def ticket(self, ticket_id: str) -> Record | None:
        """A ticket with names instead of ids, None when it is not there."""
        try:
            return await self.fetch(f"/tickets/{ticket_id}")
        except ZammadRefusedError as refused:
            if refused.status == 404:
                return None
            raise

    async def articles(self, ticket_id: str) -> list[Record]:
        """The articles of a ticket with their attachments."""
        return await self.listing(f"/ticket_articles/by_ticket/{ticket_id}")

    async def content(self, ticket_id: str, article_id: str, attachment_id: str) -> bytes:
        """An attachment's octets."""
        path = f"/ticket_attachment/{ticket_id}/{article_id}/{attachment_id}"
        answer = await self._answer("GET", path, repeatable=True)
        self._refuse(answer, "GET /ticket_attachment")
        return answer.content

    async def links(self, ticket_id: str) -> tuple[list[Record], Record]:
        """The links of a ticket, and the linked tickets by their ids."""
        found = await self.fetch("/links", link_object="Ticket", link_object_value=ticket_id)
        links, assets = found.get("links") or [], found.get("assets") or {}
        return [one for one in links if isinstance(one, dict)], assets.get("Ticket") or {}

    async def fetch(self, path: str, **params: str) -> Record:
        """One record."""
        found = await self._asked("GET", path, params={"expand": "true", **params}, repeatable=True)
        if not isinstance(found, dict):
            raise PermanentError(f"GET {path}: an answer that Zammad does not give")
        return found

    async def listing(self, path: str) -> list[Record]:
        """Every record of a kind."""
        found = await self._asked("GET", path, params={"expand": "true", "per_page": "500"}, repeatable=True)
        if not isinstance(found, list):
            raise PermanentError(f"GET {path}: an answer that Zammad does not give")
        return [one for one in found if isinstance(one, dict)]

    async def write(self, method: str, path: str, body: Record) -> Record:
        """Not repeatable: what follows a lost answer is the caller's to find out."""
        found = await self._asked(method, path, json=body)
        return found if isinstance(found, dict) else {}

    async def _asked(self, method: str, path: str, **arguments: Any) -> Any:
        answer = await self._answer(method, path, **arguments)
        what = f"{method} {path}"
        self._refuse(answer, what)
        body = answer.json()
        if body is None:
            raise PermanentError(f"{what}: no JSON but {answer.kind}: is URL Zammad's address?")
        return body

    async def _answer(self, method: str, path: str, **arguments: Any) -> Answer:
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
    def _refuse(answer: Answer, what: str) -> None:
        status = answer.status
        if status in (200, 201):
            return
        body = answer.json()
        told = body if isinstance(body, dict) else {}
        text = harmless(told.get("error_human") or told.get("error") or answer.kind)
        if status >= 500:
            raise TransientError(f"{what}: the server failed with {status}")
        if status in (403, 404) and not told:
            raise MisconfiguredError(f"{what}: {status} and no JSON: check URL and what stands before Zammad")
        if status == 413:
            raise PermanentError(
                f"{what}: 413: larger than the web server takes: raise its limit, or attach the file by hand"
            )
        if status == 422 and "already" in text and "link" not in text.casefold():
            # Two requests made one customer at the same time; the one that lost did nothing.
            raise TransientError(f"{what}: {text}")
        if status in (403, 404, 422):
            raise ZammadRefusedError(what, status, text)
        raise PermanentError(f"{what}: an answer that Zammad does not give ({status}, {answer.kind})")
