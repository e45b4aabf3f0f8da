"""Who calls the API, and what they send: for every call alike."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from okienko.core.audit.entries import AuditAction
from okienko.core.site.context import Site
from okienko.core.site.forms import read_body
from okienko.core.site.people import Person, Role
from okienko.core.site.problems import ApiError
from okienko.core.site.security import has_csrf, is_same_site
from okienko.core.site.signing_in import TokenRefusedError

M = TypeVar("M", bound=BaseModel)


class Callers:
    """People with an access token or a session."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def caller(self, request: Request, *roles: Role) -> tuple[Person, str | None]:
        """Who calls, and the session's token if it is a session. A changing call by session needs the CSRF header."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._bearer(request, token.strip(), *roles), None
        session = await self._site.session(request, *roles)
        if request.method != "GET":
            sent = request.headers.get("x-csrf-token", "")
            if not is_same_site(request, self._site.settings.public_url) or not has_csrf(sent, session.token):
                raise ApiError("csrf", "send the header X-CSRF-Token with the value that GET /api/v1/session gives")
        return session.person, session.token

    async def _bearer(self, request: Request, token: str, *roles: Role) -> Person:
        if self._site.oidc is None:
            raise ApiError("bad-token", "there is no identity provider: sign in and use the session")
        try:
            person = await self._site.oidc.tokens.access_token(token)
        except TokenRefusedError as error:
            await self._site.limit(self._site.sign_in_limit, request)
            await self._site.note(request, AuditAction.SIGN_IN_FAILED, "oidc:?", reason=str(error))
            raise ApiError("bad-token", str(error)) from None
        await self._site.require(request, person, *roles)
        return person


async def body_of(request: Request, model: type[M]) -> M:
    """The JSON body of a call. Raises ApiError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("media-type")
    return validated(model, await read_body(request))


def validated(model: type[M], data: bytes | dict[str, str]) -> M:
    """What was sent, as the model. Raises ApiError naming the fields that are wrong, never their values."""
    try:
        return model.model_validate_json(data) if isinstance(data, bytes) else model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        names = tuple(".".join(str(part) for part in e["loc"]) for e in found)
        raise ApiError(
            "invalid", "; ".join(f"{n}: {e['msg']}" for n, e in zip(names, found, strict=True)), names
        ) from None
