"""Errors of the JSON API: RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from starlette.responses import JSONResponse

from okienko.schemas.base import Model

MEDIA_TYPE = "application/problem+json"
_TITLES: Mapping[str, tuple[int, str]] = {
    "unauthenticated": (401, "Nobody is signed in"),
    "bad-token": (401, "The access token is not valid"),
    "sign-in-again": (401, "The sign-in is too old for this"),
    "forbidden": (403, "Your role does not allow it"),
    "csrf": (403, "The request does not come from our own pages"),
    "not-found": (404, "There is no such thing"),
    "method": (405, "This method is not possible here"),
    "refused": (409, "The state of the action does not allow it"),
    "tampered": (409, "The action was changed in the database after it was proposed"),
    "too-large": (413, "The body is too large"),
    "media-type": (415, "The body has to be application/json"),
    "invalid": (422, "The request does not fit the schema"),
    "too-many": (429, "Too many attempts from this address"),
    "unexpected": (500, "Something unexpected happened"),
    "away": (503, "Something that is needed does not answer now"),
}


class Problem(Model):
    """RFC 9457, section 3. `type` is lasting: a program may depend on it."""

    type: str = Field(description="Which kind of problem", examples=["/problems/refused"])
    title: str = Field(description="The kind in words, always the same")
    status: int = Field(ge=400, le=599)
    detail: str = Field(default="", description="What is wrong this time, for people")
    errors: tuple[str, ...] = Field(default=(), description="Names of the fields or rules that are wrong")


class ApiError(Exception):
    """Ends a call of the API with a problem of that kind."""

    def __init__(
        self, kind: str, detail: str = "", errors: tuple[str, ...] = (), *, max_age: int | None = None
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.max_age = max_age


def answer(error: ApiError) -> JSONResponse:
    """The response for an error."""
    status, title = _TITLES[error.kind]
    body = Problem(type=f"/problems/{error.kind}", title=title, status=status, detail=error.detail, errors=error.errors)
    challenge = 'Bearer realm="okienko"'
    if error.max_age is not None:
        # RFC 9470: what the client has to ask the provider for.
        challenge += f', error="insufficient_user_authentication", max_age={error.max_age}'
    headers = {"www-authenticate": challenge} if status == 401 else {}
    return JSONResponse(body.model_dump(mode="json"), status, headers, media_type=MEDIA_TYPE)


def kind_of(status: int) -> str:
    """The kind for a bare HTTP status."""
    return {
        403: "csrf", 404: "not-found", 405: "method", 413: "too-large", 415: "media-type", 429: "too-many",
    }.get(status, "invalid")  # fmt: skip
