"""Pages for holders of accounts, who come by a link and do not sign in: set a new password, stop a change of login."""

from __future__ import annotations

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from okienko.core.actions.activation import LinkSpentError, OpenLink
from okienko.core.actions.machine import Action, ActionRefusedError
from okienko.core.site.actionview import Problem
from okienko.core.site.context import Site, log
from okienko.core.site.render import message, page
from okienko.plugins.errors import OkienkoError, TransientError
from okienko.plugins.identity import PasswordRefusedError
from okienko.schemas import ActionState

LONGEST = 200
_OPEN = (ActionState.WAITING, ActionState.COOLING, ActionState.READY)
_LATE = {
    ActionState.EXECUTING: "stop.late_running",
    ActionState.DONE: "stop.late_done",
    ActionState.FAILED: "stop.late_failed",
}


def holder_routes(site: Site) -> list[Route]:
    """The routes of this file."""
    pages = _Holder(site)
    return [
        Route("/activate/{token}", pages.activation, methods=["GET"]),
        Route("/activate/{token}", pages.set_password, methods=["POST"]),
        Route("/stop/{token}", pages.ask_to_stop, methods=["GET"]),
        Route("/stop/{token}", pages.stop, methods=["POST"]),
    ]


class _Holder:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def activation(self, request: Request) -> Response:
        """The form for a new password."""
        await self._site.limit(self._site.holder_limit, request)
        try:
            link = await self._site.activation.look_up(request.path_params["token"])
        except LinkSpentError:
            return self._spent(request)
        return self._form(request, link)

    def _form(self, request: Request, link: OpenLink, problem: Problem | None = None, refusal: str = "") -> Response:
        return page(
            request,
            self._site,
            "activate.html",
            status=422 if problem else 200,
            link=link,
            found=[problem] if problem else [],
            refusal=refusal,
        )

    async def set_password(self, request: Request) -> Response:
        """Pass the new password on."""
        await self._site.limit(self._site.holder_limit, request)
        form = await self._site.token_form(request)
        token, password = request.path_params["token"], form.one("password")
        try:
            link = await self._site.activation.look_up(token)
            if problem := _wrong(password, form.one("again")):
                return self._form(request, link, problem)
            try:
                await self._site.activation.set_password(token, SecretStr(password), origin=self._site.origin(request))
            except PasswordRefusedError as error:
                return self._form(request, link, Problem("password.refused", {}, "password"), str(error))
        except LinkSpentError:
            return self._spent(request)
        except TransientError as error:
            log.warning("password not set now", action="set_password", problem=str(error))
            return self._say(request, "activate.later_title", "activate.later", status=503, tone="bad")
        except OkienkoError as error:
            log.error("password cannot be set", action="set_password", problem=str(error))
            return self._say(request, "activate.wrong_title", "activate.wrong", status=409, tone="bad")
        return self._say(request, "activate.done_title", "activate.done_text", tone="good")

    async def ask_to_stop(self, request: Request) -> Response:
        """The page that asks before it stops: mail programs open links by themselves."""
        await self._site.limit(self._site.holder_limit, request)
        action = await self._site.approvals.find_by_stop_token(request.path_params["token"])
        if action is None:
            return self._spent(request)
        if action.state not in _OPEN:
            return self._over(request, action)
        return page(request, self._site, "stop.html", action=action)

    async def stop(self, request: Request) -> Response:
        """Stop the change."""
        await self._site.limit(self._site.holder_limit, request)
        await self._site.token_form(request)
        token = request.path_params["token"]
        try:
            action = await self._site.approvals.stop(token, origin=self._site.origin(request))
        except ActionRefusedError:
            action = await self._site.approvals.find_by_stop_token(token)
        return self._spent(request) if action is None else self._over(request, action)

    def _over(self, request: Request, action: Action) -> Response:
        if action.state is ActionState.STOPPED:
            return self._say(request, "stop.done_title", "stop.done_text", tone="good")
        if action.state in _LATE:
            return self._say(request, "stop.late_title", _LATE[action.state], status=409, tone="bad")
        return self._say(request, "stop.over_title", "stop.over")

    def _spent(self, request: Request) -> Response:
        """One page for links that are unknown, used or too old."""
        return self._say(request, "spent.title", "spent.text", status=404)

    def _say(self, request: Request, title: str, text: str, *, status: int = 200, tone: str = "") -> Response:
        return message(request, self._site, title, text, status=status, tone=tone)


def _wrong(password: str, again: str) -> Problem | None:
    if not password:
        return Problem("password.empty", {}, "password")
    if len(password) > LONGEST:
        return Problem("password.long", {}, "password")
    return Problem("password.differ", {}, "again") if password != again else None
