"""The JSON API over applications that could not be read: the list, one of them, and what a person types."""

from __future__ import annotations

from pydantic import Field
from starlette.requests import Request

from okienko.core.audit.entries import AuditAction
from okienko.core.site import api_models as m
from okienko.core.site.api_callers import Callers, body_of, validated
from okienko.core.site.applications import Pile
from okienko.core.site.context import Site
from okienko.core.site.language import translator
from okienko.core.site.openapi import Operation
from okienko.core.site.people import Role
from okienko.core.site.problems import ApiError
from okienko.core.site.queue import BadCursorError
from okienko.core.typing_in import Refusal, TypingRefusedError
from okienko.schemas.base import Model


class PileQuery(Model):
    """What the list can be asked for."""

    state: Pile = Pile.UNREAD
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=64)


APPLICATIONS = (
    Operation(
        "list_applications", "GET", "/applications", "Applications that wait to be typed, oldest first", m.ApplicationList,
        query=PileQuery, problems=(401, 403, 422, 503),
    ),
    Operation(
        "get_application", "GET", "/applications/{case:uuid}", "One application, with what could be read", m.ApplicationDetail,
        problems=(401, 403, 404, 503),
    ),
    Operation(
        "type_application", "POST", "/applications/{case:uuid}/data", "Record the data that could not be read",
        m.ApplicationTyped, m.TypeRequest, problems=(401, 403, 404, 409, 413, 415, 422, 503),
    ),
)  # fmt: skip


class ApplicationsApi:
    """The calls."""

    def __init__(self, site: Site, callers: Callers) -> None:
        self._site = site
        self._callers = callers

    async def list_applications(self, request: Request) -> m.ApplicationList:
        """A page of the list."""
        person, _ = await self._callers.caller(request)
        query = validated(PileQuery, dict(request.query_params))
        try:
            page = await self._site.applications.page(query.state, limit=query.limit, cursor=query.cursor)
        except BadCursorError as error:
            raise ApiError("invalid", str(error), ("cursor",)) from None
        await self._site.note(request, AuditAction.LISTED, person.who, reason=f"api applications {query.state.value}")
        return m.ApplicationList(items=tuple(m.to_application_line(line) for line in page.lines), next=page.next)

    async def get_application(self, request: Request) -> m.ApplicationDetail:
        """One application."""
        person, _ = await self._callers.caller(request)
        whole = await self._site.applications.whole(request.path_params["case"])
        await self._site.note(
            request, AuditAction.VIEWED, person.who, case_id=whole.case.id, reason="api: the application and its data"
        )
        return m.to_application(whole, await self._site.applications.look(whole))

    async def type_application(self, request: Request) -> m.ApplicationTyped:
        """What a person types."""
        person, _ = await self._callers.caller(request, Role.IDENTITY_ADMIN)
        body = await body_of(request, m.TypeRequest)
        case_id, actor = request.path_params["case"], self._site.actor(request, person)
        try:
            await self._site.applications.type(
                case_id,
                actor,
                sha256=body.sha256,
                revision=body.revision,
                values=body.data.model_dump(exclude_none=True),
            )
        except TypingRefusedError as error:
            say = translator("en")
            if error.why is Refusal.INVALID:
                detail = " ".join(f"{name}: {say(f'typing.{wrong.value}')}" for name, wrong in error.wrong.items())
                raise ApiError("invalid", detail, tuple(error.wrong)) from None
            raise ApiError("refused", say(f"typing.{error.why.value}")) from None
        whole = await self._site.applications.whole(case_id)
        return m.ApplicationTyped(
            case_id=case_id, revision=whole.application.revision, typed_by=whole.application.typed_by
        )
