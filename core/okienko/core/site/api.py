"""The JSON API over reset actions, for programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from okienko.core.actions.store import TamperedError
from okienko.core.site import api_models as m
from okienko.core.site.context import ForbiddenError, SignInNeededError, Site, log
from okienko.core.site.decisions import Decisions, RefusedDecisionError
from okienko.core.site.forms import BadRequestError, read_body
from okienko.core.site.language import translator
from okienko.core.site.openapi import PREFIX, Operation, document
from okienko.core.site.people import Person, Role
from okienko.core.site.problems import ApiError, answer, kind_of
from okienko.core.site.queue import STATES, BadCursorError, Tab
from okienko.core.site.records import Recorded
from okienko.core.site.security import csrf_token, has_csrf, is_same_site
from okienko.core.site.signing_in import TokenRefusedError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.schemas.base import Model

M = TypeVar("M", bound=BaseModel)
_ALL = tuple(state for tab in Tab for state in STATES[tab])
_OPEN = tuple(state for tab in (Tab.WAITING, Tab.COOLING, Tab.READY) for state in STATES[tab])


class Which(StrEnum):
    """Which actions a list has: those of one tab, all that are open, or all."""

    WAITING = "waiting"
    COOLING = "cooling"
    READY = "ready"
    ENDED = "ended"
    OPEN = "open"
    ALL = "all"


class ListQuery(Model):
    """What a list can be asked for."""

    state: Which = Which.OPEN
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=64)


_CHANGE = (401, 403, 404, 409, 413, 415, 422, 503)
OPERATIONS = (
    Operation("session", "GET", "/session", "Who I am, and the token for changing calls", m.SessionInfo),
    Operation(
        "list_actions", "GET", "/actions", "The queue, oldest first", m.ActionList, query=ListQuery, problems=(401, 403, 422, 503)
    ),
    Operation("get_action", "GET", "/actions/{id:uuid}", "One action", m.ActionDetail, problems=(401, 403, 404, 409, 503)),
    Operation(
        "approve_action", "POST", "/actions/{id:uuid}/approve", "Say yes", m.ActionChanged, m.ApproveRequest, problems=_CHANGE
    ),
    Operation(
        "refuse_action", "POST", "/actions/{id:uuid}/refuse", "Say no and close the case", m.ActionChanged, m.RefuseRequest,
        problems=_CHANGE,
    ),
    Operation(
        "finish_action", "POST", "/actions/{id:uuid}/done", "It was carried out by hand", m.ActionChanged, m.DoneRequest,
        problems=_CHANGE,
    ),
)  # fmt: skip


def api_routes(site: Site) -> list[Route]:
    """The routes of this file."""
    api = _Api(site)
    described = document(OPERATIONS)

    async def openapi(_: Request) -> Response:
        return JSONResponse(described, media_type="application/vnd.oai.openapi+json;version=3.1")

    routes = [Route(f"{PREFIX}/openapi.json", openapi, methods=["GET"])]
    for operation in OPERATIONS:
        endpoint = _guarded(getattr(api, operation.name))
        routes.append(Route(PREFIX + operation.path, endpoint, methods=[operation.method], name=operation.name))
    return routes


def _guarded(call: Callable[[Request], Awaitable[BaseModel]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse((await call(request)).model_dump(mode="json"))
        except ApiError as error:
            return answer(error)
        except SignInNeededError:
            return answer(ApiError("unauthenticated", "bring an access token or the cookie of a session"))
        except ForbiddenError:
            return answer(ApiError("forbidden"))
        except BadRequestError as error:
            return answer(ApiError(kind_of(error.status)))
        except RefusedDecisionError as error:
            say = translator("en")
            details = [say(p.key, **p.values) for p in error.problems]
            wrong = any(p.field and p.field != "checked" for p in error.problems)
            return answer(ApiError("invalid" if wrong else "refused", " ".join(details)))
        except TamperedError:
            return answer(ApiError("tampered"))
        except PermanentError:
            return answer(ApiError("not-found"))
        except (TransientError, MisconfiguredError) as error:
            log.warning("the API cannot answer now", action="api", problem=str(error))
            return answer(ApiError("away"))

    return endpoint


class _Api:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._decisions = Decisions(site)

    async def _caller(self, request: Request, *roles: Role) -> tuple[Person, str | None]:
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
            await self._site.note(request, Recorded.SIGN_IN_FAILED, "oidc:?", reason=str(error))
            raise ApiError("bad-token", str(error)) from None
        await self._site.require(request, person, *roles)
        return person

    async def session(self, request: Request) -> m.SessionInfo:
        """Who calls."""
        person, token = await self._caller(request)
        csrf = csrf_token(token) if token else None
        return m.SessionInfo(who=person.who, name=person.name, roles=tuple(sorted(person.roles)), csrf=csrf)

    async def list_actions(self, request: Request) -> m.ActionList:
        """A page of the queue."""
        person, _ = await self._caller(request)
        query = _validated(ListQuery, dict(request.query_params))
        states = {Which.OPEN: _OPEN, Which.ALL: _ALL}.get(query.state) or STATES[Tab(query.state.value)]
        try:
            page = await self._site.queue.page(states, limit=query.limit, cursor=query.cursor)
        except BadCursorError as error:
            raise ApiError("invalid", str(error), ("cursor",)) from None
        await self._site.note(request, Recorded.LISTED, person.who, reason=f"api {query.state.value}")
        need = self._site.policy.approvals
        return m.ActionList(items=tuple(m.to_line(line, need[line.risk]) for line in page.lines), next=page.next)

    async def get_action(self, request: Request) -> m.ActionDetail:
        """One action."""
        person, _ = await self._caller(request)
        whole = await self._site.queue.whole(request.path_params["id"])
        await self._site.note(request, Recorded.VIEWED, person.who, case_id=whole.case.id, reason="api")
        needed = self._site.policy.approvals[whole.action.risk]
        return m.to_detail(whole, needed, unchanged=self._decisions.unchanged(whole))

    async def approve_action(self, request: Request) -> m.ActionChanged:
        """One yes."""
        person, _ = await self._caller(request, Role.IDENTITY_ADMIN)
        body = await _body(request, m.ApproveRequest)
        whole = await self._site.queue.whole(request.path_params["id"])
        actor = self._site.actor(request, person)
        action = await self._decisions.approve(whole, actor, person, digest=body.digest, checked=body.checked)
        return m.to_changed(action, self._site.policy.approvals[action.risk])

    async def refuse_action(self, request: Request) -> m.ActionChanged:
        """One no."""
        person, _ = await self._caller(request, Role.IDENTITY_ADMIN)
        body = await _body(request, m.RefuseRequest)
        whole = await self._site.queue.whole(request.path_params["id"])
        actor = self._site.actor(request, person)
        action = await self._decisions.refuse(whole, actor, reason=body.reason, solution=body.solution)
        return m.to_changed(action, self._site.policy.approvals[action.risk])

    async def finish_action(self, request: Request) -> m.ActionChanged:
        """Carried out by hand."""
        person, _ = await self._caller(request, Role.IDENTITY_ADMIN)
        body = await _body(request, m.DoneRequest)
        whole = await self._site.queue.whole(request.path_params["id"])
        actor = self._site.actor(request, person)
        action = await self._decisions.done(whole, actor, solution=body.solution, field="solution")
        return m.to_changed(action, self._site.policy.approvals[action.risk])


async def _body(request: Request, model: type[M]) -> M:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("media-type")
    return _validated(model, await read_body(request))


def _validated(model: type[M], data: bytes | dict[str, str]) -> M:
    try:
        return model.model_validate_json(data) if isinstance(data, bytes) else model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        names = tuple(".".join(str(part) for part in e["loc"]) for e in found)
        raise ApiError(
            "invalid", "; ".join(f"{n}: {e['msg']}" for n, e in zip(names, found, strict=True)), names
        ) from None
