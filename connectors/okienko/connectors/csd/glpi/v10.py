"""GLPI 10's `apirest.php` (and GLPI 11's, which still has it).

Source: apirest.md of GLPI. A session is begun with the tokens and named in the header Session-Token; errors are `["ERROR_…", "text"]`
with 400, 401, 403 or 404; lists say in Content-Range what they leave out, and a range beyond the end is an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.connectors.csd.glpi import mapping as words
from okienko.connectors.csd.glpi.answers10 import id_in
from okienko.connectors.csd.glpi.answers10 import read as read_answer
from okienko.connectors.csd.glpi.base import GlpiRefusedError, GlpiSystem, date_of
from okienko.connectors.csd.glpi.checks import check
from okienko.plugins.csd import Capability, NewFile, Registration, RemoteFile, Ticket, TicketChange, digest_of
from okienko.plugins.csdsystem import Row, by_time
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError
from okienko.plugins.findings import Finding
from okienko.plugins.httpapi import Answer, harmless
from okienko.schemas import CsdRef, Priority, TicketStatus

_PAGE = 200
_ASSIGNED = 2
_DUPLICATE = 2
_SESSION = ("ERROR_SESSION_TOKEN_INVALID", "ERROR_SESSION_TOKEN_MISSING")


class Glpi10(GlpiSystem):
    """See TicketSystem."""

    path = "/apirest.php"
    own_sessions = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._session = ""
        self._me = 0
        self._lock = asyncio.Lock()
        self._date_mod = 0

    def more(self) -> set[Capability]:
        """See GlpiSystem."""
        return {Capability.ATTACHMENTS, Capability.LINKS}

    def headers(self) -> dict[str, str]:
        """See GlpiSystem."""
        token = self.settings.app_token
        return {"App-Token": token.get_secret_value()} if token else {}

    async def stop(self) -> None:
        """The session is ended, as far as GLPI answers."""
        if self._session and self._open is not None:
            # One that cannot be ended ends by itself.
            with suppress(OkienkoError):
                await self.api.request("GET", "/killSession", headers={"Session-Token": self._session})
        self._session = ""
        await super().stop()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def search(self, correlation_id: UUID) -> AsyncGenerator[Ticket, None]:
        """See TicketSystem."""
        query = {f"searchText[{self.mapping.correlation}]": f"^{correlation_id}$", "sort": "id"}
        async for row in self._list("/Ticket", query):
            if not int(row.get("is_deleted") or 0):
                yield self._bare(row)

    async def read(self, ref: CsdRef) -> Ticket | None:
        """See TicketSystem. A ticket in the dustbin is gone, unless it was merged into another."""
        number = words.number_in(ref)
        row = await self._item(f"/Ticket/{number}") if number is not None else None
        if number is None or row is None:
            return None
        if int(row.get("is_deleted") or 0):
            into = await self._merged_into(number)
            return self._bare(row, into) if into is not None else None
        entries, files, assignee = await asyncio.gather(
            self._entries(number), self._files(number), self._assignee(number)
        )
        return words.ticket_of(
            self.mapping, number=number, correlation=row.get(self.mapping.correlation), state=row.get("status"),
            subject=words.decoded(row.get("name")), created=words.moment(row.get("date_creation"), self.zone),
            updated=words.moment(row.get("date_mod"), self.zone), priority=row.get("priority"), assignee=assignee,
            queue=await self.category_name(int(row.get("itilcategories_id") or 0)), entries=entries, files=files, told=row,
        )  # fmt: skip

    def _bare(self, row: dict[str, Any], merged_into: CsdRef | None = None) -> Ticket:
        return words.ticket_of(
            self.mapping, number=row["id"], correlation=row.get(self.mapping.correlation), state=row.get("status"),
            subject=words.decoded(row.get("name")), created=words.moment(row.get("date_creation"), self.zone),
            updated=words.moment(row.get("date_mod"), self.zone), priority=row.get("priority"), merged_into=merged_into,
        )  # fmt: skip

    async def _merged_into(self, number: int) -> CsdRef | None:
        """GLPI merges by a link of the kind `duplicates` and the dustbin."""
        async for row in self._list("/Ticket_Ticket", {"searchText[tickets_id_1]": f"^{number}$"}):
            if int(row.get("link") or 0) == _DUPLICATE and int(row["tickets_id_1"]) == number:
                return words.ref_of(row["tickets_id_2"])
        return None

    async def _entries(self, number: int) -> list[words.Entry]:
        await self._sign_in()
        found: list[words.Entry] = []
        for kind in ("ITILFollowup", "ITILSolution"):
            found += [self._entry(kind, row) async for row in self._list(f"/Ticket/{number}/{kind}", {})]
        return found

    def _entry(self, kind: str, row: dict[str, Any]) -> words.Entry:
        return words.Entry(
            f"{kind}:{row['id']}", words.decoded(row.get("content")), words.moment(row.get("date_creation"), self.zone),
            public=not int(row.get("is_private") or 0), author=str(row.get("users_id") or ""),
            ours=int(row.get("users_id") or 0) == self._me, solution=kind == "ITILSolution",
        )  # fmt: skip

    async def _files(self, number: int) -> list[RemoteFile]:
        links = [int(row["documents_id"]) async for row in self._list(f"/Ticket/{number}/Document_Item", {})]
        found: list[RemoteFile] = []
        for at in range(0, len(links), 50):
            query: dict[str, str | int] = {}
            for place, document in enumerate(links[at : at + 50]):
                query |= {f"items[{place}][itemtype]": "Document", f"items[{place}][items_id]": document}
            rows, _ = await self._call("GET", "/getMultipleItems", params=query, repeatable=True)
            found += [await self._file(row) for row in rows if isinstance(row, dict)]
        return sorted(found, key=lambda file: int(file.id))

    async def _file(self, row: dict[str, Any]) -> RemoteFile:
        """GLPI tells no size: our own documents say it, another's is looked at once."""
        told = words.told_of_file(row.get("comment")) if int(row.get("users_id") or 0) == self._me else None
        told = told or self.remembered("document", f"{row['id']} {row.get('sha1sum')}")
        if told is None:
            _, answer = await self._call(
                "GET",
                f"/Document/{row['id']}",
                headers={"Accept": "application/octet-stream"},
                repeatable=True,
                raw=True,
            )
            told = (len(answer.content), digest_of(answer.content))
            self.remember("document", f"{row['id']} {row.get('sha1sum')}", told)
        return RemoteFile(str(row["id"]), words.decoded(row.get("filename")), told[0], told[1])

    async def _assignee(self, number: int) -> str | None:
        async for row in self._list(f"/Ticket/{number}/Ticket_User", {}):
            if int(row.get("type") or 0) == _ASSIGNED:
                user = row["users_id"]
                name = self.remembered("user", user)
                if name is None:
                    name = words.decoded((await self._item(f"/User/{user}") or {}).get("name", user))
                    self.remember("user", user, name)
                return str(name)
        return None

    async def clock(self) -> datetime:
        """See TicketSystem."""
        _, answer = await self._call("GET", "/getActiveProfile", repeatable=True)
        return date_of(answer.headers)

    async def changed(self, since: datetime) -> AsyncGenerator[tuple[CsdRef, datetime], None]:
        """See TicketSystem; by the search engine, whose numbers for fields are GLPI's to say."""
        if not self._date_mod:
            self._date_mod = await self._option("date_mod")
        column = str(self._date_mod)

        async def page(at: datetime, start: int) -> tuple[list[Row], bool]:
            query = {
                "criteria[0][field]": column, "criteria[0][searchtype]": "morethan",
                "criteria[0][value]": words.just_before(at, self.zone),
                "sort": column, "order": "ASC", "forcedisplay[0]": "2", "forcedisplay[1]": column,
            }  # fmt: skip
            rows, more = await self._page("/search/Ticket", query, start)
            return [(words.ref_of(row["2"]), words.moment(row[column], self.zone)) for row in rows], more

        async with aclosing(by_time(page, since)) as rows:
            async for row in rows:
                yield row

    async def _option(self, field: str) -> int:
        options, _ = await self._call("GET", "/listSearchOptions/Ticket", repeatable=True)
        for number, option in options.items() if isinstance(options, dict) else ():
            if isinstance(option, dict) and (option.get("table"), option.get("field")) == ("glpi_tickets", field):
                return int(number)
        raise MisconfiguredError(f"GLPI's search knows no field {field} of tickets: is it GLPI 10 or 11?")

    async def categories(self) -> dict[str, int]:
        """See GlpiSystem."""
        rows = self._list("/ITILCategory", {})
        return {words.decoded(row.get("completename") or row.get("name")): int(row["id"]) async for row in rows}

    # --- writing ------------------------------------------------------------------------------------------------------

    async def create(self, registration: Registration) -> CsdRef:
        """See TicketSystem."""
        ticket: dict[str, Any] = words.field_values(self.mapping.values_for(registration)) | {
            "name": registration.subject, "content": words.html_of(registration.description),
            self.mapping.correlation: str(registration.correlation_id), "date": words.local(registration.opened_at, self.zone),
        }  # fmt: skip
        ticket |= await self._matter(registration)
        if registration.requester:
            # Mail 1 is okienko's to send: the person is on the ticket, and GLPI writes to nobody.
            ticket |= {
                "_users_id_requester": [0],
                "_users_id_requester_notif": {"use_notification": [0], "alternative_email": [registration.requester]},
            }
        made, _ = await self._call("POST", "/Ticket", json={"input": ticket})
        return words.ref_of(id_in(made))

    async def _matter(self, registration: Registration) -> dict[str, Any]:
        matter: dict[str, Any] = {}
        name, where = self.category_of(registration)
        if name is not None:
            matter["itilcategories_id"] = await self.category_id(name, where)
        if kind := self.mapping.type_for(registration):
            matter["type"] = words.code_of(kind, words.TYPES)
        if (priority := self.mapping.priority_out(registration.priority)) is not None:
            matter["priority"] = words.code_of(priority, words.PRIORITIES)
        return matter

    async def add_note(self, ticket: Ticket, text: str, *, public: bool) -> None:
        """See TicketSystem."""
        await self._add("ITILFollowup", ticket, content=words.html_of(text), is_private=int(not public))

    async def solve(self, ticket: Ticket, text: str) -> None:
        """See TicketSystem; GLPI sets the state `solved` with it."""
        await self._add("ITILSolution", ticket, content=words.html_of(text))

    async def _add(self, kind: str, ticket: Ticket, **values: Any) -> None:
        body = {"input": {"itemtype": "Ticket", "items_id": int(ticket.ref.number), **values}}
        id_in((await self._call("POST", f"/{kind}", json=body))[0])

    async def add_file(self, ticket: Ticket, file: NewFile, filename: str) -> None:
        """See TicketSystem; the document is related to the ticket by the same request."""
        values = {
            "name": filename, "comment": words.file_comment(file), "_filename": [filename], "itemtype": "Ticket",
            "items_id": int(ticket.ref.number),
        }  # fmt: skip
        manifest = json.dumps({"input": values}).encode()
        with closing(file.open()) as stream:
            content = await asyncio.to_thread(stream.read)
        made, _ = await self._call(
            "POST", "/Document",
            files=[
                ("uploadManifest", ("", manifest, "application/json")),
                ("filename[0]", (filename, content, file.media_type if "/" in file.media_type else "application/octet-stream")),
            ],
        )  # fmt: skip
        id_in(made)

    async def update(self, ticket: Ticket, change: TicketChange) -> None:
        """See TicketSystem."""
        values: dict[str, Any] = {}
        if change.status is not None:
            values["status"] = words.code_of(self._state(change.status), words.STATES)
        if change.subject is not None:
            values["name"] = change.subject
        if change.priority is not None:
            values["priority"] = words.code_of(self._priority(change.priority), words.PRIORITIES)
        if change.queue is not None:
            values["itilcategories_id"] = await self.category_id(change.queue) if change.queue else 0
        number = int(ticket.ref.number)
        if values:
            done, _ = await self._call("PUT", f"/Ticket/{number}", json={"input": values}, repeatable=True)
            one = done[0] if isinstance(done, list) and done and isinstance(done[0], dict) else {}
            if one.get(str(number)) is False:
                raise GlpiRefusedError(f"PUT /Ticket/{number}", "ERROR_GLPI_UPDATE", harmless(one.get("message")))
        if change.assignee is not None:
            await self._assign(number, change.assignee)

    def _state(self, status: TicketStatus) -> str:
        return self.mapping.status_out(status)

    def _priority(self, priority: Priority) -> str:
        return self.mapping.priority_out(priority) or "medium"

    async def _assign(self, number: int, login: str) -> None:
        user = 0
        if login:
            async for row in self._list("/User", {"searchText[name]": f"^{login}$"}):
                if words.decoded(row.get("name")) == login:
                    user = int(row["id"])
            if not user:
                raise PermanentError(f"GLPI has no user {login!r} to whom ticket {number} could be given")
        rows = [row async for row in self._list(f"/Ticket/{number}/Ticket_User", {})]
        held = [row for row in rows if int(row.get("type") or 0) == _ASSIGNED]
        if user and not any(int(row["users_id"]) == user for row in held):
            body = {"input": {"tickets_id": number, "users_id": user, "type": _ASSIGNED}}
            id_in((await self._call("POST", "/Ticket_User", json=body))[0])
        for row in held:
            if int(row["users_id"]) != user:
                await self._call("DELETE", f"/Ticket_User/{row['id']}", repeatable=True)

    async def link(self, ticket: Ticket, other: Ticket) -> None:
        """See TicketSystem."""
        one, two = int(ticket.ref.number), int(other.ref.number)
        for a, b in ((one, two), (two, one)):
            async for row in self._list("/Ticket_Ticket", {"searchText[tickets_id_1]": f"^{a}$"}):
                if (int(row["tickets_id_1"]), int(row["tickets_id_2"])) == (a, b):
                    return
        body = {"input": {"tickets_id_1": one, "tickets_id_2": two, "link": 1}}
        id_in((await self._call("POST", "/Ticket_Ticket", json=body))[0])

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self)

    async def probe(self) -> str | None:
        """The problem with the correlation field, None when there is none."""
        try:
            async for _ in self._list("/Ticket", {f"searchText[{self.mapping.correlation}]": "^okienko-check$"}):
                return "the search ignores it"
        except GlpiRefusedError as refused:
            return str(refused)
        return None

    # --- the wire -----------------------------------------------------------------------------------------------------

    async def _page(self, path: str, query: dict[str, str], start: int) -> tuple[list[dict[str, Any]], bool]:
        """Rows, and whether there are more."""
        try:
            body, answer = await self._call(
                "GET", path, params={**query, "range": f"{start}-{start + _PAGE - 1}"}, repeatable=True
            )
        except GlpiRefusedError as refused:
            if refused.code == "ERROR_RANGE_EXCEED_TOTAL":
                return [], False
            raise
        found = body.get("data", []) if isinstance(body, dict) else body
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        return rows, bool(rows) and total.isdigit() and start + len(rows) < int(total)

    async def _call(
        self, method: str, path: str, *, raw: bool = False, headers: dict[str, str] | None = None, **arguments: Any
    ) -> tuple[Any, Answer]:
        for attempt in (1, 2):
            session = await self._sign_in()
            sent = {**(headers or {}), "Session-Token": session}
            answer = await self.api.request(method, path, headers=sent, **arguments)
            try:
                return (None if raw and answer.status == 200 else read_answer(answer, f"{method} {path}")), answer
            except GlpiRefusedError as refused:
                # Refused before anything was done: a new session, once.
                if refused.code not in _SESSION or attempt == 2:
                    raise
                async with self._lock:
                    if self._session == session:
                        self._session = ""
        raise AssertionError("unreachable")

    async def _sign_in(self) -> str:
        async with self._lock:
            if not self._session:
                assert self.settings.user_token is not None  # noqa: S101  the settings demand it
                token = {"Authorization": f"user_token {self.settings.user_token.get_secret_value()}"}
                answer = await self.api.request("GET", "/initSession", headers=token, repeatable=True)
                session = str((read_answer(answer, "GET /initSession") or {}).get("session_token") or "")
                if not session:
                    raise MisconfiguredError("GET /initSession gave no session_token: is URL the address of GLPI?")
                answer = await self.api.request(
                    "GET", "/getFullSession", headers={"Session-Token": session}, repeatable=True
                )
                told = read_answer(answer, "GET /getFullSession")
                self._me = int((told.get("session") or {}).get("glpiID") or 0) if isinstance(told, dict) else 0
                self._session = session
            return self._session
