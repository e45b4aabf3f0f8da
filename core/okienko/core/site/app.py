"""The site as one ASGI application: routes, error pages, the stylesheet, and the guards round all of it."""

from __future__ import annotations

from importlib import resources
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from okienko.core.actions.store import TamperedError
from okienko.core.site.action_pages import action_routes
from okienko.core.site.admin_pages import admin_routes
from okienko.core.site.api import api_routes
from okienko.core.site.application_pages import application_routes
from okienko.core.site.context import CheckNeededError, ForbiddenError, SignInNeededError, Site, log
from okienko.core.site.forms import BadRequestError
from okienko.core.site.holder_pages import holder_routes
from okienko.core.site.openapi import PREFIX
from okienko.core.site.problems import ApiError, answer, kind_of
from okienko.core.site.render import message
from okienko.core.site.security import HostCheck, SecurityHeaders
from okienko.core.site.signin_pages import sign_in_routes
from okienko.core.site.signing_in import Why, is_page, local_path
from okienko.plugins.errors import OkienkoError, PermanentError

_TITLED = frozenset({400, 403, 404, 405, 409, 413, 415, 429, 500, 503})


def site_routes(site: Site) -> list[BaseRoute]:
    """What the web shell mounts, after its own routes: everything else is the site's."""
    return [Mount("/", app=make_site(site))]


def make_site(site: Site) -> ASGIApp:
    """The application."""
    app = Starlette(
        routes=[
            *action_routes(site), *application_routes(site), *sign_in_routes(site), *admin_routes(site), *holder_routes(site), *api_routes(site),
            _stylesheet(),
        ],
        exception_handlers=_Errors(site).handlers(),
    )  # fmt: skip
    targets = [site.oidc.origin] if site.oidc is not None else []
    guarded = HostCheck(app, hosts=site.settings.hosts)
    return SecurityHeaders(guarded, https=site.settings.https, form_targets=targets)


def _stylesheet() -> Route:
    css = resources.files("okienko.core.site").joinpath("static/site.css").read_bytes()

    async def stylesheet(_: Request) -> Response:
        return Response(css, media_type="text/css", headers={"cache-control": "public, max-age=3600"})

    return Route("/static/site.css", stylesheet, methods=["GET"])


class _Errors:
    """Exceptions as pages, or as problems for the API."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[Any, Any]:
        """For Starlette."""
        return {
            SignInNeededError: self.sign_in, CheckNeededError: self.check, ForbiddenError: self.forbidden, BadRequestError: self.bad_request,
            HTTPException: self.http, OkienkoError: self.ours, Exception: self.unexpected,
        }  # fmt: skip

    def _page(self, request: Request, status: int, text: str) -> Response:
        if request.url.path.startswith(PREFIX + "/"):
            kinds = {500: "unexpected", 503: "away", 409: "tampered"}
            return answer(ApiError(kinds.get(status) or kind_of(status)))
        title = f"error.title_{status if status in _TITLED else 400}"
        links = [("/actions", "common.back_to_queue")] if getattr(request.state, "session", None) else []
        path = request.url.path if request.method == "GET" else "/actions"
        return message(request, self._site, title, f"error.{text}", status=status, tone="bad", links=links, path=path)

    async def sign_in(self, request: Request, _: Exception) -> Response:
        wanted = local_path(request.url.path) if request.method == "GET" else "/actions"
        return RedirectResponse("/sign-in" if wanted == "/actions" else f"/sign-in?next={wanted}", 303)

    async def check(self, request: Request, _: Exception) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        path = request.url.path + query if is_page(request.url.path + query) else request.url.path
        return RedirectResponse(f"/sign-in/oidc?{urlencode({'why': Why.CHECK, 'next': path})}", 303)

    async def forbidden(self, request: Request, _: Exception) -> Response:
        return self._page(request, 403, "forbidden")

    async def bad_request(self, request: Request, error: BadRequestError) -> Response:
        response = self._page(request, error.status, error.key)
        if error.status == 429:
            response.headers["retry-after"] = "60"
        return response

    async def http(self, request: Request, error: HTTPException) -> Response:
        text = {404: "not_found", 405: "method"}.get(error.status_code, "bad_form")
        response = self._page(request, error.status_code, text)
        response.headers.update(error.headers or {})
        return response

    async def ours(self, request: Request, error: OkienkoError) -> Response:
        """The class of the error decides what is said."""
        if isinstance(error, TamperedError):
            log.error("a reset action was tampered with", action="web", problem=str(error))
            return self._page(request, 409, "tampered")
        if isinstance(error, PermanentError):
            return self._page(request, 404, "not_found")
        log.error("a page cannot be shown", action="web", problem=str(error), error=type(error).__name__)
        return self._page(request, 503, "away")

    async def unexpected(self, request: Request, error: Exception) -> Response:
        log.error("a page failed", action="web", exc_info=error)
        return self._page(request, 500, "unexpected")
