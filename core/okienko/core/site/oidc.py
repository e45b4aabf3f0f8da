"""Sign-in at an OpenID provider: authorization code with PKCE, state and nonce, and sign-out there.

What belongs to one sign-in is derived from one random secret, which a short-lived cookie holds: state, nonce and the PKCE
verifier. So nothing is stored here, and a code that is brought back by another browser is of no use.
Source: OpenID Connect Core 1.0, section 3.1; RFC 7636; RFC 9207; RFC 9700; OpenID Connect RP-Initiated Logout 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

import httpx

from okienko.core.site.people import Person
from okienko.core.site.provider import Provider, ProviderRefusedError
from okienko.core.site.settings import OidcSettings
from okienko.core.site.signing_in import CALLBACK, LIFETIME, TokenRefusedError
from okienko.core.site.tokens import TokenReader

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_NOT_SILENTLY = ("login_required", "interaction_required", "consent_required", "account_selection_required")
"""OpenID Connect Core 1.0, section 3.1.2.6."""
_LONGEST_HINT = 6000
"""Web servers refuse request lines beyond 8 kB; without the hint the provider asks whether to sign out."""


class NotSilentlyError(TokenRefusedError):
    """The provider would have to show the person something first."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who came back from the provider, and its word for it."""

    person: Person
    id_token: str = field(repr=False)


class Oidc:
    """One provider, as a way to sign in."""

    def __init__(
        self, settings: OidcSettings, http: httpx.AsyncClient, now: Callable[[], datetime], *, public_url: str
    ) -> None:
        if settings.issuer is None:
            raise ValueError("there is no issuer")
        self._settings = settings
        self._now = now
        self._public_url = public_url
        self.provider = Provider(settings.issuer, http, now)
        self.tokens = TokenReader(settings, self.provider, now)

    @property
    def origin(self) -> str:
        """Scheme and host of the issuer."""
        parts = urlsplit(self.provider.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    async def begin(self, *, max_age: timedelta | None = None, silent: bool = False) -> tuple[str, str]:
        """Where to send the browser, and the secret for its cookie.

        `max_age`: the provider is to let the person prove who they are again, unless they did so that lately. `silent`: it is
        to show them nothing; when it has to, `finish` raises NotSilentlyError.
        """
        secret = f"{int(self._now().timestamp())}.{secrets.token_urlsafe(32)}"
        challenge = base64.urlsafe_b64encode(hashlib.sha256(_derive(secret, "verifier").encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._public_url + CALLBACK,
            "scope": self._settings.scopes,
            "state": _derive(secret, "state"),
            "nonce": _derive(secret, "nonce"),
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        if max_age is not None:
            query["max_age"] = str(int(max_age.total_seconds()))
        if silent:
            query["prompt"] = "none"
        if self._settings.acr_values:
            query["acr_values"] = " ".join(self._settings.acr_values)
        endpoint = (await self.provider.metadata()).authorization_endpoint
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(query), secret

    async def finish(self, query: Mapping[str, str], secret: str) -> SignedIn:
        """Who came back. Raises TokenRefusedError when it proves nothing, TransientError when it can't be told now."""
        begun, _, random = secret.partition(".")
        if not begun.isdigit() or not _SECRET.fullmatch(random):
            raise TokenRefusedError("state: this browser did not begin a sign-in here")
        if not 0 <= self._now().timestamp() - int(begun) + 1 <= LIFETIME.total_seconds():
            raise TokenRefusedError("state: the sign-in took too long")
        if not hmac.compare_digest(query.get("state", "").encode(), _derive(secret, "state").encode()):
            raise TokenRefusedError("state: the answer does not belong to this sign-in")
        metadata = await self.provider.metadata()
        if (metadata.names_itself or "iss" in query) and query.get("iss") != self.provider.issuer:
            raise TokenRefusedError("iss: the answer comes from another identity provider")
        if query.get("error") in _NOT_SILENTLY:
            raise NotSilentlyError("code: the identity provider has to ask the person first")
        if "error" in query or not query.get("code"):
            raise TokenRefusedError("code: the identity provider gave none")
        try:
            answer = await self.provider.request(
                "POST", metadata.token_endpoint, **self._redemption(query["code"], secret)
            )
        except ProviderRefusedError as error:
            raise TokenRefusedError(f"code: {error}") from None
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise TokenRefusedError("id_token: the identity provider gave none")
        person = await self.tokens.id_token(
            token, nonce=_derive(secret, "nonce"), access_token=access if isinstance(access, str) else None
        )
        return SignedIn(person, token)

    def _redemption(self, code: str, secret: str) -> dict[str, object]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._public_url + CALLBACK,
            "code_verifier": _derive(secret, "verifier"),
        }
        password = self._settings.client_secret
        if password is not None and self._settings.client_auth == "client_secret_basic":
            # RFC 6749, section 2.3.1: both parts are form-encoded first.
            auth = (quote(self._settings.client_id, safe=""), quote(password.get_secret_value(), safe=""))
            return {"data": form, "auth": auth}
        form["client_id"] = self._settings.client_id
        if password is not None:
            form["client_secret"] = password.get_secret_value()
        return {"data": form}

    async def sign_out_url(self, id_token: str | None) -> str | None:
        """Where to send a browser that signed out here, so that it signs out there too; None when the provider has no such place.

        With the ID token of the session the provider knows whom it is about and need not ask them.
        """
        endpoint = (await self.provider.metadata()).end_session_endpoint
        if endpoint is None:
            return None
        query = {"client_id": self._settings.client_id, "post_logout_redirect_uri": f"{self._public_url}/signed-out"}
        if id_token is not None and len(id_token) <= _LONGEST_HINT:
            query["id_token_hint"] = id_token
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)


def _derive(secret: str, purpose: str) -> str:
    mac = hmac.new(secret.encode(), b"okienko oidc " + purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
