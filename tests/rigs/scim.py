"""SCIM peers: a live scim2-server (PyPI, pure Python, in the dev group) and a small bad one that lies as real ones do."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest

TOKEN = "tajny"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LOCK = "urn:example:params:scim:schemas:extension:lock:2.0:User"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
PESEL_PATH = f"{ENTERPRISE}:employeeNumber"


def user(login: str, given: str, family: str, pesel: str | None = None, **more: Any) -> dict[str, Any]:
    """A User resource to create."""
    body: dict[str, Any] = {
        "schemas": [CORE],
        "userName": login,
        "name": {"givenName": given, "familyName": family},
        "emails": [{"type": "work", "value": login}],
        "active": True,
    }
    if pesel:
        body["schemas"].append(ENTERPRISE)
        body[ENTERPRISE] = {"employeeNumber": pesel}
    if LOCK in more:
        body["schemas"].append(LOCK)
    return body | more


@dataclass(frozen=True)
class Scim:
    """A running server."""

    url: str

    def create(self, body: dict[str, Any]) -> str:
        """Put a user in; its id."""
        answer = httpx.post(f"{self.url}/Users", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def read(self, ref: str) -> dict[str, Any]:
        """The resource, by a client that is not the one under test."""
        answer = httpx.get(f"{self.url}/Users/{ref}", headers={"Authorization": f"Bearer {TOKEN}"})
        found: dict[str, Any] = answer.json()
        return found

    def patch(self, ref: str, *operations: dict[str, Any]) -> None:
        """Change a user behind okienko's back."""
        answer = httpx.patch(
            f"{self.url}/Users/{ref}",
            json={"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert answer.status_code in (200, 204), answer.text

    def delete(self, ref: str) -> None:
        """Remove a user."""
        httpx.delete(f"{self.url}/Users/{ref}", headers={"Authorization": f"Bearer {TOKEN}"})


def _discovery() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The schemas and resource types of RFC 7643, and one extension that tells of locks."""
    shipped = resources.files("scim2_server") / "resources"
    schemas = json.loads((shipped / "default-schemas.json").read_text())
    types = json.loads((shipped / "default-resource-types.json").read_text())
    common = {"type": "boolean", "multiValued": False, "required": False, "mutability": "readWrite"}
    schemas.append(
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": LOCK,
            "name": "Lock",
            "attributes": [common | {"name": "locked"}, common | {"name": "mustChange"}],
        }
    )
    for one in types:
        if one["name"] == "User":
            one["schemaExtensions"] = [*one.get("schemaExtensions", []), {"schema": LOCK, "required": False}]
    return schemas, types


def _files(folder: Path) -> list[str]:
    schemas, types = _discovery()
    (folder / "schemas.json").write_text(json.dumps(schemas))
    (folder / "types.json").write_text(json.dumps(types))
    return ["--schema", str(folder / "schemas.json"), "--resource-type", str(folder / "types.json")]


@contextmanager
def scim2_server(folder: Path) -> Iterator[Scim]:
    """Start a server on a free port; it is stopped at the end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("scim2-server")
    command = [str(program), "--hostname", "127.0.0.1", "--port", str(port), "--bearer-token", TOKEN, *_files(folder)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 20
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/v2/ServiceProviderConfig", timeout=2)
                break
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail("scim2-server did not start: " + (folder / "output").read_text())
            time.sleep(0.05)
        yield Scim(f"http://127.0.0.1:{port}/v2")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def scim2_with_sign_in() -> Iterator[Scim]:
    """scim2-server's own application in a thread, with a door beside it that tells whether a password is the stored one."""
    from scim2_models import ResourceType, Schema, ScimProvider
    from scim2_server.memory import InMemoryStorage
    from scim2_server.service import ScimService
    from scim2_server.testserver.application import BearerTokenApplication
    from scim2_server.testserver.cli import ThreadingWSGIServer
    from scim2_server.utils import load_default_service_provider_config

    schemas, types = _discovery()
    provider = ScimProvider.from_discovery(
        [Schema.model_validate(one) for one in schemas],
        [ResourceType.model_validate(one) for one in types],
        config=load_default_service_provider_config(),
    )
    storage = InMemoryStorage()
    application = BearerTokenApplication(
        storage, provider, service=ScimService(provider, secret="x" * 32), bearer_tokens=[TOKEN]
    )

    def with_door(environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"] != "/sign-in":
            return application(environ, start)
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        inside = any(
            one.user_name.lower() == asked["login"].lower() and one.password == asked["password"] and one.active
            for one in storage.resources
            if hasattr(one, "user_name")
        )
        start("200 OK" if inside else "403 Forbidden", [("Content-Length", "0")])
        return []

    class Handler(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            """Silent."""

    with make_server("127.0.0.1", 0, with_door, ThreadingWSGIServer, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Scim(f"http://127.0.0.1:{server.server_address[1]}/v2")
        finally:
            server.shutdown()
            thread.join()


@dataclass
class BadScim:
    """A server that behaves as its flags say. By default like canaille: no filter, PATCH 200, no value filters."""

    users: list[dict[str, Any]] = field(default_factory=list)
    says_filter: bool = False
    pages: bool = True
    """False: every page is the first one."""
    value_filters: bool = False
    keeps: bool = True
    """False: it says yes to a PATCH and changes nothing."""
    confuses: bool = False
    """It answers for another user than the one asked for."""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """Answers to give first, whatever is asked; ServiceProviderConfig excepted."""
    config: dict[str, Any] | None = None
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, dict[str, str], bytes]:
        """Called for each request."""
        self.seen.append((method, path, headers, body))
        parts = urlsplit(path)
        if parts.path == "/ServiceProviderConfig":
            return _json(200, self.config if self.config is not None else self._config())
        if parts.path == "/token":
            return _json(200, {"access_token": f"t{len(self.seen)}", "expires_in": 300})
        if self.answers:
            return self.answers.pop(0)
        if parts.path == "/Users/.search":
            return 405, {"Content-Type": "text/html"}, b"<html>Method not allowed</html>"
        if parts.path == "/Users" and method == "GET":
            query = parse_qs(parts.query)
            start, count = int(query["startIndex"][0]), int(query["count"][0])
            found = self.users[start - 1 :][:count] if self.pages else self.users[:count]
            return _json(200, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                               "totalResults": len(self.users), "Resources": found})  # fmt: skip
        if match := re.fullmatch(r"/Users/(.+)", parts.path):
            ref = unquote(match[1])
            one = next((u for u in self.users if u["id"] == ref), None)
            if one is None:
                return _error(404)
            if method == "PATCH":
                return self._patch(one, body)
            return _json(200, self.users[-1] if self.confuses else one)
        return 500, {"Content-Type": "application/scim+json"}, b"<html>Internal Server Error</html>"

    def _config(self) -> dict[str, Any]:
        yes, no = {"supported": True}, {"supported": False}
        return {"patch": yes, "filter": {"supported": self.says_filter}, "etag": yes, "changePassword": yes, "bulk": no}

    def _patch(self, one: dict[str, Any], body: Any) -> tuple[int, dict[str, str], bytes]:
        changes = {}
        for operation in body["Operations"]:
            path = operation["path"]
            if "[" in path:
                return _error(400, "invalidFilter")
            if path == "emails" and any("primary" in e for e in operation["value"]):
                return _error(400, "invalidSyntax")
            if path == "password" and len(operation["value"]) < 8:
                return _error(400, "invalidValue", f"password {operation['value']} is too short")
            changes[path] = operation["value"]
        if self.keeps:
            changes.pop("password", None)
            one.update(changes)
        return _json(200, one)


def _json(status: int, body: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/scim+json"}, json.dumps(body).encode()


def _error(status: int, scim_type: str = "", detail: str = "") -> tuple[int, dict[str, str], bytes]:
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": str(status), "detail": detail}
    return _json(status, body | ({"scimType": scim_type} if scim_type else {}))


@contextmanager
def bad_scim(**flags: Any) -> Iterator[BadScim]:
    """Start the bad server."""
    peer = BadScim(**flags)

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            body = json.loads(data) if "json" in self.headers.get("Content-Type", "") else data.decode()
            status, headers, content = peer.answer(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _handle  # noqa: N815  names that http.server calls

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
