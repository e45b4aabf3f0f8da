"""An OpenID provider in this process, with keys of its own, that can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

ISSUER = "https://idp.example/realms/urzad"
_ALL = jws.JWSRegistry(algorithms=["RS256", "PS256", "ES256"])


class Idp:
    """`claims` are those of whoever signs in; `forge` changes the ID token's claims before it is signed."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.key: Any = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}, private=True, auto_kid=False)
        self.published: list[Any] = [
            self.key,
            ECKey.generate_key("P-256", {"kid": "other", "use": "enc"}, auto_kid=False),
        ]
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {
            "sub": "17", "name": "Anna Wzorowa", "email": "anna@urzad.example", "preferred_username": "awzorowa",
            "realm_access": {"roles": ["identity_admin", "offline_access"]},
        }  # fmt: skip
        self.forge: Callable[[dict[str, Any]], None] = lambda _: None
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth", "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/certs", "end_session_endpoint": f"{ISSUER}/logout",
            "authorization_response_iss_parameter_supported": True,
        }  # fmt: skip
        self.signed_in_at: datetime | None = None
        """When the person last proved who they are here; None: they have no session here."""
        self.heeds_max_age = True
        self.status = 200
        self.fetched: list[str] = []
        self.secrets: list[tuple[str | None, str | None]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.given = 0
        prefix = urlsplit(ISSUER).path
        app = Starlette(
            routes=[
                Route(f"{prefix}/.well-known/openid-configuration", self._configuration),
                Route(f"{prefix}/certs", self._certs),
                Route(f"{prefix}/auth", self._auth),
                Route(f"{prefix}/token", self._token, methods=["POST"]),
            ]
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))

    async def sign_in(self, url: str) -> str:
        """What a browser does at the provider: go there, sign in, come back to the returned address."""
        answer = await self.http.get(url)
        return answer.headers["location"]

    def access_token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for the API."""
        now = int(self.now().timestamp())
        body = (
            {"iss": ISSUER, "aud": "okienko-api", "iat": now, "exp": now + 300, "auth_time": now} | self.claims | claims
        )
        return self.sign({"typ": "at+jwt"} | (header or {}), {k: v for k, v in body.items() if v is not None})

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """A JWT with the present key."""
        return jwt.encode({"alg": self.algorithm, "kid": self.key.kid} | header, claims, self.key, registry=_ALL)

    async def _configuration(self, _: Request) -> Response:
        self.fetched.append("configuration")
        return JSONResponse(self.metadata, self.status)

    async def _certs(self, _: Request) -> Response:
        self.fetched.append("certs")
        return JSONResponse(KeySet(self.published).as_dict(private=False))

    async def _auth(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        back = {"state": query["state"], "iss": ISSUER}
        now, before = self.now(), self.signed_in_at
        old = before is None or (
            self.heeds_max_age and "max_age" in query and (now - before).total_seconds() > int(query["max_age"])
        )
        if old and query.get("prompt") == "none":
            back["error"] = "login_required"
        else:
            if old:
                self.signed_in_at = now
            code = f"code{self.given}"
            self.given += 1
            self._codes[code] = query
            back["code"] = code
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        form = {k: v[0] for k, v in parse_qs((await request.body()).decode()).items()}
        self.secrets.append((request.headers.get("authorization"), form.get("client_secret")))
        begun = self._codes.pop(form["code"], None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        )
        if begun is None or challenge != begun["code_challenge"] or form["redirect_uri"] != begun["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(self.now().timestamp())
        access = "an-opaque-access-token"
        half = base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()[:16]).rstrip(b"=").decode()
        claims = {
            "iss": ISSUER, "aud": "okienko", "iat": now, "exp": now + 300, "nonce": begun["nonce"], "at_hash": half,
        }  # fmt: skip
        if "max_age" in begun and self.signed_in_at is not None:
            claims["auth_time"] = int(self.signed_in_at.timestamp())
        claims |= self.claims
        self.forge(claims)
        return JSONResponse({"access_token": access, "token_type": "Bearer", "id_token": self.sign({}, claims)})
