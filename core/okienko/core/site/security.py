"""What every answer of the site carries, and what every changing request must bring.

Source: OWASP ASVS 4.0, V3 (sessions), V4.2.2 (CSRF), V14.4 (headers), V14.5.3 (Host).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not no-referrer: with that, browsers send `Origin: null` even to ourselves.
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


_SECRET_PATHS = ("/activate/", "/stop/", "/invitation/")
"""Pages whose address is a secret: it goes nowhere as a referrer, whatever the answer is."""


class SecurityHeaders:
    """ASGI middleware: adds the headers, and forbids keeping what is not a static file.

    `form_targets` are origins beside our own to which a form's answer may redirect: the identity provider's, at sign-out.
    """

    def __init__(self, app: ASGIApp, *, https: bool, form_targets: Iterable[str] = ()) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        forms = " ".join(("'self'", *form_targets))
        self._headers["content-security-policy"] = self._headers["content-security-policy"].format(forms=forms)
        if https:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        secret = scope["path"].startswith(_SECRET_PATHS)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if secret:
                    headers["referrer-policy"] = "no-referrer"
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, guarded)


def csrf_token(session_token: str) -> str:
    """The token that the session's forms carry; it is bound to the session and needs no store."""
    return hmac.new(session_token.encode(), b"okienko csrf", hashlib.sha256).hexdigest()


def is_same_site(request: Request, public_url: str) -> bool:
    """Whether a changing request comes from our own pages, by what the browser says of it (Sec-Fetch-Site, else Origin).

    A request that says neither does not count as ours: every browser sends one of them with a form.
    """
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    ours = urlsplit(public_url)
    return request.headers.get("origin") == f"{ours.scheme}://{ours.netloc}"


def has_csrf(sent: str, session_token: str) -> bool:
    """Whether the form's token is the session's; compared in constant time."""
    return hmac.compare_digest(sent.encode("utf-8", "replace"), csrf_token(session_token).encode())


class HostCheck:
    """ASGI middleware: answers only requests for one of our host names, so that a forged Host reaches no link and no cache."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and not self._ours(Headers(scope=scope).getlist("host")):
            await PlainTextResponse("misdirected request: wrong Host\n", 421)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _ours(self, values: list[str]) -> bool:
        if len(values) != 1:
            return False
        try:
            return (urlsplit(f"//{values[0]}").hostname or "") in self._hosts
        except ValueError:
            return False
