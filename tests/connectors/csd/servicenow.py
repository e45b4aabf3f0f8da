"""A ServiceNow instance in memory, with the traps of the real one.

Written from the pages "Table API", "Attachment API", "Operators available for filters and queries" of ServiceNow's documents: a condition
on an unknown field is dropped, an unknown field of a body too, a data policy wants a close code, priority is looked up from impact and
urgency, journal fields are write-only and kept in sys_journal_field.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import httpx

from connectors.csd.httpvendor import Vendor

URL = "https://okienko.service-now.com"
TOKEN_LIFE = 1800
Row = dict[str, str]
COLUMNS: dict[str, Any] = {
    name: {"label": name, "type": "string", "mandatory": False, "read_only": False}
    for name in (
        "sys_id", "number", "short_description", "description", "state", "priority", "impact", "urgency", "category", "contact_type",
        "correlation_id", "correlation_display", "assignment_group", "assigned_to", "caller_id", "close_code", "close_notes", "hold_reason",
        "opened_at", "sys_created_on", "sys_updated_on", "sys_mod_count",
    )
}  # fmt: skip
_LEVELS = [("1", "High"), ("2", "Medium"), ("3", "Low")]
CHOICES = {
    "state": [("1", "New"), ("2", "In Progress"), ("3", "On Hold"), ("6", "Resolved"), ("7", "Closed"), ("8", "Canceled")],
    "impact": _LEVELS, "urgency": _LEVELS, "category": [("inquiry", "Inquiry / Help"), ("software", "Software")],
    "priority": [(str(n), str(n)) for n in range(1, 6)], "contact_type": [("email", "Email"), ("phone", "Phone")],
    "close_code": [("Solution provided", "Solution provided"), ("No resolution provided", "No resolution provided")],
    "hold_reason": [("1", "Awaiting Caller"), ("4", "Awaiting Vendor")],
}  # fmt: skip
for _name, _choices in CHOICES.items():
    COLUMNS[_name] = {**COLUMNS[_name], "choices": [{"value": v, "label": label} for v, label in _choices]}


class FakeServiceNow(Vendor):
    """See the module. Handles are in `tables`, by sys_id."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.columns = json.loads(json.dumps(COLUMNS))
        self.tables: dict[str, dict[str, Row]] = {
            name: {} for name in ("incident", "sys_user_group", "sys_user", "sys_journal_field", "sys_attachment")
        }
        self.contents: dict[str, bytes] = {}
        for name in ("Okienko", "Konta", "Helpdesk"):
            self._add("sys_user_group", {"name": name, "active": "true"})
        for login in ("zofia", "okienko"):
            self._add("sys_user", {"user_name": login, "email": f"{login}@csd.example", "time_zone": "GMT"})
        self._add("sys_user", {"user_name": "jan", "email": "jan.kowalski@example.org"})
        self.ignored_fields: set[str] = set()
        self.no_rows_for_invalid = False
        self.ignore_state = False
        self.journal_hidden = False
        self.hashes = True
        self.meta = True
        self.tokens: set[str] = set()
        self.grants: list[dict[str, str]] = []
        self.refresh: str | None = None

    def _add(self, table: str, values: Row) -> Row:
        self.count += 1
        sys_id = hashlib.md5(f"{self.count}".encode(), usedforsecurity=False).hexdigest()
        stamp = self.now.strftime("%Y-%m-%d %H:%M:%S")
        row = {
            "sys_id": sys_id, "sys_created_on": stamp, "sys_updated_on": stamp, "sys_mod_count": "0",
            "sys_created_by": "okienko", **values,
        }  # fmt: skip
        self.tables[table][sys_id] = row
        return row

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/oauth_token.do":
            return self._token(request)
        auth = request.headers.get("authorization", "")
        if not auth.startswith("Basic ") and auth.removeprefix("Bearer ") not in self.tokens:
            return _error(401, "User Not Authenticated", "Required to provide Auth information")
        parts = path.removeprefix("/api/now/").split("/")
        if parts[0] == "table":
            return self._table(request, parts[1], parts[2] if len(parts) > 2 else None)
        if parts[0] == "attachment":
            return self._attachment(request, parts[1:])
        if parts[:2] == ["ui", "meta"] and self.meta:
            return httpx.Response(200, json={"result": {"columns": self.columns}})
        return _error(400, "Requested URI does not represent any resource", path)

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = dict(httpx.QueryParams(request.content.decode()))
        self.grants.append(form)
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
            return httpx.Response(401, json={"error": "access_denied", "error_description": "access_denied"})
        if form.get("client_secret") != "client secret" or form.get("password", "secret") != "secret":
            return httpx.Response(401, json={"error": "server_error", "error_description": "access_denied"})
        token = f"token-{len(self.grants)}"
        self.tokens = {token}
        body: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFE}
        if form["grant_type"] != "client_credentials":
            self.refresh = f"refresh-{len(self.grants)}"
            body["refresh_token"] = self.refresh
        return httpx.Response(200, json=body)

    def _table(self, request: httpx.Request, table: str, sys_id: str | None) -> httpx.Response:
        if table not in self.tables:
            return _error(400, f"Invalid table {table}", None)
        fields = request.url.params.get("sysparm_fields", "").split(",")
        if request.method == "GET":
            found = self.query(table, request.url.params.get("sysparm_query", ""))
            if table == "sys_journal_field" and self.journal_hidden:
                found = []
            limit = int(request.url.params.get("sysparm_limit", 10000))
            return httpx.Response(200, json={"result": [self._shown(table, row, fields) for row in found[:limit]]})
        values = {name: str(v) for name, v in json.loads(request.content).items()}
        if request.method == "POST":
            row = self.new(values)
            return httpx.Response(201, json={"result": self._shown(table, row, fields)})
        row = self.tables[table].get(sys_id or "")
        if row is None:
            return _error(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval")
        refused = self.write(row, values)
        return refused or httpx.Response(200, json={"result": self._shown(table, row, fields)})

    def new(self, values: Row) -> Row:
        """A new incident."""
        self.count += 1
        row = self._add("incident", {**dict.fromkeys(self.columns, ""), "sys_mod_count": "0"})
        row |= {"number": f"INC{self.count:07}", "impact": "3", "urgency": "3", "priority": "5", "state": "1"}
        stamp = self.now.strftime("%Y-%m-%d %H:%M:%S")
        sys_id = next(key for key, one in self.tables["incident"].items() if one is row)
        row |= {"sys_id": sys_id, "sys_created_on": stamp, "sys_updated_on": stamp, "sys_mod_count": "0"}
        self._fill(row, values)
        return row

    def write(self, row: Row, values: Row, by: str = "okienko") -> httpx.Response | None:
        """An update; the answer when a policy refuses it."""
        if self.ignore_state and "state" in values:
            self.ignore_state = False
            values = {name: v for name, v in values.items() if name != "state"}
        after = {**row, **values}
        for state, names in {"6": ("close_code", "close_notes"), "3": ("hold_reason",)}.items():
            if after["state"] == state and row["state"] != state and (missing := [n for n in names if not after[n]]):
                detail = f"Data Policy Exception: The following fields are mandatory: {', '.join(missing)}"
                return _error(403, "Operation Failed", detail)
        self._fill(row, values, by)
        row["sys_mod_count"] = str(int(row["sys_mod_count"]) + 1)
        row["sys_updated_on"] = self.now.strftime("%Y-%m-%d %H:%M:%S")
        return None

    def _fill(self, row: Row, values: Row, by: str = "okienko") -> None:
        for name, text in values.items():
            if name in ("comments", "work_notes"):
                self._add(
                    "sys_journal_field",
                    {"element_id": row["sys_id"], "element": name, "value": text, "sys_created_by": by},
                )
            elif name in self.columns and name != "priority":
                row[name] = text
        ranks = {("1", "1"): "1", ("1", "2"): "2", ("2", "1"): "2", ("2", "2"): "3", ("3", "3"): "5"}
        row["priority"] = ranks.get((row["impact"], row["urgency"]), "4")

    def _shown(self, table: str, row: Row, fields: list[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name in fields:
            field, _, walked = name.partition(".")
            text = row.get(field)
            if text is None or (table == "incident" and field not in self.columns):
                continue
            if walked:
                target = {"assignment_group": "sys_user_group", "assigned_to": "sys_user"}[field]
                text = self.tables[target].get(text, {}).get(walked, "")
            label = next((label for v, label in CHOICES.get(field, []) if v == text), text)
            shown[name] = {"display_value": label, "value": text}
        return shown

    def query(self, table: str, encoded: str) -> list[Row]:
        """An encoded query."""
        orders = re.findall(r"\^?ORDERBY(\w+)", encoded)
        branches = re.sub(r"\^?ORDERBY\w+", "", encoded).split("^NQ")
        rows = [row for row in self.tables[table].values() if any(self._fits(table, row, one) for one in branches)]
        return sorted(rows, key=lambda row: tuple(row.get(name, "") for name in orders))

    def _fits(self, table: str, row: Row, conditions: str) -> bool:
        for condition in filter(None, conditions.split("^")):
            name, operator, wanted = re.fullmatch(r"([a-z_]+)(ISNOTEMPTY|IN|>=|>|=)(.*)", condition, re.DOTALL).groups()  # type: ignore[union-attr]  # the connector writes no other
            known = name in row and (table != "incident" or name in self.columns)
            if not known or name in self.ignored_fields:
                if self.no_rows_for_invalid:
                    return False
                continue
            has = row[name]
            fits = {
                "ISNOTEMPTY": bool(has), "IN": has in wanted.split(","), ">=": has >= wanted, ">": has > wanted,
                "=": has.casefold() == wanted.casefold(),
            }  # fmt: skip
            if not fits[operator]:
                return False
        return True

    def _attachment(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        params = request.url.params
        if request.method == "POST" and parts == ["file"]:
            if params["table_sys_id"] not in self.tables["incident"]:
                return _error(403, "Invalid sys_id", "no such row")
            row = self.attach(params["table_sys_id"], params["file_name"], request.content)
            return httpx.Response(201, json={"result": row})
        if parts[1:] == ["file"]:
            return httpx.Response(200, content=self.contents[parts[0]])
        return httpx.Response(200, json={"result": self.query("sys_attachment", params["sysparm_query"])})

    def attach(self, sys_id: str, name: str, content: bytes) -> Row:
        """A new file."""
        values = {
            "table_name": "incident", "table_sys_id": sys_id, "file_name": name, "size_bytes": str(len(content)),
            "hash": hashlib.sha256(content).hexdigest() if self.hashes else "0123456789abcdef0123456789abcdef",
        }  # fmt: skip
        row = self._add("sys_attachment", values)
        self.contents[row["sys_id"]] = content
        return row


def _error(status: int, message: str, detail: str | None) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "detail": detail}, "status": "failure"})
