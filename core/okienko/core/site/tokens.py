"""Reading tokens of an OpenID provider: what must hold before a claim is believed, and who the claims speak of.

Source: OpenID Connect Core 1.0, section 3.1.3.7 (ID token) and 3.1.3.6 (at_hash); RFC 9068 (access tokens); RFC 8725.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import InvalidKeyIdError, JoseError

from okienko.core.site.people import Person, Role
from okienko.core.site.provider import Provider
from okienko.core.site.settings import OidcSettings
from okienko.core.site.signing_in import TokenRefusedError

_LONGEST = 32 << 10
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


class TokenReader:
    """Verifies tokens of one provider."""

    def __init__(self, settings: OidcSettings, provider: Provider, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._provider = provider
        self._now = now

    async def id_token(self, token: str, *, nonce: str, access_token: str | None) -> Person:
        """Whom an ID token speaks of. Raises TokenRefusedError, TransientError."""
        header, claims = await self._claims(token, self._settings.client_id)
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self._settings.client_id:
            raise TokenRefusedError("azp: the ID token was made for another client")
        if not _same(claims.get("nonce"), nonce):
            raise TokenRefusedError("nonce: the ID token does not belong to this sign-in")
        if (
            "at_hash" in claims
            and access_token is not None
            and not _same(claims["at_hash"], _at_hash(header.get("alg"), access_token))
        ):
            raise TokenRefusedError("at_hash: the access token does not belong to the ID token")
        self._strong_enough(claims)
        return self.person(claims)

    async def access_token(self, token: str) -> Person:
        """Whom an access token for our API speaks of. Raises TokenRefusedError, TransientError."""
        if self._settings.api_audience is None:
            raise TokenRefusedError("aud: this installation takes no access tokens (OKIENKO_OIDC_API_AUDIENCE)")
        header, claims = await self._claims(token, self._settings.api_audience)
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in ("at+jwt", "jwt"):
            raise TokenRefusedError("typ: it is no access token")
        if str(claims.get("typ", "Bearer")).lower() != "bearer" or "nonce" in claims:
            raise TokenRefusedError("typ: it is an ID or refresh token and no access token")
        self._strong_enough(claims)
        return self.person(claims)

    async def _claims(self, token: str, audience: str) -> tuple[dict[str, Any], dict[str, Any]]:
        if len(token) > _LONGEST:
            raise TokenRefusedError("the token is too long")
        try:
            verified = await self._verified(token)
            registry = jwt.JWTClaimsRegistry(
                now=int(self._now().timestamp()),
                leeway=self._settings.clock_skew,
                iss={"essential": True, "value": self._provider.issuer},
                aud={"essential": True, "value": audience},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
            )
            registry.validate(verified.claims)
        except JoseError as error:
            raise TokenRefusedError(f"the token is not valid ({error.error})") from None
        except (ValueError, TypeError, KeyError):
            raise TokenRefusedError("the token cannot be read") from None
        if not verified.claims["sub"] or len(verified.claims["sub"]) > 255:
            raise TokenRefusedError("sub: it is empty or too long")
        return dict(verified.header), verified.claims

    async def _verified(self, token: str) -> jwt.Token:
        # Only JWS in compact form: what has five parts would be decrypted instead.
        if token.count(".") != 2:
            raise TokenRefusedError("the token is no signed JWT")
        registry = jws.JWSRegistry(algorithms=self._settings.algorithms)
        try:
            return jwt.decode(token, await self._provider.keys(), registry=registry)
        except InvalidKeyIdError:
            return jwt.decode(token, await self._provider.keys(anew=True), registry=registry)

    def _strong_enough(self, claims: Mapping[str, Any]) -> None:
        wanted = self._settings
        if wanted.acr_values and claims.get("acr") not in wanted.acr_values:
            raise TokenRefusedError("acr: the sign-in at the identity provider was not strong enough")
        amr = claims.get("amr")
        if wanted.amr_values and not set(wanted.amr_values).intersection(amr if isinstance(amr, list) else []):
            raise TokenRefusedError("amr: the sign-in at the identity provider lacks a factor that is asked for")

    def person(self, claims: Mapping[str, Any]) -> Person:
        """The person and their roles, from claims that were verified. Raises TokenRefusedError."""
        also = [claims.get(key) for key in ("email", "preferred_username", "upn")]
        emails = tuple(dict.fromkeys(value for value in also if isinstance(value, str) and value))
        shown = next(
            (claims[k] for k in ("name", "preferred_username", "email") if _text(claims.get(k))), claims["sub"]
        )
        found = frozenset(_values(claims, self._settings.roles_claim))
        roles = {Role.IDENTITY_ADMIN: self._settings.admin_role, Role.AUDITOR: self._settings.auditor_role}
        return Person(
            f"oidc:{self._provider.issuer}:{claims['sub']}", str(shown)[:200], emails,
            frozenset(role for role, name in roles.items() if name in found), self._authenticated_at(claims),
        )  # fmt: skip

    def _authenticated_at(self, claims: Mapping[str, Any]) -> datetime | None:
        """`auth_time` (OpenID Connect Core 1.0, section 2; RFC 9068, section 2.2.1)."""
        seconds = claims.get("auth_time")
        if seconds is None:
            return None
        latest = self._now() + timedelta(seconds=self._settings.clock_skew)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= latest.timestamp():
            raise TokenRefusedError("auth_time: it is no time of the past")
        return datetime.fromtimestamp(seconds, UTC)


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts at a path of claim names. A claim whose own name has dots (a URL) is tried as it is first."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return value.split()
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def _at_hash(algorithm: object, access_token: str) -> str:
    # EdDSA with Ed25519 hashes with SHA-512 (OpenID Connect Core errata 2).
    digest = _HASHES.get(str(algorithm)[-3:], hashlib.sha512)(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
