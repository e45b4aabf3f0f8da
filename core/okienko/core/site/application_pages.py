"""Applications that could not be read: the list, and one of them beside its picture, where a person types what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from okienko.core.applications import FIELDS
from okienko.core.audit.entries import AuditAction
from okienko.core.site.actionview import Problem
from okienko.core.site.applications import Pile, Whole
from okienko.core.site.context import Site, flash, read_flash
from okienko.core.site.documents import as_download
from okienko.core.site.forms import BadRequestError
from okienko.core.site.people import Role
from okienko.core.site.queue import BadCursorError
from okienko.core.site.render import page
from okienko.core.site.sessions import Session
from okienko.core.typing_in import Refusal, TypingRefusedError
from okienko.plugins.errors import PermanentError

PAGE = 25


def application_routes(site: Site) -> list[Route]:
    """The routes of this file."""
    pages = _Applications(site)
    return [
        Route("/applications", pages.pile, methods=["GET"]),
        Route("/applications/{case:uuid}", pages.one, methods=["GET"]),
        Route("/applications/{case:uuid}", pages.type, methods=["POST"]),
        Route("/applications/{case:uuid}/pictures/{part:int}/{page:int}", pages.picture, methods=["GET"]),
        Route("/applications/{case:uuid}/document", pages.document, methods=["GET"]),
    ]


def problems_of(error: TypingRefusedError) -> tuple[Problem, ...]:
    """Why nothing was typed, in words that people understand."""
    if error.why is Refusal.INVALID:
        return tuple(Problem(f"typing.{wrong.value}", {}, name) for name, wrong in error.wrong.items())
    return (Problem(f"typing.{error.why.value}", {}),)


class _Applications:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def pile(self, request: Request) -> Response:
        """The list."""
        session = await self._site.session(request)
        try:
            pile = Pile(request.query_params.get("state", Pile.UNREAD))
            found = await self._site.applications.page(pile, limit=PAGE, cursor=request.query_params.get("cursor"))
        except (BadCursorError, ValueError):
            raise BadRequestError("bad_cursor") from None
        await self._site.note(request, AuditAction.LISTED, session.person.who, reason=f"applications {pile.value}")
        counts = {pile.value: n for pile, n in (await self._site.applications.counts()).items()}
        return page(
            request, self._site, "applications.html", pile=pile.value, counts=counts, lines=found.lines, next_cursor=found.next
        )  # fmt: skip

    async def one(self, request: Request) -> Response:
        """One application."""
        session = await self._site.session(request)
        whole = await self._site.applications.whole(request.path_params["case"])
        return await self._show(request, session, whole, done=read_flash(request, session, str(whole.case.id)))

    async def _show(
        self, request: Request, session: Session, whole: Whole, *, found: tuple[Problem, ...] = (), status: int = 200,
        done: str | None = None, written: Mapping[str, str] | None = None,
    ) -> Response:  # fmt: skip
        await self._site.note(
            request,
            AuditAction.VIEWED,
            session.person.who,
            case_id=whole.case.id,
            reason="the application and its data",
        )
        look = await self._site.applications.look(whole)
        values: dict[str, Any] = {
            "whole": whole, "look": look, "fields": FIELDS, "done": done, "found": list(found),
            "may_type": Role.IDENTITY_ADMIN in session.person.roles and whole.closed_for is None,
            "written": {name: getattr(whole.typed, name) or "" for name in FIELDS} | dict(written or {}),
            "path": f"/applications/{whole.case.id}",
        }  # fmt: skip
        return page(request, self._site, "application.html", status=status, **values)

    async def type(self, request: Request) -> Response:
        """What a person typed."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        form = await self._site.form(request, session)
        case_id = request.path_params["case"]
        revision = form.one("revision")
        if not (revision.isascii() and revision.isdigit() and len(revision) < 10):
            raise BadRequestError("bad_form")
        values = {name: form.one(name) for name in FIELDS}
        actor = self._site.actor(request, session.person)
        try:
            await self._site.applications.type(
                case_id, actor, sha256=form.one("sha256"), revision=int(revision), values=values
            )
        except TypingRefusedError as error:
            whole = await self._site.applications.whole(case_id)
            if error.why is Refusal.INVALID:
                return await self._show(
                    request, session, whole, found=problems_of(error), status=422, written=values
                )  # fmt: skip
            # What a colleague has typed meanwhile is shown, not what would be written over it.
            return await self._show(request, session, whole, found=problems_of(error), status=409)
        return RedirectResponse(
            f"/applications/{case_id}?{urlencode({'m': flash(session, 'typed', str(case_id))})}", 303
        )

    async def picture(self, request: Request) -> Response:
        """One page of the document, as a picture."""
        session = await self._site.session(request)
        whole = await self._site.applications.whole(request.path_params["case"])
        part, number = request.path_params["part"], request.path_params["page"]
        await self._site.note(
            request, AuditAction.VIEWED, session.person.who, case_id=whole.case.id,
            reason=f"picture {part + 1}.{number + 1} of the application",
        )  # fmt: skip
        png = await self._site.applications.picture(whole, part, number)
        return Response(png, media_type="image/png", headers={"content-security-policy": "default-src 'none'; sandbox"})

    async def document(self, request: Request) -> Response:
        """The document as it came, always as a download."""
        session = await self._site.session(request)
        whole = await self._site.applications.whole(request.path_params["case"])
        if not whole.application.sha256:
            raise PermanentError("the document was erased")
        await self._site.note(
            request, AuditAction.DOWNLOADED, session.person.who, case_id=whole.case.id, reason="the application"
        )
        return as_download(await self._site.applications.document(whole))
