"""Keycloak's Admin REST API as its published contract has it (admin-client 26.7, UserResource.java), for respx to replay.

No Keycloak server can be had from PyPI or Debian.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import httpx

ROOT = "https://sso.example"
JAN, OLD = "85811500129", "jan@poczta.example"


def token(*roles: str) -> str:
    claims = json.dumps({"resource_access": {"realm-management": {"roles": list(roles)}}}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.sig"


class Keycloak:
    """Users and answers as the contract has them; `seen` holds every call."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {
            "id-jan": self.user("id-jan", OLD, "Jan", attributes={"pesel": [JAN], "office": ["Zakręt"]}),
            "id-ewa": self.user("id-ewa", "ewa@poczta.example", "Ewa"),
        }
        self.lock: dict[str, Any] = {"disabled": False, "numFailures": 0, "lastFailure": 0, "lastIPFailure": "n/a"}
        """Of Jan."""
        self.locks: dict[str, dict[str, Any]] = {"id-jan": self.lock}
        self.passwords: dict[str, str] = {}
        self.realm: dict[str, Any] = {
            "realm": "urzad",
            "registrationEmailAsUsername": True,
            "bruteForceProtected": True,
        }
        self.profile: dict[str, Any] = {"attributes": [{"name": "pesel", "permissions": {"edit": ["admin"]}}]}
        self.token = token("manage-users")
        self.tokens = 0
        self.lifetime = 300
        self.fails: dict[str, list[Any]] = {}
        """Answers to give first, by `METHOD last-part-of-path`."""
        self.seen: list[tuple[str, str, dict[str, list[str]], Any]] = []

    @staticmethod
    def user(ref: str, email: str, given: str, **more: Any) -> dict[str, Any]:
        return {
            "id": ref, "username": email, "email": email, "emailVerified": True, "enabled": True,
            "firstName": given, "lastName": "Próbny", "requiredActions": [],
        } | more  # fmt: skip

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/realms/urzad/protocol/openid-connect/token":
            self.tokens += 1
            if planned := self.fails.get("POST token"):
                return _planned(planned)
            return httpx.Response(200, json={"access_token": self.token, "expires_in": self.lifetime})
        assert request.headers["authorization"] == f"Bearer {self.token}"
        body = json.loads(request.content) if request.content else None
        query = parse_qs(request.url.query.decode())
        self.seen.append((request.method, path, query, body))
        if planned := self.fails.get(f"{request.method} {path.rsplit('/', 1)[-1]}"):
            return _planned(planned)
        rest = path.removeprefix("/admin/realms/urzad")
        if rest == "":
            return httpx.Response(200, json=self.realm)
        if rest == "/users":
            return self._search(query)
        if rest == "/users/profile":
            return httpx.Response(200, json=self.profile)
        if rest.startswith("/attack-detection/brute-force/users/"):
            return self._brute_force(request.method, rest.rsplit("/", 1)[-1])
        ref, _, action = rest.removeprefix("/users/").partition("/")
        if ref not in self.users:
            return httpx.Response(404, json={"error": "User not found"})
        if request.method == "GET":
            return httpx.Response(200, json=self.users[ref])
        if action == "reset-password":
            return self._reset(ref, body)
        return httpx.Response(204) if action else self._update(ref, body)

    def _brute_force(self, method: str, ref: str) -> httpx.Response:
        none = {"disabled": False, "numFailures": 0, "lastFailure": 0, "lastIPFailure": "n/a"}
        if method == "DELETE":
            self.locks.setdefault(ref, {}).update(none)
            return httpx.Response(204)
        return httpx.Response(200, json=none | self.locks.get(ref, {}))

    def _reset(self, ref: str, body: Any) -> httpx.Response:
        if len(body["value"]) < 8:
            told = {
                "error": "invalidPasswordMinLengthMessage",
                "error_description": "Invalid password: minimum length 8.",
            }
            return httpx.Response(400, json=told)
        self.passwords[ref] = body["value"]
        return httpx.Response(204)

    def _update(self, ref: str, body: Any) -> httpx.Response:
        others = [one for key, one in self.users.items() if key != ref]
        for field in ("email", "username"):
            if field in body and any(one[field].lower() == body[field].lower() for one in others):
                return httpx.Response(409, json={"errorMessage": f"User exists with same {field}"})
        self.users[ref] |= body
        return httpx.Response(204)

    def _search(self, query: dict[str, list[str]]) -> httpx.Response:
        first, size = int(query["first"][0]), int(query["max"][0])
        assert query["briefRepresentation"] == ["false"]
        found = list(self.users.values())
        if "email" in query:
            # As without exact=true, which old versions do not know: a substring is enough.
            found = [u for u in found if query["email"][0].lower() in u["email"].lower()]
        return httpx.Response(200, json=found[first : first + size])

    def calls(self, method: str) -> list[tuple[str, Any]]:
        return [(path.removeprefix("/admin/realms/urzad"), body) for m, path, _, body in self.seen if m == method]


def _planned(answers: list[Any]) -> httpx.Response:
    first = answers.pop(0)
    if isinstance(first, Exception):
        raise first
    assert isinstance(first, httpx.Response)
    return first
