"""What every answer of the site carries, and what every changing request must bring.

Source: OWASP ASVS 4.0, V3 (sessions), V4.2.2 (CSRF), V14.4 (headers).
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SecurityHeaders:
    """ASGI middleware: adds the headers, and forbids keeping what is not a static file."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if https:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, guarded)


def csrf_token(session_token: str) -> str:
    """The token that the session's forms carry; it is bound to the session and needs no store."""
    return hmac.new(session_token.encode(), b"okienko csrf", hashlib.sha256).hexdigest()


def is_same_site(request: Request, public_url: str) -> bool:
    """Whether a changing request comes from our own pages, by what the browser says of it (Sec-Fetch-Site, else Origin)."""
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    origin = request.headers.get("origin")
    ours = urlsplit(public_url)
    return origin is None or origin == f"{ours.scheme}://{ours.netloc}"


def has_csrf(sent: str, session_token: str) -> bool:
    """Whether the form's token is the session's; compared in constant time."""
    return hmac.compare_digest(sent.encode("utf-8", "replace"), csrf_token(session_token).encode())
