"""RT's REST 2 as requests and answers. I/O only; what an answer means for a ticket is said in client.py.

Source: https://docs.bestpractical.com/rt/5.0.3/RT/REST2.html, and what RT 5.0.3 was seen to do. RT answers 200 with a list of sentences
whether a change was made or not, so that nobody here reads them: what was written is read back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

from okienko.plugins.csd import TicketChangedError, TicketGoneError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, HttpApi, harmless

PAGE = 100
"""RT gives no more at once."""
Record = Mapping[str, Any]
_RIGHTS = "see that okienko's user has the rights of docs/csd-rt.md there"


class RtWire:
    """The requests. All raise TransientError and MisconfiguredError; PermanentError says what RT refused."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def version(self) -> str:
        """RT's version. Raises MisconfiguredError when there is no REST 2 at the address."""
        answer = await self._api.request("GET", "/rt", repeatable=True)
        version = _record(answer, "GET /rt").get("Version") if answer.status == 200 else None
        if not isinstance(version, str):
            raise MisconfiguredError(
                f"GET /rt: {answer.status} ({answer.kind}), this is no RT 5: correct the setting URL"
            )
        return version

    async def date(self) -> datetime | None:
        """RT's clock; None when it does not tell."""
        answer = await self._api.request("GET", "/rt", repeatable=True)
        self._refuse(answer, "GET /rt")
        return _date(answer)

    async def ticket(self, number: int) -> tuple[Record, str | None] | None:
        """A ticket with its ETag; None when there is none. A merged one's number gives the one into which it was merged."""
        what = f"GET /ticket/{number}"
        answer = await self._api.request("GET", f"/ticket/{number}", params={"fields[Queue]": "Name"}, repeatable=True)
        if answer.status == 404:
            return None
        self._refuse(answer, what)
        return _record(answer, what), answer.headers.get("etag")

    async def tickets(
        self, query: str, fields: str, *, orderby: Sequence[str] = ("id",), most: int | None = None
    ) -> AsyncIterator[tuple[Record, datetime | None]]:
        """The tickets of a TicketSQL query, with the moment at which RT answered. Other than history, RT counts them."""
        page, seen = 1, 0
        while True:
            per_page = min(PAGE, most - seen) if most is not None else PAGE
            # As a form: RT ignores a query in JSON and answers that it found nothing; and it stays out of access logs.
            form: dict[str, Any] = {"query": query, "fields": fields, "per_page": str(per_page), "page": str(page)}
            form |= {"fields[Queue]": "Name", "orderby": list(orderby)}
            answer = await self._api.request("POST", "/tickets", data=form, repeatable=True)
            self._refuse(answer, "POST /tickets")
            body = _record(answer, "POST /tickets")
            items = _items(body, "POST /tickets")
            at = _date(answer)
            for item in items:
                seen += 1
                yield item, at
            pages = body.get("pages")
            if not items or (most is not None and seen >= most) or not isinstance(pages, int | float) or page >= pages:
                return
            page += 1

    async def listing(self, path: str, fields: str, filters: Sequence[Mapping[str, str]]) -> list[Record]:
        """Everything of a collection below `path` that passes the filters. RT does not say how much there is."""
        found: list[Record] = []
        page = 1
        while True:
            params: dict[str, str | int] = {"fields": fields, "per_page": PAGE, "page": page, "orderby": "id"}
            what = f"POST {path}"
            answer = await self._api.request("POST", path, params=params, json=list(filters), repeatable=True)
            self._refuse(answer, what)
            items = _items(_record(answer, what), what)
            found += items
            if len(items) < PAGE:
                return found
            page += 1

    async def transactions(self, query: str, fields: str, *, newest: bool = False) -> list[Record]:
        """Transactions of a query in order, or only the newest. Those that our user may not see are left out by RT."""
        found: list[Record] = []
        page = 1
        while True:
            params: dict[str, str | int] = {"query": query, "fields": fields, "orderby": "id", "page": page}
            params |= {"order": "DESC" if newest else "ASC", "per_page": 1 if newest else PAGE}
            answer = await self._api.request("GET", "/transactions", params=params, repeatable=True)
            self._refuse(answer, "GET /transactions")
            items = _items(_record(answer, "GET /transactions"), "GET /transactions")
            found += items
            # A page may be short because of what we may not see; an empty one is taken for the end.
            if newest or not items:
                return found
            page += 1

    async def bulk(self, tickets: Sequence[Mapping[str, Any]]) -> list[int | str]:
        """Create tickets in their order; for each its number, or why RT did not make it."""
        what = "POST /tickets/bulk"
        answer = await self._api.request("POST", "/tickets/bulk", json=list(tickets))
        self._refuse(answer, what)
        made = answer.json()
        if not isinstance(made, list) or len(made) != len(tickets):
            raise TransientError(f"{what}: {answer.status}, but not an answer for each ticket; look what was made")
        return [_created(one) for one in made]

    async def create(self, ticket: Mapping[str, Any]) -> Answer:
        """Create one ticket; the answer as it is, for the checks."""
        return await self._api.request("POST", "/ticket", json=dict(ticket))

    async def update(self, number: int, values: Mapping[str, Any], version: str | None = None) -> str:
        """Write fields; what RT says, for a message. Raises TicketChangedError when the ticket has another ETag."""
        what = f"PUT /ticket/{number}"
        headers = {"If-Match": version} if version else None
        answer = await self._api.request(
            "PUT", f"/ticket/{number}", json=dict(values), headers=headers, repeatable=version is None
        )
        if answer.status == 412:
            raise TicketChangedError(f"ticket {number} was changed in RT since it was read; nothing was written")
        if answer.status == 404:
            raise TicketGoneError(f"RT has no ticket {number}")
        self._refuse(answer, what)
        return said(answer)

    async def message(
        self, number: int, kind: str, values: Mapping[str, Any], file: tuple[str, BinaryIO, str] | None = None
    ) -> str:
        """Add a comment or correspondence, with a file perhaps; what RT says."""
        path = f"/ticket/{number}/{kind}"
        if file is None:
            answer = await self._api.request("POST", path, json=dict(values))
        else:
            answer = await self._api.request(
                "POST", path, data={"JSON": json.dumps(dict(values))}, files=[("Attachments", file)]
            )
        self._refuse(answer, f"POST {path}")
        return said(answer)

    async def resource(self, path: str, params: Mapping[str, str] | None = None) -> Record | None:
        """A queue, custom field or attachment; None when it is not there or not ours to see: RT does not say which."""
        answer = await self._api.request("GET", path, params=params, repeatable=True)
        if answer.status in (403, 404):
            return None
        self._refuse(answer, f"GET {path}")
        return _record(answer, f"GET {path}")

    def _refuse(self, answer: Answer, what: str) -> None:
        if answer.status < 300:
            return
        if answer.status >= 500:
            raise TransientError(f"{what}: RT failed ({answer.status})")
        if answer.status == 403:
            raise PermanentError(f"{what}: RT forbids it (403): {_RIGHTS}")
        if answer.status == 404:
            raise TicketGoneError(f"{what}: RT does not know it (404)")
        raise PermanentError(f"{what}: RT refuses it ({answer.status}): {said(answer) or answer.kind}")


def said(answer: Answer) -> str:
    """RT's words, fit for an error."""
    body = answer.json()
    if isinstance(body, dict):
        body = body.get("message", "")
    return harmless("; ".join(map(str, body)) if isinstance(body, list) else body or "")


def _created(one: Any) -> int | str:
    number = one.get("id") if isinstance(one, dict) else None
    if str(number).isdigit():
        return int(str(number))
    return harmless(one.get("message", "no reason given") if isinstance(one, dict) else "no reason given")


def _record(answer: Answer, what: str) -> Record:
    body = answer.json()
    if not isinstance(body, dict):
        raise TransientError(f"{what}: RT answered {answer.status} with {answer.kind}, not with a JSON object")
    return body


def _items(body: Record, what: str) -> list[Record]:
    items = body.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise TransientError(f"{what}: RT answered without a list of items")
    return items


def _date(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers.get("date", ""))
    except (TypeError, ValueError):
        return None
