"""Rejestr, the invented in-house system of docs/csd-rest-example, as a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from okienko.plugins.testing.csdfaults import Fault

TOKEN = "tajny-token"
SECRET = "tajny-sekret-webhooka"
DEPARTMENTS = ("Wsparcie", "Konta", "Druga linia")


@dataclass
class Rejestr:
    """The register and what is to go wrong."""

    url: str = ""
    now: datetime = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    links: set[frozenset[str]] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    ignore_filter: bool = False
    ignore_state: bool = False
    bodies: list[Any] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def stamp(self) -> str:
        return f"{self.now:%Y-%m-%dT%H:%M:%SZ}"

    def add(self, values: dict[str, Any]) -> str:
        with self.lock:
            number = f"R-{len(self.tickets) + 1:05}"
            self.tickets[number] = {
                "nr": number, "stan": "nowe", "dzial": "Wsparcie", "waga": 2, "prowadzacy": None, "rozwiazanie": None,
                "scalone_z": None, "usuniete": False, "utworzono": self.stamp(), **values, "zmieniono": self.stamp(),
                "wpisy": [], "pliki": [],
            }  # fmt: skip
            return number

    def edit(self, number: str, values: dict[str, Any]) -> None:
        with self.lock:
            if self.ignore_state:
                values = {k: v for k, v in values.items() if k != "stan"}
            self.tickets[number] |= {**values, "zmieniono": self.stamp()}

    def note(self, number: str, text: str, *, public: bool, who: str) -> None:
        with self.lock:
            notes = self.tickets[number]["wpisy"]
            notes.append({"lp": len(notes) + 1, "tresc": text, "kiedy": self.stamp(), "jawny": public, "kto": who})
            self.edit(number, {})

    def file(self, number: str, name: str, content: bytes) -> None:
        with self.lock:
            key = len(self.contents) + 1
            self.contents[key] = content
            self.tickets[number]["pliki"].append({"id": key, "nazwa": name, "rozmiar": len(content)})
            self.edit(number, {})

    def tick(self) -> None:
        self.now += timedelta(seconds=3)

    def sign(self, body: bytes) -> dict[str, str]:
        return {"x-rejestr-podpis": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """One request on JSON."""
        if path == "/zgloszenia" and method == "POST":
            if body.get("dzial") not in DEPARTMENTS:
                return 422, {"blad": {"kod": "ZLY_DZIAL", "opis": f"nie ma działu {body.get('dzial')}"}}
            return 201, {"nr": self.add(body)}
        if path == "/zgloszenia":
            rows = [t for t in self.tickets.values() if not t["usuniete"]]
            rows = rows if self.ignore_filter else [t for t in rows if t.get("sprawa") == query["sprawa"]]
            return 200, {"pozycje": page(rows, query)}
        if path == "/zmiany":
            since = datetime.fromisoformat(query["od"])
            rows = [t for t in self.tickets.values() if datetime.fromisoformat(t["zmieniono"]) >= since]
            return 200, {"pozycje": page(sorted(rows, key=lambda t: (t["zmieniono"], t["nr"])), query)}
        if found := re.fullmatch(r"/pliki/(\d+)", path):
            return 200, self.contents[int(found[1])]
        found = re.fullmatch(r"/zgloszenia/([^/]+)(?:/(\w+)(?:/([^/]+))?)?", path)
        ticket = self.tickets.get(unquote(found[1])) if found else None
        if found is None or ticket is None or (ticket["usuniete"] and method != "GET"):
            return 404, {"blad": {"kod": "NIE_MA", "opis": "nie ma takiego zgłoszenia"}}
        return self._one(method, ticket["nr"], found[2], found[3], body)

    def _one(self, method: str, number: str, part: str | None, other: str | None, body: Any) -> tuple[int, Any]:
        if part == "wpisy":
            self.note(number, body["tresc"], public=body["jawny"], who="okienko")
        elif part == "zamkniecie":
            self.edit(number, {"stan": "zamknięte", "rozwiazanie": body["rozwiazanie"]})
        elif part == "powiazania":
            self.links.add(frozenset({number, str(other)}))
        elif part == "pliki":
            self.file(number, body["nazwa"], body["plik"])
        elif method == "PATCH":
            self.edit(number, body)
        return 200, self.tickets[number]


def page(rows: list[Any], query: dict[str, str]) -> list[Any]:
    size = int(query.get("ile", 20))
    start = (int(query.get("strona", 1)) - 1) * size
    return rows[start : start + size]


@contextmanager
def rejestr() -> Iterator[Rejestr]:
    """A running server."""
    state = Rejestr()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(state.now, usegmt=True)

        def body(self) -> Any:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            kind = self.headers.get("content-type", "")
            if not kind.startswith("multipart/"):
                return json.loads(content) if content else None
            parts = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content).iter_parts()
            named = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in parts}
            return {"nazwa": named["nazwa"].decode(), "plik": named["plik"]}

        def serve(self) -> None:
            body = self.body()
            split = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(split.query).items()}
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return self.reply(401, {"blad": {"kod": "KTO", "opis": "nieznany token"}})
            with state.lock:
                fault = state.faults.pop(0) if self.command != "GET" and state.faults else None
                if fault is Fault.TIMEOUT:
                    self.close_connection = True
                    return None
                if fault is Fault.BUSY:
                    return self.reply(429, {}, {"Retry-After": "0"})
                if fault is Fault.ERROR:
                    return self.reply(500, {})
                if self.command != "GET":
                    state.bodies.append(body)
                status, told = state.answer(self.command, split.path, query, body)
                told = told if isinstance(told, bytes) else json.loads(json.dumps(told))
            if fault in (Fault.LOST_ANSWER, Fault.RESET):
                self.close_connection = True
                return None
            return self.reply(status, told)

        def reply(self, status: int, told: Any, headers: dict[str, str] | None = None) -> None:
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = serve  # noqa: N815  the names are http.server's

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
