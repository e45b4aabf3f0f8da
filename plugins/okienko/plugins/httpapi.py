"""An HTTP JSON API as connectors need one: verified TLS, time-outs, a size limit, a token that is renewed in time, careful retries.

Nothing of a query, a body or a token reaches a log or an error: paths and status codes do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from okienko.plugins.addresses import safe_url
from okienko.plugins.context import utc_now
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.pace import Pace

_DIGITS = re.compile(r"\d{6,}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_ADDRESS = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+")


def harmless(text: object, *hidden: str, limit: int = 200) -> str:
    """What a server wrote, fit for an error: one line, no long numbers (PESEL), no addresses and nothing of `hidden`."""
    line = _UNSAFE.sub(" ", str(text))
    if any(secret and secret.casefold() in line.casefold() for secret in hidden):
        return "(the server's words repeat what was sent and are withheld)"
    return _ADDRESS.sub("<address>", _DIGITS.sub("<number>", line)).strip()[:limit]


def is_text(text: str) -> bool:
    """Whether it can be sent at all: a lone surrogate cannot, so that nobody's login has one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Credentials:
    """A fixed token, or client credentials (RFC 6749, section 4.4) or a user's password for `token_url`."""

    token: SecretStr | None = None
    token_url: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scope: str | None = None
    user: str | None = None
    """With `password`: the password grant (RFC 6749, section 4.3) instead, renewed by the refresh token where one is given."""
    password: SecretStr | None = None
    secret_in_form: bool = False
    """Client id and secret in the form (section 2.3.1), for servers that do not take HTTP Basic."""
    scheme: str = "Bearer"
    """What stands before the token in the header Authorization: RT wants `token`, Zammad `Token token=` (then no space)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much, in seconds and octets."""

    connect: float = 5.0
    total: float = 15.0
    attempts: int = 3
    longest_wait: float = 5.0
    """A longer Retry-After is not waited for but handed on in TransientError."""
    max_body: int = 10 * 1024 * 1024
    keepalive: float = 5.0
    """An idle connection is closed after this. Below the server's own time, else a request may meet a connection that just ended."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: httpx.Headers
    content: bytes

    def json(self) -> Any:
        """The body as JSON, whatever its declared type; None when it is none (HTML of a proxy or a crash)."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    @property
    def kind(self) -> str:
        """The media type in words, for messages."""
        return harmless(self.headers.get("content-type", "no content type").partition(";")[0], limit=60)


class HttpApi:
    """One API below `base_url`.

    Raises MisconfiguredError in the constructor for an unsafe address, an unreadable CA file or a token that no header can carry.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        ca_file: Path | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        headers: Mapping[str, str] | None = None,
        pace: Pace | None = None,
        own_sessions: bool = False,
    ) -> None:
        """`own_sessions`: the caller signs in by itself, so that a 401 is an answer like others."""
        self._pace = pace
        self._own_sessions = own_sessions
        self.base_url = safe_url(base_url).rstrip("/")
        self._limits = limits or Limits()
        self._credentials = credentials
        if credentials.token_url is not None:
            safe_url(credentials.token_url)
        if credentials.token is not None and not _fits_header(credentials.token.get_secret_value()):
            raise MisconfiguredError(
                "the token has characters that no header can carry: copy it anew, without line ends"
            )
        self._clock = clock
        self._token = ""
        self._token_ends = 0.0
        self._refresh = ""
        self._token_lock = asyncio.Lock()
        self._client = httpx.AsyncClient(
            verify=_tls(ca_file),
            timeout=httpx.Timeout(self._limits.total, connect=self._limits.connect),
            follow_redirects=False,
            headers=dict(headers or {}),
            limits=httpx.Limits(max_connections=10, keepalive_expiry=self._limits.keepalive),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
        data: Mapping[str, str] | None = None,
        files: Sequence[tuple[str, tuple[str, BinaryIO | bytes, str]]] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """The answer, whatever its status except 401, 429, 3xx, 502, 503 and 504.

        The body is one of `json`, a form (`data`, with `files` of field, name, content and media type as multipart), or `content`.
        Each request waits for its turn at the pace, and a Retry-After holds everyone who shares it.

        `repeatable`: doing it twice is as good as once, so that failures on the way are retried here. What the server
        refused to begin (429, or 503 with Retry-After) is retried always. Raises TransientError and MisconfiguredError.
        """

        body = {"params": params, "json": json, "data": data, "files": files, "content": content}
        body = {name: value for name, value in body.items() if value is not None}

        async def once() -> Answer:
            answer = await self._authorised(method, path, headers=headers, **body)
            try:
                _raise_for_way(answer, f"{method} {path}")
            except TransientError as busy:
                if self._pace is not None and busy.retry_after is not None:
                    await self._pace.hold(busy.retry_after)
                raise
            return answer

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: self._may_repeat(error, repeatable)),
            stop=stop_after_attempt(self._limits.attempts),
            wait=_wait,
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(once)

    def _may_repeat(self, error: BaseException, repeatable: bool) -> bool:  # noqa: FBT001  private
        if not isinstance(error, TransientError):
            return False
        if error.retry_after is not None:
            return error.retry_after <= self._limits.longest_wait
        return repeatable

    async def _authorised(self, method: str, path: str, **arguments: Any) -> Answer:
        headers = dict(arguments.pop("headers", None) or {})
        for attempt in (1, 2):
            token = await self.bearer()
            if token:
                scheme = self._credentials.scheme
                headers["Authorization"] = f"{scheme}{token}" if scheme.endswith("=") else f"{scheme} {token}"
            answer = await self._exchange(method, self.base_url + path, headers=headers, **arguments)
            if answer.status != 401 or self._own_sessions:
                return answer
            # A token may have been withdrawn before its time; a 401 did nothing, so that once more is safe.
            self._token = ""
            if attempt == 2 or self._credentials.token_url is None:
                break
        raise MisconfiguredError(
            f"{method} {path}: 401, the server does not accept our token: renew the token or the client's secret"
        )

    async def bearer(self) -> str:
        """The token in use, fetched or renewed when it is time; "" when there are no credentials."""
        known = self._credentials
        if known.token is not None:
            return known.token.get_secret_value()
        if known.token_url is None:
            return ""
        async with self._token_lock:
            if not self._token or self._clock() >= self._token_ends:
                self._token, seconds = await self._fetch_token(known)
                # Renewed a minute early, or after half its life when it lives two minutes or less.
                self._token_ends = self._clock() + max(seconds - 60.0, seconds / 2)
            return self._token

    async def _fetch_token(self, known: Credentials) -> tuple[str, float]:
        assert known.token_url is not None  # noqa: S101  narrowed by the caller
        secret = known.client_secret.get_secret_value() if known.client_secret else ""
        form = self._grant(known)
        auth = None if known.secret_in_form else httpx.BasicAuth(known.client_id or "", secret)
        if known.secret_in_form:
            form |= {"client_id": known.client_id or "", "client_secret": secret}
        refresh, self._refresh = self._refresh, ""
        answer = await self._exchange("POST", known.token_url, data=form, auth=auth)
        if refresh and answer.status in (400, 401):
            # The refresh token has ended: from the beginning, once.
            return await self._fetch_token(known)
        what = "the token endpoint"
        _raise_for_way(answer, what)
        body = answer.json()
        body = body if isinstance(body, dict) else {}
        if answer.status >= 500:
            raise TransientError(f"{what} failed with {answer.status}")
        if answer.status != 200:
            hidden = [one for one in (secret, known.password.get_secret_value() if known.password else "") if one]
            reason = harmless(body.get("error", answer.kind), *hidden)
            raise MisconfiguredError(
                f"{what} refused our client with {answer.status} ({reason}): check client id, secret and grant"
            )
        token, seconds = body.get("access_token"), body.get("expires_in", 60)
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise MisconfiguredError(f"{what} answered without an access_token: is its address right?")
        self._refresh = str(body.get("refresh_token") or "") if known.user is not None else ""
        return token, float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 60.0

    def _grant(self, known: Credentials) -> dict[str, str]:
        scope = {"scope": known.scope} if known.scope else {}
        if self._refresh:
            return {"grant_type": "refresh_token", "refresh_token": self._refresh} | scope
        if known.user is not None:
            password = known.password.get_secret_value() if known.password else ""
            return {"grant_type": "password", "username": known.user, "password": password} | scope
        return {"grant_type": "client_credentials"} | scope

    async def _exchange(self, method: str, url: str, **arguments: Any) -> Answer:
        what = f"{method} {urlsplit(url).path}"
        if self._pace is not None:
            await self._pace.turn()
        try:
            async with (
                asyncio.timeout(self._limits.total),
                self._client.stream(method, url, **arguments) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > self._limits.max_body:
                        raise PermanentError(f"{what}: the answer is larger than {self._limits.max_body} octets")
                return Answer(response.status_code, response.headers, bytes(content))
        except OkienkoError:
            raise
        except (httpx.TimeoutException, TimeoutError):
            raise TransientError(f"{what}: no answer within {self._limits.total:g} s") from None
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise MisconfiguredError(
                    f"{what}: the server's certificate is not trusted; name its CA in the setting CA_FILE"
                ) from None
            raise TransientError(f"{what}: cannot connect to {urlsplit(url).hostname}") from None
        except httpx.HTTPError as error:
            raise TransientError(f"{what}: the connection broke ({type(error).__name__})") from None


def _fits_header(token: str) -> bool:
    return token.isascii() and token.isprintable()


def _raise_for_way(answer: Answer, what: str) -> None:
    """What says nothing of the request itself: the server is busy, or something else stands at the address."""
    if answer.status == 429 or answer.status in (502, 503, 504):
        raise TransientError(f"{what}: the server is busy ({answer.status})", retry_after=_retry_after(answer.headers))
    if 300 <= answer.status < 400:
        raise MisconfiguredError(
            f"{what}: the server redirects ({answer.status}): give the final address in the setting URL"
        )


def _retry_after(headers: httpx.Headers) -> float | None:
    """RFC 9110, section 10.2.3: seconds or a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return _reset(headers)
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - utc_now()).total_seconds())


def _reset(headers: httpx.Headers) -> float | None:
    """`X-RateLimit-Reset` in place of Retry-After: ServiceNow writes Unix seconds, Jira a time of ISO 8601."""
    text = headers.get("x-ratelimit-reset", "").strip()
    try:
        moment = (
            datetime.fromtimestamp(int(text), UTC)
            if text.isascii() and text.isdigit()
            else datetime.fromisoformat(text)
        )
    except (ValueError, OverflowError, OSError):
        return None
    wait = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - utc_now()).total_seconds()
    # Some vendors write seconds from now, which would be a time long ago.
    return min(wait, 3600.0) if wait > 0 else None


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientError) else None
    return asked if asked is not None else min(0.2 * 2**state.attempt_number, 2.0)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError):
        raise MisconfiguredError(
            f"cannot read certificates from {ca_file}: give a PEM file in the setting CA_FILE"
        ) from None


def _without_query(record: logging.LogRecord) -> bool:
    """httpx logs whole addresses at INFO; their queries hold logins and PESELs."""
    if isinstance(record.args, tuple):
        record.args = tuple(a.copy_with(query=None) if isinstance(a, httpx.URL) else a for a in record.args)
    return True


logging.getLogger("httpx").addFilter(_without_query)
