"""GLPI 11's high-level API, `api.php/v2`.

Source: GLPI 11's OpenAPI (`/api.php/doc`) and its controllers. OAuth 2 tokens; RSQL filters; errors are
`{"status": "ERROR_…", "title": …, "detail": …}`. It takes no file content and has no links between tickets: see docs/csd-glpi.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.connectors.csd.glpi import mapping as words
from okienko.connectors.csd.glpi.base import GlpiRefusedError, GlpiSystem, date_of
from okienko.connectors.csd.glpi.checks import check
from okienko.plugins.csd import Registration, Ticket, TicketChange
from okienko.plugins.csdsystem import Row, by_time
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.findings import Finding
from okienko.plugins.httpapi import Answer, Credentials, harmless
from okienko.schemas import CsdRef

_PAGE = 100
_ASSIGNED = 2
"""The role, by its number: the words are taken by some versions only."""
_TICKETS = "/Assistance/Ticket"


class Glpi11(GlpiSystem):
    """See TicketSystem."""

    path = "/api.php/v2"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._me = ""

    def credentials(self) -> Credentials:
        """See GlpiSystem."""
        s = self.settings
        return Credentials(
            token_url=f"{s.url}/api.php/token", client_id=s.client_id, client_secret=s.client_secret, scope="api",
            user=s.username, password=s.password,
        )  # fmt: skip

    async def search(self, correlation_id: UUID) -> AsyncGenerator[Ticket, None]:
        """See TicketSystem."""
        query = {"filter": f'{self._field}=="{correlation_id}";is_deleted==false', "sort": "id:asc"}
        async for row in self._list(_TICKETS, query):
            if not row.get("is_deleted"):
                yield self._ticket(row)

    @property
    def _field(self) -> str:
        return "external_id" if self.mapping.correlation == "externalid" else self.mapping.correlation

    async def read(self, ref: CsdRef) -> Ticket | None:
        """See TicketSystem."""
        number = words.number_in(ref)
        row = await self._item(f"{_TICKETS}/{number}") if number is not None else None
        if row is None or row.get("is_deleted"):
            return None
        me = await self._own()
        category = row.get("category") if isinstance(row.get("category"), dict) else {}
        followups, solutions, queue = await asyncio.gather(
            self._entries(f"{_TICKETS}/{number}/Timeline/Followup", me),
            self._entries(f"{_TICKETS}/{number}/Timeline/Solution", me, solution=True),
            self.category_name(int((category or {}).get("id") or 0)),
        )
        team = [one for one in row.get("team") or [] if isinstance(one, dict) and one.get("role") == "assigned"]
        assignee = str(team[0].get("name") or "") or None if team else None
        return self._ticket(row, entries=[*followups, *solutions], queue=queue, assignee=assignee, told=row)

    def _ticket(self, row: dict[str, Any], **more: Any) -> Ticket:
        state = row.get("status")
        return words.ticket_of(
            self.mapping, number=row["id"], correlation=row.get(self._field),
            state=state.get("id") if isinstance(state, dict) else state, subject=str(row.get("name") or ""),
            created=words.moment(row.get("date_creation"), self.zone), updated=words.moment(row.get("date_mod"), self.zone),
            priority=row.get("priority"), **more,
        )  # fmt: skip

    async def _entries(self, path: str, me: str, *, solution: bool = False) -> list[words.Entry]:
        found = []
        body, _ = await self._call("GET", path, repeatable=True)
        for told in body if isinstance(body, list) else []:
            # The whole timeline wraps each entry, one kind of it does not.
            row = told.get("item", told) if isinstance(told, dict) else None
            if isinstance(row, dict):
                user = row.get("user") if isinstance(row.get("user"), dict) else None
                author = str((user or {}).get("id") or "")
                found.append(
                    words.Entry(
                        f"{'Solution' if solution else 'Followup'}:{row['id']}", words.decoded(row.get("content")),
                        words.moment(row.get("date_creation"), self.zone), public=not row.get("is_private"), author=author,
                        # Version 2.0 tells no author; then the mark alone decides.
                        ours=user is None or not me or author == me, solution=solution,
                    )
                )  # fmt: skip
        return found

    async def _own(self) -> str:
        if not self._me and self.settings.username is not None:
            me = await self._item("/Administration/User/Me")
            self._me = str((me or {}).get("id") or "")
        return self._me

    async def clock(self) -> datetime:
        """See TicketSystem."""
        _, answer = await self._call("GET", _TICKETS, params={"limit": 1}, repeatable=True)
        return date_of(answer.headers)

    async def changed(self, since: datetime) -> AsyncGenerator[tuple[CsdRef, datetime], None]:
        """See TicketSystem."""

        async def page(at: datetime, start: int) -> tuple[list[Row], bool]:
            query = {"filter": f'date_mod=ge="{words.local(at, self.zone)}"', "sort": "date_mod:asc"}
            rows, more = await self._page(_TICKETS, query, start)
            return [(words.ref_of(row["id"]), words.moment(row.get("date_mod"), self.zone)) for row in rows], more

        async with aclosing(by_time(page, since)) as rows:
            async for row in rows:
                yield row

    async def categories(self) -> dict[str, int]:
        """See GlpiSystem."""
        rows = self._list("/Dropdowns/ITILCategory", {"sort": "id:asc"})
        return {str(row.get("completename") or row.get("name")): int(row["id"]) async for row in rows}

    async def create(self, registration: Registration) -> CsdRef:
        """See TicketSystem. The API takes no requester without an account: the text begins with the address."""
        sender = (
            f"{registration.requester_name or ''} <{registration.requester}>".strip() if registration.requester else ""
        )
        text = f"{sender}\n\n{registration.description}" if sender else registration.description
        ticket: dict[str, Any] = words.field_values(self.mapping.values_for(registration)) | {
            "name": registration.subject, "content": words.html_of(text), self._field: str(registration.correlation_id),
            "date": registration.opened_at.isoformat(timespec="seconds"),
        }  # fmt: skip
        name, where = self.category_of(registration)
        if name is not None:
            ticket["category"] = {"id": await self.category_id(name, where)}
        if kind := self.mapping.type_for(registration):
            ticket["type"] = words.code_of(kind, words.TYPES)
        if (priority := self.mapping.priority_out(registration.priority)) is not None:
            ticket["priority"] = words.code_of(priority, words.PRIORITIES)
        made, _ = await self._call("POST", _TICKETS, json=ticket)
        if not isinstance(made, dict) or not made.get("id"):
            raise PermanentError("POST /Assistance/Ticket: GLPI answered without the ticket's id")
        return words.ref_of(made["id"])

    async def add_note(self, ticket: Ticket, text: str, *, public: bool) -> None:
        """See TicketSystem."""
        body = {"content": words.html_of(text), "is_private": not public}
        await self._call("POST", f"{_TICKETS}/{ticket.ref.number}/Timeline/Followup", json=body)

    async def solve(self, ticket: Ticket, text: str) -> None:
        """See TicketSystem; GLPI sets the state `solved` with it."""
        body = {"content": words.html_of(text)}
        await self._call("POST", f"{_TICKETS}/{ticket.ref.number}/Timeline/Solution", json=body)

    async def update(self, ticket: Ticket, change: TicketChange) -> None:
        """See TicketSystem."""
        values: dict[str, Any] = {}
        if change.status is not None:
            values["status"] = {"id": words.code_of(self.mapping.status_out(change.status), words.STATES)}
        if change.subject is not None:
            values["name"] = change.subject
        if change.priority is not None:
            word = self.mapping.priority_out(change.priority) or "medium"
            values["priority"] = words.code_of(word, words.PRIORITIES)
        if change.queue is not None:
            values["category"] = {"id": await self.category_id(change.queue) if change.queue else 0}
        path = f"{_TICKETS}/{ticket.ref.number}"
        if values:
            await self._call("PATCH", path, json=values, repeatable=True)
        if change.assignee is not None:
            await self._assign(path, ticket.assignee, change.assignee)

    async def _assign(self, path: str, before: str | None, login: str) -> None:
        if login and login != before:
            member = {"type": "User", "id": await self._user(login), "role": _ASSIGNED}
            await self._call("POST", f"{path}/TeamMember", json=member)
        if before and login != before:
            member = {"type": "User", "id": await self._user(before), "role": _ASSIGNED}
            await self._call("DELETE", f"{path}/TeamMember", json=member, repeatable=True)

    async def _user(self, login: str) -> int:
        quoted = login.replace("\\", "\\\\").replace('"', '\\"')
        async for row in self._list("/Administration/User", {"filter": f'username=="{quoted}"'}):
            if row.get("username") == login:
                return int(row["id"])
        raise PermanentError(f"GLPI has no user {login!r} to whom a ticket could be given")

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self)

    async def probe(self) -> str | None:
        """The problem with the correlation field, None when there is none."""
        try:
            async for _ in self._list(_TICKETS, {"filter": f'{self._field}=="okienko-check"'}):
                return "the search ignores it"
        except GlpiRefusedError as refused:
            return str(refused)
        return None

    # --- the wire -----------------------------------------------------------------------------------------------------

    async def _page(self, path: str, query: dict[str, str], start: int) -> tuple[list[dict[str, Any]], bool]:
        """Rows, and whether there are more."""
        params = {**query, "start": start, "limit": _PAGE}
        body, answer = await self._call("GET", path, params=params, repeatable=True)
        rows = [row for row in body if isinstance(row, dict)] if isinstance(body, list) else []
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        return rows, bool(rows) and total.isdigit() and start + len(rows) < int(total)

    async def _call(self, method: str, path: str, **arguments: Any) -> tuple[Any, Answer]:
        answer = await self.api.request(method, path, **arguments)
        return _read(answer, f"{method} {path}"), answer


def _read(answer: Answer, what: str) -> Any:
    """The body. Raises for what is none, by GLPI's own code."""
    body, status = answer.json(), answer.status
    if 200 <= status < 300:
        if body is None and answer.content and answer.content.strip() != b"null":
            raise MisconfiguredError(f"{what}: {answer.kind} instead of JSON: is URL GLPI's address, and its API on?")
        return body
    code = harmless(body.get("status")) if isinstance(body, dict) else ""
    text = harmless(body.get("detail") or body.get("title")) if isinstance(body, dict) else ""
    if status >= 500:
        raise TransientError(f"{what}: GLPI failed with {status} {text}".strip())
    if not code:
        raise MisconfiguredError(f"{what}: {status} ({answer.kind}): is URL GLPI's address, and its API switched on?")
    if status == 403 or code == "ERROR_RIGHT_MISSING":
        raise MisconfiguredError(
            f"{what}: okienko's user may not do this: give its profile the rights of docs/csd-glpi.md"
        )
    raise GlpiRefusedError(what, code, text)
