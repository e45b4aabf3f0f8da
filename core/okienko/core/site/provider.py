"""An OpenID provider as it describes itself: its metadata and its keys, fetched when needed and kept for a while.

Source: OpenID Connect Discovery 1.0, section 4; RFC 7517.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError

KEPT = timedelta(hours=1)
REFETCH = timedelta(minutes=1)
"""How often an unknown key id may make us ask for the keys again."""
_LARGEST = 1 << 20


class ProviderRefusedError(PermanentError):
    """The provider answered that it will not: a spent code, a wrong secret, a wrong address."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What we use of the provider's metadata."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    names_itself: bool
    """It sends `iss` with the code (RFC 9207)."""


class Provider:
    """Fetches and keeps metadata and keys of one issuer."""

    def __init__(self, issuer: str, http: httpx.AsyncClient, now: Callable[[], datetime]) -> None:
        self.issuer = issuer
        self._http = http
        self._now = now
        self._lock = asyncio.Lock()
        self._metadata: tuple[Metadata, datetime] | None = None
        self._keys: tuple[KeySet, datetime] | None = None

    async def metadata(self) -> Metadata:
        """The metadata. Raises TransientError when it cannot be had now, MisconfiguredError when it is another issuer's."""
        async with self._lock:
            if self._metadata is None or self._now() - self._metadata[1] > KEPT:
                url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
                self._metadata = (self._read(await self.request("GET", url)), self._now())
            return self._metadata[0]

    def _read(self, document: Mapping[str, Any]) -> Metadata:
        if document.get("issuer") != self.issuer:
            raise MisconfiguredError(
                "the identity provider names itself differently from OKIENKO_OIDC_ISSUER: write it exactly as it does"
            )
        found = {key: document.get(key) for key in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
        secure = self.issuer.startswith("https:")
        for key, value in found.items():
            if not isinstance(value, str) or (secure and not value.startswith("https:")):
                raise MisconfiguredError(f"the identity provider's metadata has no usable {key}")
        end = document.get("end_session_endpoint")
        return Metadata(
            str(found["authorization_endpoint"]), str(found["token_endpoint"]), str(found["jwks_uri"]),
            end if isinstance(end, str) and (not secure or end.startswith("https:")) else None,
            document.get("authorization_response_iss_parameter_supported") is True,
        )  # fmt: skip

    async def keys(self, *, anew: bool = False) -> KeySet:
        """The provider's public keys; `anew` when a token names one that is not among them."""
        uri = (await self.metadata()).jwks_uri
        async with self._lock:
            age = None if self._keys is None else self._now() - self._keys[1]
            if self._keys is None or age is None or age > KEPT or (anew and age > REFETCH):
                document = await self.request("GET", uri)
                try:
                    # Keys of kinds that joserfc does not know are left out: they may be for others.
                    self._keys = (_key_set(document), self._now())
                except (JoseError, ValueError, KeyError, TypeError, AttributeError):
                    raise TransientError("the identity provider's keys cannot be read") from None
            return self._keys[0]

    async def request(self, method: str, url: str, **arguments: Any) -> dict[str, Any]:
        """The JSON object that answers. Raises ProviderRefusedError for 4xx, TransientError for all else; neither quotes it."""
        try:
            async with self._http.stream(method, url, follow_redirects=False, **arguments) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise TransientError("the identity provider's answer is too large")
                status = response.status_code
        except httpx.HTTPError as error:
            raise TransientError(f"the identity provider does not answer ({type(error).__name__})") from None
        if 400 <= status < 500 and status != httpx.codes.TOO_MANY_REQUESTS:
            raise ProviderRefusedError(f"the identity provider refused the request with HTTP {status}")
        if status != httpx.codes.OK:
            raise TransientError(f"the identity provider answered with HTTP {status}")
        try:
            document = json.loads(bytes(body))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise TransientError("the identity provider answered with something that is no JSON object")
        return document


def _key_set(document: Mapping[str, Any]) -> KeySet:
    usable = []
    for key in document["keys"]:
        if key.get("use", "sig") != "sig" or key.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            usable += KeySet.import_key_set({"keys": [key]}).keys
        except (JoseError, ValueError, KeyError):
            continue
    return KeySet(usable)
