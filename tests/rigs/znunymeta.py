"""Just enough of Znuny's Generic Interface to be checked against: what exists in it is data. Shapes as measured on Znuny 6.5."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ZnunyMeta:
    """What the system knows; `created` must stay 0 when it is only checked."""

    queues: dict[str, bool] = field(default_factory=lambda: {"Service desk": True, "Konta": True, "Tajne": False})
    """By name: whether our agent may create tickets in it."""
    states: set[str] = field(default_factory=lambda: {"new", "open", "pending reminder", "closed successful"})
    priorities: set[str] = field(default_factory=lambda: {"1 very low", "3 normal", "4 high", "5 very high"})
    types: set[str] = field(default_factory=lambda: {"Unclassified", "Incident"})
    fields: dict[str, set[str] | None] = field(
        default_factory=lambda: {"OkienkoID": None, "Channel": {"E-mail", "Telephone"}, "Source": None}
    )
    """By name: the values that it takes, None: any text."""
    tickets: int = 3
    created: int = 0

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a request is answered with; every failure is status 200 too."""
        if path.endswith("/Session"):
            well = (body.get("UserLogin"), body.get("Password")) == ("okienko", "sekret")
            return {"SessionID": "s" * 32} if well else _error("SessionCreate.AuthFail", "Authorization failing!")
        if path.endswith("/Ticket/Search"):
            wanted = [key.removeprefix("DynamicField_") for key in body if key.startswith("DynamicField_")]
            # A field that it does not know is ignored: every ticket is the answer.
            return {} if all(name in self.fields for name in wanted) else {"TicketID": ["3", "2", "1"]}
        return self._create(body)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        ticket = body["Ticket"]
        if ticket["Queue"] not in self.queues:
            return _error("TicketCreate.InvalidParameter", "TicketCreate: Ticket->Queue parameter is invalid!")
        if not self.queues[ticket["Queue"]]:
            return _error("TicketCreate.AccessDenied", "TicketCreate: No permission to create tickets in this queue!")
        for name, known in (("State", self.states), ("Priority", self.priorities), ("Type", self.types)):
            if name in ticket and ticket[name] not in known:
                return _error("TicketCreate.InvalidParameter", f"TicketCreate: Ticket->{name} parameter is invalid!")
        for one in body.get("DynamicField", []):
            if one["Name"] not in self.fields:
                return _error("TicketCreate.InvalidParameter", "TicketCreate: DynamicField->Name parameter is invalid!")
            values = self.fields[one["Name"]]
            if values is not None and one["Value"] not in values:
                return _error(
                    "TicketCreate.InvalidParameter", "TicketCreate: DynamicField->Value parameter is invalid!"
                )
        if any("Filename" not in one for one in body.get("Attachment", [])):
            return _error("TicketCreate.MissingParameter", "TicketCreate: Attachment->Filename parameter is missing!")
        self.created += 1
        return {"TicketID": "9", "TicketNumber": "2026112310000099", "ArticleID": "9"}


def _error(code: str, text: str) -> dict[str, Any]:
    return {"Error": {"ErrorCode": code, "ErrorMessage": text}}


@contextmanager
def serving(meta: ZnunyMeta) -> Iterator[str]:
    """The web service's address while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """SessionGet."""
            self._answer({"SessionData": [{"Key": "UserID", "Value": "2"}]})

        def do_POST(self) -> None:
            self._answer(meta.answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _answer(self, body: dict[str, Any]) -> None:
            answer = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the base class
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/znuny/nph-genericinterface.pl/Webservice/Okienko"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
