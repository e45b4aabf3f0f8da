"""A GLPI in memory with both of its APIs, written from apirest.md and from GLPI 11's controllers, with its traps.

Times without zone and with whole seconds; entities for angle brackets (10); sessions that end; lists that are cut; priorities that a
profile may not set and that are ignored; an unknown user, a dustbin instead of deletion, merging by link and dustbin.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, unquote
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx

from okienko.plugins.testing.csdfaults import Fault

URL = "https://glpi.example.org"
APP_TOKEN = "aplikacja"
USER_TOKEN = "uzytkownik"
SECRET = "tajny-sekret-webhooka"
ZONE = ZoneInfo("Europe/Warsaw")
ME, ZOFIA = 7, 8
CATEGORIES = {1: "Konta", 2: "Konta > Hasła", 3: "Sprzęt & sieć"}
USERS = {ME: "okienko", ZOFIA: "zofia", 9: "adam"}


@dataclass
class FakeGlpi:
    """The database, and what is to go wrong."""

    now: datetime = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    tables: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    tokens: list[dict[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ignore_filter: bool = False
    ignore_state: int = 0
    ignore_priority: bool = False
    tells_authors: bool = True
    page: int = 50
    refuse: Callable[[str, str], httpx.Response | None] = lambda _method, _path: None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def table(self, name: str) -> dict[int, dict[str, Any]]:
        return self.tables.setdefault(name, {})

    def stamp(self) -> str:
        return f"{self.now.astimezone(ZONE):%Y-%m-%d %H:%M:%S}"

    def insert(self, name: str, row: dict[str, Any]) -> int:
        table = self.table(name)
        row["id"] = max(table, default=0) + 1
        row.setdefault("date_creation", self.stamp())
        table[row["id"]] = row
        return int(row["id"])

    def touch(self, ticket: int) -> None:
        self.table("Ticket")[ticket]["date_mod"] = self.stamp()

    def add_ticket(self, values: dict[str, Any]) -> int:
        row = {
            "name": "", "content": "", "status": 1, "priority": 3, "type": 1, "itilcategories_id": 0, "externalid": None,
            "is_deleted": 0, "date_mod": self.stamp(), "date": self.stamp(),
        } | values  # fmt: skip
        return self.insert("Ticket", row)

    def update_ticket(self, number: int, values: dict[str, Any]) -> None:
        if "status" in values and self.ignore_state:
            self.ignore_state -= 1
            values = {k: v for k, v in values.items() if k != "status"}
        if self.ignore_priority:
            values = {k: v for k, v in values.items() if k != "priority"}
        row = self.table("Ticket")[number]
        # GLPI writes date_mod only when something has changed.
        if any(row.get(name) != value for name, value in values.items()):
            row |= values
            self.touch(number)

    def add_entry(self, kind: str, ticket: int, content: str, *, user: int, private: bool = False) -> int:
        row: dict[str, Any] = {"itemtype": "Ticket", "items_id": ticket, "content": content, "users_id": user}
        if kind == "ITILFollowup":
            row["is_private"] = int(private)
        made = self.insert(kind, row)
        if kind == "ITILSolution":
            if self.ignore_state:
                pass  # the state is written afterwards, and that is what is ignored
            elif self.table("Ticket")[ticket]["status"] < 5:
                self.table("Ticket")[ticket]["status"] = 5
        self.touch(ticket)
        return made

    def add_document(self, ticket: int, filename: str, content: bytes, *, user: int, comment: str = "") -> int:
        row = {
            "filename": filename, "name": filename, "sha1sum": hashlib.sha1(content).hexdigest(), "users_id": user,  # noqa: S324
            "comment": comment, "mime": "application/octet-stream",
        }  # fmt: skip
        made = self.insert("Document", row)
        self.contents[made] = content
        self.insert("Document_Item", {"documents_id": made, "itemtype": "Ticket", "items_id": ticket})
        self.touch(ticket)
        return made

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One request, as respx hands it in."""
        path = unquote(request.url.raw_path.decode().partition("?")[0])
        query = {k: v[0] for k, v in parse_qs(request.url.query.decode(), keep_blank_values=True).items()}
        self.requests.append((request.method, path))
        writes = request.method != "GET" and path != "/api.php/token"
        fault = self.faults.pop(0) if writes and self.faults else None
        if fault is Fault.TIMEOUT:
            raise httpx.ReadTimeout("zaplanowane")
        if fault is Fault.BUSY:
            return httpx.Response(429, headers={"Retry-After": "0"})
        if fault is Fault.ERROR:
            return httpx.Response(500, text="<h1>Internal Server Error</h1>")
        answer = self.refuse(request.method, path)
        if answer is None and path.startswith("/apirest.php"):
            answer = self._v10(request, path.removeprefix("/apirest.php"), query)
        elif answer is None:
            answer = self._v11(request, path.removeprefix("/api.php"), query)
        if fault is Fault.LOST_ANSWER:
            raise httpx.ReadTimeout("zaplanowane")
        if fault is Fault.RESET:
            raise httpx.ReadError("zaplanowane")
        answer.headers["Date"] = format_datetime(self.now, usegmt=True)
        return answer

    # --- apirest.php --------------------------------------------------------------------------------------------------

    def _v10(self, request: httpx.Request, path: str, query: dict[str, str]) -> httpx.Response:
        if request.headers.get("app-token") != APP_TOKEN:
            return error(400, "ERROR_WRONG_APP_TOKEN_PARAMETER", "parameter app_token seems wrong")
        if path == "/initSession":
            if request.headers.get("authorization") != f"user_token {USER_TOKEN}":
                return error(401, "ERROR_GLPI_LOGIN_USER_TOKEN", "parameter user_token seems invalid")
            token = f"sesja{len(self.sessions)}"
            self.sessions.add(token)
            return httpx.Response(200, json={"session_token": token})
        if request.headers.get("session-token") not in self.sessions:
            return error(401, "ERROR_SESSION_TOKEN_INVALID", "session_token seems invalid")
        if path == "/killSession":
            self.sessions.discard(request.headers["session-token"])
            return httpx.Response(200, json=True)
        if path == "/getFullSession":
            return httpx.Response(200, json={"session": {"glpiID": ME}})
        if path == "/getActiveProfile":
            return httpx.Response(200, json={"active_profile": {"id": 6}})
        if path == "/listSearchOptions/Ticket":
            options = {
                "common": {"name": "Characteristics"},
                "1": {"table": "glpi_tickets", "field": "name"}, "2": {"table": "glpi_tickets", "field": "id"},
                "5": {"table": "glpi_users", "field": "date_mod"}, "19": {"table": "glpi_tickets", "field": "date_mod"},
            }  # fmt: skip
            return httpx.Response(200, json=options)
        if path == "/search/Ticket":
            return self._search_10(query)
        if path == "/getMultipleItems":
            ids = [int(value) for name, value in query.items() if name.endswith("[items_id]")]
            return httpx.Response(200, json=[shown(self.table("Document")[one]) for one in ids])
        parts = path.strip("/").split("/")
        return self._items_10(request, parts, query)

    def _search_10(self, query: dict[str, str]) -> httpx.Response:
        if query.get("criteria[0][field]") != "19":
            return error(400, "ERROR", "Bad field ID in search criteria")
        rows = [
            r
            for r in self.table("Ticket").values()
            if not r["is_deleted"] and r["date_mod"] > query["criteria[0][value]"]
        ]
        rows.sort(key=lambda r: (r["date_mod"], r["id"]))
        columns = [{"1": shown(r)["name"], "2": r["id"], "19": r["date_mod"]} for r in rows]
        return self._cut(columns, query, wrap=True)

    def _cut(self, rows: list[Any], query: dict[str, str], *, wrap: bool = False) -> httpx.Response:
        first, _, last = query.get("range", "0-49").partition("-")
        start = int(first)
        # A server may be set to smaller pages than asked for.
        end = min(int(last), start + self.page - 1, len(rows) - 1)
        if start and start >= len(rows):
            return error(400, "ERROR_RANGE_EXCEED_TOTAL", "Provided range exceed total count of data: 0")
        body: Any = rows[start : end + 1]
        if wrap:
            body = {"totalcount": len(rows), "count": len(body)} | ({"data": body} if body else {})
        return httpx.Response(
            200 if end + 1 >= len(rows) else 206, json=body, headers={"Content-Range": f"{start}-{end}/{len(rows)}"}
        )

    def _items_10(self, request: httpx.Request, parts: list[str], query: dict[str, str]) -> httpx.Response:
        kind = parts[0]
        if kind == "User":
            self.tables["User"] = {n: {"id": n, "name": name} for n, name in USERS.items()}
        if kind == "ITILCategory":
            self.tables["ITILCategory"] = {
                n: {"id": n, "name": name, "completename": name} for n, name in CATEGORIES.items()
            }
        if request.method == "POST":
            return self._post_10(request, kind)
        table = self.table(kind)
        if len(parts) == 1:
            return self._all_10(kind, list(table.values()), query)
        number = int(parts[1])
        if number not in table:
            return error(404, "ERROR_ITEM_NOT_FOUND", "Item not found")
        if len(parts) == 3:
            column = "tickets_id" if parts[2] == "Ticket_User" else "items_id"
            return self._cut([shown(r) for r in self.table(parts[2]).values() if r[column] == number], query)
        if request.method == "PUT":
            self.update_ticket(number, json.loads(request.content)["input"])
            return httpx.Response(200, json=[{str(number): True, "message": ""}])
        if request.method == "DELETE":
            row = table.pop(number)
            self.touch(row["tickets_id"])
            return httpx.Response(200, json=[{str(number): True, "message": ""}])
        if kind == "Document" and request.headers.get("accept") == "application/octet-stream":
            return httpx.Response(200, content=self.contents[number])
        return httpx.Response(200, json=shown(table[number]))

    def _all_10(self, kind: str, rows: list[dict[str, Any]], query: dict[str, str]) -> httpx.Response:
        if kind == "Ticket":
            rows = [r for r in rows if not r["is_deleted"]]
        for name, value in query.items():
            if found := re.fullmatch(r"searchText\[(\w+)\]", name):
                column = found[1]
                if kind == "Ticket" and column not in ("externalid", "name", "id"):
                    return error(400, "ERROR_FIELD_NOT_FOUND", f"Field {column} is not valid for Ticket item.")
                if not self.ignore_filter or kind != "Ticket":
                    rows = [r for r in rows if re.search(value, str(r.get(column) or ""), re.IGNORECASE)]
        return self._cut([shown(r) for r in rows], query)

    def _post_10(self, request: httpx.Request, kind: str) -> httpx.Response:
        if kind == "Document":
            return self._upload(request)
        values = json.loads(request.content)["input"]
        if kind == "Ticket":
            if values.get("itilcategories_id") and values["itilcategories_id"] not in CATEGORIES:
                return error(400, "ERROR_GLPI_ADD", "no such category")
            made = self.add_ticket({k: v for k, v in values.items() if not k.startswith("_")})
            self.insert("requesters", {"ticket": made, "notif": values.get("_users_id_requester_notif")})
        elif kind in ("ITILFollowup", "ITILSolution"):
            private = bool(values.get("is_private"))
            made = self.add_entry(kind, values["items_id"], values["content"], user=ME, private=private)
        else:
            made = self.insert(kind, values)
            for column in ("tickets_id", "tickets_id_1", "tickets_id_2"):
                if column in values:
                    self.touch(values[column])
        return httpx.Response(201, json={"id": made, "message": "Item successfully added"})

    def _upload(self, request: httpx.Request) -> httpx.Response:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        parts = list(BytesParser(policy=HTTP).parsebytes(head + request.content).iter_parts())
        named = {part.get_param("name", header="content-disposition"): part for part in parts}
        manifest = json.loads(named["uploadManifest"].get_payload(decode=True))["input"]
        made = self.add_document(
            manifest["items_id"], manifest["_filename"][0], named["filename[0]"].get_payload(decode=True), user=ME,
            comment=manifest.get("comment", ""),
        )  # fmt: skip
        return httpx.Response(201, json={"id": made, "message": "Document move succeeded."})

    # --- api.php/v2 ---------------------------------------------------------------------------------------------------

    def _v11(self, request: httpx.Request, path: str, query: dict[str, str]) -> httpx.Response:
        if path == "/token":
            form = {k: v[0] for k, v in parse_qs(request.content.decode()).items()}
            self.tokens.append(form)
            if form.get("grant_type") == "password" and form.get("password") != "hasło":
                return httpx.Response(
                    400, json={"error": "invalid_grant", "message": "The user credentials were incorrect."}
                )
            return httpx.Response(
                200, json={"token_type": "Bearer", "expires_in": 3600, "access_token": f"tok{len(self.tokens)}"}
            )
        if request.headers.get("authorization") != f"Bearer tok{len(self.tokens)}":
            return problem(401, "ERROR_UNAUTHENTICATED", "You are not authenticated")
        path = path.removeprefix("/v2")
        if path == "/Administration/User/Me":
            return httpx.Response(200, json={"id": ME, "username": "okienko"})
        if path == "/Administration/User":
            rows = [{"id": n, "username": name} for n, name in USERS.items()]
            return self._page([r for r in rows if f'username=="{r["username"]}"' == query.get("filter")], query)
        if path == "/Dropdowns/ITILCategory":
            return self._page([{"id": n, "name": name, "completename": name} for n, name in CATEGORIES.items()], query)
        found = re.fullmatch(r"/Assistance/Ticket(?:/(\d+)(?:/(Timeline/(?:Followup|Solution)|TeamMember))?)?", path)
        if found is None:
            return problem(404, "ERROR_ITEM_NOT_FOUND", "Not found")
        body = json.loads(request.content) if request.content else {}
        if found[1] is None:
            return self._tickets_11(request.method, body, query)
        number = int(found[1])
        row = self.table("Ticket").get(number)
        if row is None:
            return problem(404, "ERROR_ITEM_NOT_FOUND", "Not found")
        if found[2] is None:
            if request.method == "PATCH":
                self.update_ticket(number, columns(body))
            return httpx.Response(200, json=self._ticket_11(row))
        if found[2] == "TeamMember":
            return self._member(request.method, number, body)
        kind = "ITIL" + found[2].rpartition("/")[2].replace("Followup", "Followup")
        if request.method == "POST":
            made = self.add_entry(kind, number, body["content"], user=ME, private=bool(body.get("is_private")))
            return httpx.Response(200, json={"id": made, "href": f"{path}/{made}"})
        rows = [r for r in self.table(kind).values() if r["items_id"] == number]
        return httpx.Response(200, json=[self._entry_11(r) for r in rows])

    def _entry_11(self, row: dict[str, Any]) -> dict[str, Any]:
        told = {k: row[k] for k in ("id", "itemtype", "items_id", "content")} | {
            "date_creation": rfc3339(row["date_creation"])
        }
        if "is_private" in row:
            told["is_private"] = bool(row["is_private"])
        if self.tells_authors:
            told["user"] = {"id": row["users_id"], "name": USERS[row["users_id"]]}
        return told

    def _ticket_11(self, row: dict[str, Any]) -> dict[str, Any]:
        category = row["itilcategories_id"]
        members = [m for m in self.table("Ticket_User").values() if m["tickets_id"] == row["id"] and m["type"] == 2]
        return {
            "id": row["id"], "name": row["name"], "content": row["content"], "is_deleted": bool(row["is_deleted"]),
            "status": {"id": row["status"], "name": "?"}, "priority": row["priority"], "external_id": row["externalid"],
            "category": {"id": category, "name": CATEGORIES[category]} if category else None,
            "date_creation": rfc3339(row["date_creation"]), "date_mod": rfc3339(row["date_mod"]),
            "team": [{"role": "assigned", "name": USERS[m["users_id"]], "href": "/front/user.form.php"} for m in members],
        }  # fmt: skip

    def _tickets_11(self, method: str, body: dict[str, Any], query: dict[str, str]) -> httpx.Response:
        if method == "POST":
            made = self.add_ticket(columns(body))
            return httpx.Response(200, json={"id": made, "href": f"/Assistance/Ticket/{made}"})
        rows = sorted(self.table("Ticket").values(), key=lambda r: r["id"])
        for part in filter(None, query.get("filter", "").split(";")):
            found = re.fullmatch(r'(\w+)(==|=ge=)"?([^"]*)"?', part)
            if found is None or found[1] not in ("external_id", "is_deleted", "date_mod"):
                return problem(400, "ERROR_INVALID_PARAMETER", f"Invalid RSQL filter: {part}")
            if found[1] == "date_mod":
                rows = sorted((r for r in rows if r["date_mod"] >= found[3]), key=lambda r: (r["date_mod"], r["id"]))
            elif found[1] == "is_deleted":
                rows = [r for r in rows if not r["is_deleted"]]
            elif not self.ignore_filter:
                rows = [r for r in rows if r["externalid"] == found[3]]
        return self._page([self._ticket_11(r) for r in rows], query)

    def _page(self, rows: list[Any], query: dict[str, str]) -> httpx.Response:
        start = int(query.get("start", 0))
        limit = min(int(query.get("limit", 100)), self.page)
        return httpx.Response(
            206 if start + limit < len(rows) else 200, json=rows[start : start + limit],
            headers={"Content-Range": f"{start}-{start + limit - 1}/{len(rows)}"},
        )  # fmt: skip

    def _member(self, method: str, ticket: int, body: dict[str, Any]) -> httpx.Response:
        if (body.get("type"), body.get("role")) != ("User", 2) or body.get("id") not in USERS:
            return problem(400, "ERROR_INVALID_PARAMETER", "One or more parameters are invalid")
        table = self.table("Ticket_User")
        if method == "POST":
            self.insert("Ticket_User", {"tickets_id": ticket, "users_id": body["id"], "type": 2})
        else:
            for key in [k for k, m in table.items() if (m["tickets_id"], m["users_id"]) == (ticket, body["id"])]:
                del table[key]
        self.touch(ticket)
        return httpx.Response(201 if method == "POST" else 200, content=b"null")

    def webhook(self, body: bytes) -> dict[str, str]:
        """The headers by which GLPI 11 proves itself."""
        stamp = str(int(self.now.timestamp()))
        signature = hmac.new(SECRET.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
        return {"x-glpi-signature": signature, "x-glpi-timestamp": stamp, "content-type": "application/json"}

    def tickets_of(self, key: UUID) -> list[int]:
        return [n for n, row in self.table("Ticket").items() if row["externalid"] == str(key) and not row["is_deleted"]]

    def tick(self) -> None:
        self.now += timedelta(seconds=3)


def columns(body: dict[str, Any]) -> dict[str, Any]:
    """Properties of the high-level API as columns of the database."""
    names = {"category": "itilcategories_id", "external_id": "externalid"}
    values = {names.get(k, k): v["id"] if isinstance(v, dict) else v for k, v in body.items()}
    if "date" in values:
        values["date"] = f"{datetime.fromisoformat(values['date']).astimezone(ZONE):%Y-%m-%d %H:%M:%S}"
    return values


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """GLPI 10 gives texts as it stores them: with entities."""
    return {k: sanitised(v) if isinstance(v, str) else v for k, v in row.items()}


def sanitised(text: str) -> str:
    return text.replace("&", "&#38;").replace("<", "&#60;").replace(">", "&#62;")


def rfc3339(stamp: str) -> str:
    return datetime.fromisoformat(stamp).replace(tzinfo=ZONE).isoformat()


def error(status: int, code: str, text: str) -> httpx.Response:
    """An error of apirest.php."""
    return httpx.Response(
        status, json=[code, f"{text}; view documentation in your browser at {URL}/apirest.php/#{code}"]
    )


def problem(status: int, code: str, title: str) -> httpx.Response:
    """An error of the high-level API."""
    return httpx.Response(status, json={"status": code, "title": title, "detail": None})
