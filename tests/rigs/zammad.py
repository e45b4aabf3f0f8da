"""A stateful fake of Zammad 6's REST API v1, after its documentation and its source (tickets_controller, can_search, creates_ticket_articles).

Its traps are Zammad's: attributes that it does not know are dropped without a word, an owner without rights is put back, one that is no
administrator gets an error's number instead of its words, and a full-text search does not know what was just made.
"""

from __future__ import annotations

import base64
import itertools
import json
from datetime import datetime
from typing import Any

import httpx

from rigs.csdfake import FakeCsd, told

URL = "https://zammad.example.org"
STATES = {
    "new": (1, "new", True), "open": (2, "open", True), "pending reminder": (3, "pending reminder", True),
    "closed": (4, "closed", True), "merged": (5, "merged", True), "removed": (6, "removed", False),
    "pending close": (7, "pending action", True),
}  # fmt: skip
PRIORITIES = {"1 low": 1, "2 normal": 2, "3 high": 3, "4 urgent": 4}
USERS = {1: "-", 3: "okienko@example.org", 4: "ewa@example.org", 5: "obcy@example.org"}
MAPPED = {"normal": "normal", "parent": "child", "child": "parent"}
HIDDEN = "Error ID Xy12ab: Please contact your administrator."


class RefusedError(Exception):
    """A status and Zammad's words."""


class FakeZammad(FakeCsd):
    """See the module."""

    error = httpx.Response(500, json={"error": HIDDEN})

    def __init__(self) -> None:
        super().__init__()
        self.token = "sekret-tokenu"
        self.groups = {"Okienko": 1, "Konta": 2, "Users": 3}
        self.rights: dict[int, list[str]] = {1: ["full"], 2: ["read", "create", "change", "overview"], 3: ["full"]}
        self.secret_groups = {"Kadry": 9}
        self.columns = {"okienko_id", "okienko_channel", "type"}
        self.members = {1: {3, 4}, 2: {3, 4}, 3: {3, 4}}
        """Who may own tickets of a group."""
        self.tickets: dict[int, dict[str, Any]] = {}
        self.articles: list[dict[str, Any]] = []
        self.links: list[tuple[str, int, int]] = []
        """Kind, source, target."""
        self.ignores_filter = False
        self.ignored_states = 0
        self.customer_race = 0
        self._ids = itertools.count(11)
        self._article_ids = itertools.count(101)
        self._file_ids = itertools.count(501)

    # --- the interface ------------------------------------------------------------------------------------------------

    def writes(self, request: httpx.Request) -> bool:
        return request.method in ("POST", "PUT") and not request.url.path.endswith("/search")

    def serve(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Token token={self.token}":
            return told(401, {"error": "Invalid token", "error_human": "Invalid token"})
        body: dict[str, Any] = json.loads(request.content) if request.content else {}
        path = request.url.path.removeprefix("/api/v1/").split("/")
        expand = body.get("expand") is True or request.url.params.get("expand") == "true"
        try:
            return self._serve(request, path, body, expand=expand)
        except RefusedError as refused:
            status, text = refused.args
            return told(status, {"error": text, "error_human": text} if text != HIDDEN else {"error": text})

    def _serve(self, request: httpx.Request, path: list[str], body: dict[str, Any], *, expand: bool) -> httpx.Response:
        match request.method, path:
            case "POST", ["tickets", "search"]:
                assert "query" not in body, "the index does not know what was just made"
                assert expand
                return told(200, self._search(body))
            case "POST", ["tickets"]:
                return told(201, self._shown(self._create(body), expand=expand))
            case "GET", ["tickets", ticket]:
                return told(200, self._shown(self._ticket(ticket), expand=expand))
            case "PUT", ["tickets", ticket]:
                return told(200, self._shown(self._update(self._ticket(ticket), body), expand=expand))
            case "POST", ["ticket_articles"]:
                article = self._article(self._ticket(str(body.get("ticket_id")))["id"], body)
                return told(201, self._shown_article(article))
            case "GET", ["ticket_articles", "by_ticket", ticket]:
                made = self._ticket(ticket)["id"]
                return told(200, [self._shown_article(one) for one in self.articles if one["ticket_id"] == made])
            case "GET", ["ticket_attachment", ticket, article, attachment]:
                return self._attachment(self._ticket(ticket)["id"], int(article), int(attachment))
            case "GET", ["links"]:
                return told(200, self._links(int(request.url.params["link_object_value"])))
            case "POST", ["links", "add"]:
                return told(201, self._link(body))
            case "GET", ["users", "me"]:
                return told(200, {"id": 3, "login": USERS[3], "group_ids": {str(g): r for g, r in self.rights.items()}})
            case "GET", ["groups"]:
                return told(200, [{"id": made, "name": name, "active": True} for name, made in self.groups.items()])
            case "GET", ["ticket_states"]:
                rows = [{"id": i, "name": n, "state_type": t, "active": a} for n, (i, t, a) in STATES.items()]
                return told(200, rows)
            case "GET", ["ticket_priorities"]:
                return told(200, [{"id": made, "name": name, "active": True} for name, made in PRIORITIES.items()])
            case _:
                raise RefusedError(404, f"No route matches [{request.method}] {request.url.path}")

    def _ticket(self, text: str) -> dict[str, Any]:
        found = self.tickets.get(int(text))
        if found is None:
            raise RefusedError(404, f"Couldn't find Ticket with 'id'={text}")
        if found["group"] in self.secret_groups:
            raise RefusedError(403, "Not authorized")
        return found

    def _search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        found = [one for one in self.tickets.values() if one["group"] not in self.secret_groups]
        for name, test in body["condition"].items():
            table, _, column = name.partition(".")
            if table != "ticket" or (column not in self.columns and column not in ("id", "number", "updated_at")):
                raise RefusedError(422, HIDDEN)
            if self.ignores_filter and column in self.columns:
                continue
            if test["operator"] == "is":
                wanted = test["value"] if isinstance(test["value"], list) else [test["value"]]
                found = [one for one in found if one.get(column) in wanted]
            elif test["operator"] == "after (absolute)":
                found = [one for one in found if one[column] >= datetime.fromisoformat(test["value"])]
            else:
                raise RefusedError(422, HIDDEN)
        keys = [key.strip() for key in body["sort_by"].split(",")]
        assert body["order_by"].replace(" ", "") == ",".join("asc" for _ in keys)
        found.sort(key=lambda one: tuple(one[key] for key in keys))
        size = min(body["per_page"], 200)
        at = (body.get("page", 1) - 1) * size
        return [self._shown(one, expand=True) for one in found[at : at + size]]

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        values = self._values(body)
        if not values.get("title"):
            raise RefusedError(422, "Missing required value for field 'title'!")
        if "group" not in values:
            raise RefusedError(422, "Group can't be blank")
        if values["group"] in self.secret_groups or not {"full", "create"} & set(
            self.rights[self.groups[values["group"]]]
        ):
            raise RefusedError(403, "Not authorized")
        customer = str(body.get("customer_id") or "-")
        if customer.startswith("guess:") and "@" not in customer:
            raise RefusedError(422, f"Invalid email '{customer[6:]}' of customer")
        if self.customer_race:
            self.customer_race -= 1
            raise RefusedError(422, "Object already exists!")
        ticket = self.add(values | {"customer": customer.removeprefix("guess:")})
        if "article" in body:
            self._article(ticket["id"], body["article"])
        return ticket

    def _update(self, ticket: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        if not {"full", "change"} & set(self.rights[self.groups[ticket["group"]]]):
            raise RefusedError(403, "Not authorized")
        values = self._values(body)
        if self.ignored_states and "state" in values:
            self.ignored_states -= 1
            del values["state"]
        self.set(ticket["id"], values)
        if "article" in body:
            self._article(ticket["id"], body["article"])
        return ticket

    def _values(self, body: dict[str, Any]) -> dict[str, Any]:
        """What is known of it: the rest is dropped without a word."""
        names: dict[str, Any] = {
            "group": self.groups | self.secret_groups, "state": STATES, "priority": PRIORITIES, "owner": set(USERS.values()),
        }  # fmt: skip
        for name, known in names.items():
            if name in body and body[name] not in known:
                raise RefusedError(
                    422, f"No lookup value found for '{name}': {json.dumps(body[name], ensure_ascii=False)}"
                )
        if "\x00" in json.dumps(body, ensure_ascii=False):
            raise RefusedError(422, HIDDEN)
        if str(body.get("state", "")).startswith("pending") and not body.get("pending_time"):
            raise RefusedError(422, "Missing required value for field 'pending_time'!")
        if len(body.get("title", "")) > 250:
            raise RefusedError(422, HIDDEN)
        return {n: v for n, v in body.items() if n in {"title", "pending_time", *names} | self.columns}

    def _article(self, ticket_id: int, body: dict[str, Any], by: int = 3) -> dict[str, Any]:
        if not body.get("body"):
            raise RefusedError(422, 'Need at least article: { body: "some text" }')
        assert "\x00" not in body["body"], "PostgreSQL takes no NUL"
        files = []
        for place, one in enumerate(body.get("attachments") or []):
            for key in ("mime-type", "filename", "data"):
                if one.get(key) is None:
                    raise RefusedError(422, f"Attachment needs '{key}' param for attachment with index '{place}'")
            assert 0 < len(one["filename"]) <= 250, "the column filename has 250 characters"
            files.append((next(self._file_ids), one["filename"], base64.b64decode(one["data"], validate=True)))
        return self.article(ticket_id, body, files, by)

    def _shown(self, ticket: dict[str, Any], *, expand: bool) -> dict[str, Any]:
        shown = {
            name: value
            for name, value in ticket.items()
            if name not in ("group", "state", "priority", "owner", "customer")
        }
        for name in ("created_at", "updated_at"):
            shown[name] = _written(ticket[name])
        shown |= {
            "group_id": (self.groups | self.secret_groups)[ticket["group"]],
            "state_id": STATES[ticket["state"]][0],
        }
        shown |= {column: ticket.get(column) for column in self.columns}
        if expand:
            shown |= {name: ticket[name] for name in ("group", "state", "priority", "owner", "customer")}
        return shown

    @staticmethod
    def _shown_article(article: dict[str, Any]) -> dict[str, Any]:
        shown = {name: value for name, value in article.items() if name != "files"}
        shown["created_at"] = _written(article["created_at"])
        shown["attachments"] = [
            {"id": made, "filename": name, "size": str(len(content)), "preferences": {}} for made, name, content in article["files"]
        ]  # fmt: skip
        return shown

    def _attachment(self, ticket_id: int, article_id: int, attachment_id: int) -> httpx.Response:
        for article in self.articles:
            if (article["ticket_id"], article["id"]) == (ticket_id, article_id):
                for made, _, content in article["files"]:
                    if made == attachment_id:
                        return httpx.Response(
                            200, content=content, headers={"Content-Type": "application/octet-stream"}
                        )
        raise RefusedError(403, "The file does not belong to the specified article.")

    def _links(self, ticket_id: int) -> dict[str, Any]:
        rows = [(MAPPED[kind], target) for kind, source, target in self.links if source == ticket_id]
        rows += [(kind, source) for kind, source, target in self.links if target == ticket_id]
        links = [{"link_type": kind, "link_object": "Ticket", "link_object_value": other} for kind, other in rows]
        assets = {
            str(other): self._shown(self.tickets[other], expand=False) for _, other in rows if other in self.tickets
        }
        return {"links": links, "assets": {"Ticket": assets} if assets else {}}

    def _link(self, body: dict[str, Any]) -> dict[str, Any]:
        source = next(
            (one["id"] for one in self.tickets.values() if one["number"] == body["link_object_source_number"]), None
        )
        target = body["link_object_target_value"]
        if source is None or target not in self.tickets:
            raise RefusedError(404, "Couldn't find Ticket")
        if (body["link_type"], source, target) in self.links:
            raise RefusedError(422, "Link already exists")
        self.links.append((body["link_type"], source, target))
        for made in (source, target):
            self.tickets[made]["updated_at"] = self.now
        return {"id": len(self.links)}

    # --- the system ---------------------------------------------------------------------------------------------------

    def add(self, values: dict[str, Any]) -> dict[str, Any]:
        """A new ticket."""
        made = next(self._ids)
        self.tickets[made] = {
            "id": made, "number": f"{67000 + made * 13}", "state": "new", "priority": "2 normal", "owner": "-", "customer": "-",
            "created_at": self.now, "updated_at": self.now, **values,
        }  # fmt: skip
        return self.tickets[made]

    def article(
        self, ticket_id: int, body: dict[str, Any], files: list[tuple[int, str, bytes]], by: int
    ) -> dict[str, Any]:
        """A new article, which touches its ticket."""
        made = {
            "id": next(self._article_ids), "ticket_id": ticket_id, "subject": body.get("subject"), "body": body["body"],
            "content_type": body.get("content_type", "text/plain"), "type": body.get("type", "note"), "internal": bool(body.get("internal")),
            "sender": body.get("sender", "Agent"), "from": USERS[by], "created_by_id": by, "created_by": USERS[by],
            "created_at": self.now, "files": files,
        }  # fmt: skip
        self.articles.append(made)
        self.tickets[ticket_id]["updated_at"] = self.now
        return made

    def say(
        self,
        ticket_id: int,
        text: str,
        *,
        public: bool = False,
        file: tuple[str, bytes] | None = None,
        kind: str = "text/plain",
    ) -> None:
        """Ewa writes."""
        files = [(next(self._file_ids), *file)] if file else []
        self.article(ticket_id, {"body": text, "internal": not public, "content_type": kind}, files, 4)

    def set(self, ticket_id: int, values: dict[str, Any]) -> None:
        """Write fields. Who may not own tickets of the group does not."""
        ticket = self.tickets[ticket_id]
        before = dict(ticket)
        ticket |= values
        group = (self.groups | self.secret_groups)[ticket["group"]]
        owner = next(made for made, login in USERS.items() if login == ticket["owner"])
        if owner not in self.members.get(group, set()):
            ticket["owner"] = "-"
        if ticket != before:
            ticket["updated_at"] = self.now

    def merge(self, ticket_id: int, into: int) -> None:
        """Merge the first into the second."""
        for article in self.articles:
            if article["ticket_id"] == ticket_id:
                article["ticket_id"] = into
        self.article(ticket_id, {"body": "merged"}, [], 4)
        self.links.append(("parent", into, ticket_id))
        self.set(ticket_id, {"state": "merged", "owner": "-"})
        self.tickets[into]["updated_at"] = self.now


def _written(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
