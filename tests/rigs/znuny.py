"""A stateful fake of Znuny 6.5's Generic Interface (GenericTicketConnectorREST), after answers that were recorded from a live one.

Its traps are Znuny's: errors with HTTP 200, AccessDenied for what is not there, one bad id that fails a whole TicketGet, ids that are
text here and numbers there, a search that ignores fields which it does not know, state before article in an update.
"""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any
from urllib.parse import parse_qs

import httpx

from rigs.csdfake import FakeCsd, plain, told

URL = "https://znuny.example.org/znuny/nph-genericinterface.pl/Webservice/GenericTicketConnectorREST"
STATES = {
    "new": (1, "new"), "open": (4, "open"), "closed successful": (2, "closed"), "closed unsuccessful": (3, "closed"),
    "pending reminder": (6, "pending reminder"), "merged": (9, "merged"), "removed": (5, "removed"),
}  # fmt: skip
PRIORITIES = {"1 very low": 1, "2 low": 2, "3 normal": 3, "4 high": 4, "5 very high": 5}
AGENTS = {"root@localhost": 1, "okienko": 2, "ewa": 3}


class RefusedError(Exception):
    """An operation's error: its code without the operation, and its words."""


class FakeZnuny(FakeCsd):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.password = "sekret"
        self.queues = {"Okienko": 5, "Konta": 6, "Raw": 2}
        self.closed_queues = {"Tajna": 7}
        """The agent has no rights there."""
        self.read_only: set[int] = set()
        """Tickets that the agent may not change."""
        self.types = {"Unclassified": 1, "Incident": 2}
        self.fields = {"OkienkoID", "OkienkoChannel"}
        self.sessions: set[str] = set()
        self.tickets: dict[int, dict[str, Any]] = {}
        self.history: dict[int, list[dict[str, Any]]] = {}
        self.operations = {
            "SessionCreate",
            "SessionGet",
            "TicketCreate",
            "TicketUpdate",
            "TicketGet",
            "TicketSearch",
            "TicketHistoryGet",
        }
        self.ignores_filter = False
        self.ignored_states = 0
        self.fails_after_state = 0
        self.refuses_sessions = False
        self._ids = itertools.count(3)
        self._article_ids = itertools.count(3)

    # --- the interface ------------------------------------------------------------------------------------------------

    def writes(self, request: httpx.Request) -> bool:
        path = request.url.path.partition("GenericTicketConnectorREST")[2]
        return request.method == "PATCH" or (request.method, path) == ("POST", "/Ticket")

    def serve(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.partition("GenericTicketConnectorREST")[2]
        match request.method, path.strip("/").split("/"):
            case "POST", ["Session"]:
                operation, run = "SessionCreate", self._session_create
            case "GET", ["Session", session]:
                operation, run = "SessionGet", lambda _: self._session_get(session)
            case "POST", ["Ticket"]:
                operation, run = "TicketCreate", self._create
            case "POST", ["Ticket", "Search"]:
                operation, run = "TicketSearch", self._search
            case "GET", ["Ticket", "History", ticket]:
                operation, run = "TicketHistoryGet", lambda _: self._history_get(ticket)
            case "GET", ["Ticket", tickets]:
                operation, run = "TicketGet", lambda query: self._get(tickets, query)
            case "PATCH", ["Ticket", ticket]:
                operation, run = "TicketUpdate", lambda body: self._update(ticket, body)
            case _:
                operation, run = "", None
        if run is None or operation not in self.operations:
            return plain(500, f"HTTP::REST Error while determine Operation for request URI '{path}'.")
        if request.method == "GET":
            values: Any = {name: given[-1] for name, given in parse_qs(request.url.query.decode()).items()}
        else:
            try:
                values = json.loads(request.content or b"{}")
            except ValueError:
                return plain(500, "Error while decoding request content.")
        if not operation.startswith("Session") and (
            self.refuses_sessions or values.get("SessionID") not in self.sessions
        ):
            return self._error(operation, RefusedError("AuthFail", "Authorization failing!"))
        try:
            return told(200, run(values))
        except RefusedError as refused:
            return self._error(operation, refused)
        except InterruptedError:
            return plain(500, "Ticket could not be updated, please contact the system administrator!")

    @staticmethod
    def _error(operation: str, refused: RefusedError) -> httpx.Response:
        code, text = refused.args
        return told(200, {"Error": {"ErrorCode": f"{operation}.{code}", "ErrorMessage": f"{operation}: {text}"}})

    def _session_create(self, body: dict[str, Any]) -> dict[str, Any]:
        if (body.get("UserLogin"), body.get("Password")) != ("okienko", self.password):
            raise RefusedError("AuthFail", "Authorization failing!")
        session = f"Sesja{len(self.sessions) + 1:027}"
        self.sessions.add(session)
        return {"SessionID": session}

    def _session_get(self, session: str) -> dict[str, Any]:
        if session not in self.sessions:
            raise RefusedError("SessionInvalid", "SessionID is not valid or user is not existing!")
        data = {
            "UserID": "2", "UserLogin": "okienko", "UserTitle": None, "UserLastLogin": str(int(self.now.timestamp())),
            "UserLastLoginTimestamp": self._stamp(),
        }  # fmt: skip
        return {"SessionData": [{"Key": key, "Value": value} for key, value in data.items()]}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        ticket, article = body.get("Ticket"), body.get("Article")
        if not isinstance(ticket, dict):
            raise RefusedError("MissingParameter", "Ticket parameter is missing or not valid!")
        if not isinstance(article, dict):
            raise RefusedError("MissingParameter", "Article parameter is missing or not valid!")
        for needed in ("Title", "CustomerUser"):
            if not ticket.get(needed):
                raise RefusedError("MissingParameter", f"Ticket->{needed} parameter is missing!")
        self._check_ticket(ticket)
        for needed in ("Queue", "State", "Priority"):
            if not ticket.get(needed):
                raise RefusedError("MissingParameter", f"Ticket->{needed}ID or Ticket->{needed} parameter is required!")
        if ticket["Queue"] in self.closed_queues:
            raise RefusedError("AccessDenied", "Can not create tickets in given Queue or QueueID!")
        self._check_article(article)
        self._check_fields(body)
        self._check_attachments(body)
        made = self.add(ticket, article, _fields(body), _attachments(body))
        number = self.tickets[made]["TicketNumber"]
        return {
            "ArticleID": self._waver(self.tickets[made]["Article"][0]["ArticleID"]),
            "TicketID": str(made),
            "TicketNumber": number,
        }

    def _update(self, ticket_id: str, body: dict[str, Any]) -> dict[str, Any]:
        ticket = self.tickets.get(int(ticket_id))
        if ticket is None or ticket["Queue"] in self.closed_queues or ticket["TicketID"] in self.read_only:
            raise RefusedError("AccessDenied", "User does not have access to the ticket!")
        changes, article = body.get("Ticket") or {}, body.get("Article")
        self._check_ticket(changes)
        if article:
            self._check_article(article)
        elif body.get("Attachment"):
            raise RefusedError("MissingParameter", "Article parameter is missing or not valid!")
        self._check_fields(body)
        self._check_attachments(body)
        if self.ignored_states and "State" in changes:
            self.ignored_states -= 1
            changes = {name: value for name, value in changes.items() if name != "State"}
        self.set(ticket["TicketID"], changes)
        if self.fails_after_state:
            self.fails_after_state -= 1
            raise InterruptedError
        answer: dict[str, Any] = {"TicketID": ticket_id, "TicketNumber": ticket["TicketNumber"]}
        if article:
            answer["ArticleID"] = self._waver(self.article(ticket["TicketID"], article, _attachments(body)))
        ticket["Fields"] |= _fields(body)
        return answer

    def _get(self, ids: str, query: dict[str, str]) -> dict[str, Any]:
        found = [self.tickets.get(int(one)) for one in ids.split(",")]
        if any(one is None or one["Queue"] in self.closed_queues for one in found):
            raise RefusedError("AccessDenied", "User does not have access to the ticket!")
        return {"Ticket": [self._shown(one, query) for one in found if one is not None]}

    def _shown(self, ticket: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        shown = {name: value for name, value in ticket.items() if name not in ("Article", "Fields")}
        shown |= {"StateID": STATES[ticket["State"]][0], "StateType": STATES[ticket["State"]][1]}
        if query.get("DynamicFields") == "1":
            shown["DynamicField"] = [{"Name": n, "Value": ticket["Fields"].get(n)} for n in sorted(self.fields)]
        if query.get("AllArticles") == "1":
            shown["Article"] = [self._shown_article(one, query) for one in ticket["Article"]]
        return shown

    @staticmethod
    def _shown_article(article: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        shown = {name: value for name, value in article.items() if name != "Files"}
        if query.get("Attachments") == "1" and article["Files"]:
            shown["Attachment"] = [
                {
                    "Content": base64.b64encode(content).decode() if query.get("GetAttachmentContents") != "0" else "",
                    "ContentType": kind, "Disposition": "attachment", "FileID": str(place), "Filename": name,
                    "FilesizeRaw": str(len(content)),
                }
                for place, (name, kind, content) in enumerate(article["Files"], 1)
            ]  # fmt: skip
        return shown

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [t for t in self.tickets.values() if t["Queue"] not in self.closed_queues]
        for name, wanted in body.items():
            field = name.removeprefix("DynamicField_")
            if name.startswith("DynamicField_") and field in self.fields and not self.ignores_filter:
                found = [t for t in found if t["Fields"].get(field) == wanted["Equals"]]
            elif name == "TicketNumber":
                found = [t for t in found if t["TicketNumber"] == wanted]
            elif name == "TicketLastChangeTimeNewerDate":
                found = [t for t in found if t["Changed"] >= wanted]
        by = "Changed" if body.get("SortBy") == "Changed" else "Created"
        found.sort(key=lambda t: (t[by], t["TicketID"]), reverse=body.get("OrderBy") != "Up")
        ids = [str(t["TicketID"]) for t in found[: body.get("Limit", 500)]]
        return {"TicketID": ids} if ids else {}

    def _history_get(self, ticket_id: str) -> dict[str, Any]:
        if int(ticket_id) not in self.tickets:
            raise RefusedError("AccessDenied", "User does not have access to the ticket!")
        return {"TicketHistory": [{"TicketID": ticket_id, "History": self.history[int(ticket_id)]}]}

    def _check_ticket(self, ticket: dict[str, Any]) -> None:
        known: dict[str, Any] = {
            "Queue": self.queues | self.closed_queues, "State": STATES, "Priority": PRIORITIES, "Type": self.types, "Owner": AGENTS,
        }  # fmt: skip
        for name, names in known.items():
            if name in ticket and ticket[name] not in names:
                raise RefusedError("InvalidParameter", f"Ticket->{name}ID or Ticket->{name} parameter is invalid!")
        assert len(ticket.get("Title", "")) <= 255, "the column title has 255 characters"

    @staticmethod
    def _check_article(article: dict[str, Any]) -> None:
        for needed in ("Subject", "Body", "ContentType"):
            if not article.get(needed):
                raise RefusedError("MissingParameter", f"Article->{needed} parameter is missing!")
        assert "\x00" not in article["Body"] + article["Subject"], "PostgreSQL takes no NUL"

    def _check_fields(self, body: dict[str, Any]) -> None:
        if not set(_fields(body)) <= self.fields:
            raise RefusedError("InvalidParameter", "DynamicField->Name parameter is invalid!")

    @staticmethod
    def _check_attachments(body: dict[str, Any]) -> None:
        for one in body.get("Attachment") or []:
            for needed in ("Content", "ContentType", "Filename"):
                if not one.get(needed):
                    raise RefusedError("MissingParameter", f"Attachment->{needed}  parameter is missing!")
            assert len(one["Filename"]) <= 250, "the column filename has 250 characters"

    @staticmethod
    def _waver(number: int) -> int | str:
        return str(number) if number % 3 == 0 else number

    # --- the system ---------------------------------------------------------------------------------------------------

    def add(
        self,
        ticket: dict[str, Any],
        article: dict[str, Any],
        fields: dict[str, str],
        files: list[tuple[str, str, bytes]],
    ) -> int:
        """A new ticket; its id."""
        made = next(self._ids)
        number = f"20260107{10000000 + made * 7}"
        self.tickets[made] = {
            "TicketID": made, "TicketNumber": number, "Title": ticket["Title"], "Queue": ticket["Queue"], "State": ticket["State"],
            "Priority": ticket["Priority"], "Type": ticket.get("Type", "Unclassified"), "Owner": "okienko", "Lock": "unlock",
            "CustomerUserID": ticket["CustomerUser"], "CustomerID": "", "Created": self._stamp(), "Changed": self._stamp(),
            "Article": [], "Fields": dict(fields),
        }  # fmt: skip
        self.history[made] = []
        self._record(
            made, "NewTicket", f"%%{number}%%{ticket['Queue']}%%{ticket['Priority']}%%{ticket['State']}%%{made}"
        )
        self.article(made, article, files)
        return made

    def article(
        self, ticket_id: int, article: dict[str, Any], files: list[tuple[str, str, bytes]] | None = None, by: int = 2
    ) -> int:
        """A new article; its id."""
        ticket = self.tickets[ticket_id]
        made = next(self._article_ids)
        ticket["Article"].append(
            {
                "ArticleID": made, "ArticleNumber": len(ticket["Article"]) + 1, "TicketID": ticket_id, "CreateBy": by, "ChangeBy": by,
                "Subject": article["Subject"], "Body": article["Body"].rstrip("\n"), "ContentType": article["ContentType"],
                "From": article.get("From") or {2: "Okienko API <okienko@example.com>"}.get(by, "Ewa <ewa@example.org>"),
                "To": ticket["Queue"], "MessageID": "", "References": "", "InReplyTo": "",
                "SenderType": article.get("SenderType", "agent"), "IsVisibleForCustomer": int(article.get("IsVisibleForCustomer", 0)),
                "CommunicationChannel": article.get("CommunicationChannel", "Internal"), "CreateTime": self._stamp(),
                "Files": list(files or []),
            }
        )  # fmt: skip
        ticket["Changed"] = self._stamp()
        return made

    def set(self, ticket_id: int, changes: dict[str, Any]) -> None:
        """Write fields of a ticket; each changed one is a line of its history."""
        ticket = self.tickets[ticket_id]
        for name, value in changes.items():
            if name in ticket and ticket[name] != value:
                self._record(ticket_id, f"{name}Update", f"%%{ticket[name]}%%{value}%%")
                ticket[name] = value
                ticket["Changed"] = self._stamp()

    def merge(self, ticket_id: int, into: int, *, old: bool = False) -> None:
        """Merge the first into the second, whose the articles are then."""
        one, other = self.tickets[ticket_id], self.tickets[into]
        other["Article"] += one["Article"]
        one["Article"] = []
        self.article(ticket_id, {"Subject": "Zgłoszenie scalone", "Body": "Merged", "ContentType": "text/plain"}, by=3)
        self.set(ticket_id, {"State": "merged"})
        name = (
            f"Merged Ticket ({one['TicketNumber']}/{ticket_id}) to ({other['TicketNumber']}/{into})" if old
            else f"%%{one['TicketNumber']}%%{ticket_id}%%{other['TicketNumber']}%%{into}"
        )  # fmt: skip
        self._record(ticket_id, "Merged", name)
        other["Changed"] = self._stamp()

    def _record(self, ticket_id: int, kind: str, name: str) -> None:
        entry = {
            "HistoryType": kind,
            "Name": name,
            "CreateTime": self._stamp(),
            "TicketID": str(ticket_id),
            "ArticleID": 0,
        }
        self.history[ticket_id].append(entry)

    def _stamp(self) -> str:
        return f"{self.now:%Y-%m-%d %H:%M:%S}"


def _fields(body: dict[str, Any]) -> dict[str, str]:
    given = body.get("DynamicField") or []
    return {one["Name"]: one["Value"] for one in (given if isinstance(given, list) else [given])}


def _attachments(body: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    return [(a["Filename"], a["ContentType"], base64.b64decode(a["Content"])) for a in body.get("Attachment") or []]
