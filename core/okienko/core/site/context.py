"""Everything that the pages are made over, and the little that all of them ask of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from uuid import UUID

import structlog
from starlette.requests import Request

from okienko.core.actions.activation import Activation
from okienko.core.actions.approvals import Actor, Approvals
from okienko.core.actions.machine import ActionPolicy
from okienko.core.audit.entries import AuditAction
from okienko.core.site.addresses import client_address, limit_key
from okienko.core.site.applications import Applications
from okienko.core.site.documents import Documents
from okienko.core.site.forms import BadRequestError, Form, read_form
from okienko.core.site.limits import RateLimiter, Taken
from okienko.core.site.local import LocalAdmins
from okienko.core.site.people import Person, Role
from okienko.core.site.queue import Queue
from okienko.core.site.records import Recorder
from okienko.core.site.security import has_csrf, is_same_site
from okienko.core.site.sessions import Session, Sessions
from okienko.core.site.settings import SiteSettings
from okienko.core.site.signing_in import Why, is_page
from okienko.schemas import Decision

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from okienko.core.site.oidc import Oidc


class SignInNeededError(Exception):
    """Nobody is signed in."""


class CheckNeededError(Exception):
    """The identity provider is to be asked whether the person still has their roles."""


class ForbiddenError(Exception):
    """The person's roles do not allow it."""


@dataclass
class Site:
    """What the pages and the API work with."""

    settings: SiteSettings
    now: Callable[[], datetime]
    approvals: Approvals
    activation: Activation
    policy: ActionPolicy
    queue: Queue
    documents: Documents
    applications: Applications
    sessions: Sessions
    record: Recorder
    local: LocalAdmins
    decision_sha256: Callable[[Decision], str]
    """How the engine freezes a decision into an action; what is shown must give the same."""
    oidc: Oidc | None
    """The identity provider; None: administrators are local."""
    holder_limit: RateLimiter
    sign_in_limit: RateLimiter

    def origin(self, request: Request) -> str:
        """The address that a request comes from."""
        return client_address(request, self.settings.trusted_proxies)

    async def limit(self, limiter: RateLimiter, request: Request) -> None:
        """Count a request. Raises BadRequestError (429) when its address makes too many."""
        taken = await limiter.take(limit_key(self.origin(request)))
        if taken is Taken.FIRST_REFUSED:
            await self.note(request, AuditAction.LIMITED, "visitor", reason=limiter.allowance.limit.value)
        if taken is not Taken.ALLOWED:
            raise BadRequestError("too_many", 429)

    async def note(
        self, request: Request, action: AuditAction, actor: str, *, case_id: UUID | None = None, reason: str = ""
    ) -> None:
        """Record what a person did."""
        await self.record(action, actor, case_id, reason, self.origin(request))

    async def session(self, request: Request, *roles: Role) -> Session:
        """The session of somebody with one of the roles (any, when none is named). Raises SignInNeededError, ForbiddenError,
        CheckNeededError."""
        session = await self.sessions.find(request)
        if session is None:
            raise SignInNeededError
        if request.method == "GET" and is_page(request.url.path) and self.sessions.is_due(session):
            raise CheckNeededError
        await self.require(request, session.person, *roles)
        request.state.session = session
        return session

    async def require(self, request: Request, person: Person, *roles: Role) -> None:
        """Raise ForbiddenError, and record it, unless the person has one of the roles."""
        if person.roles.isdisjoint(roles or tuple(Role)):
            await self.note(request, AuditAction.DENIED, person.who, reason=f"{request.method} {_route(request)}")
            raise ForbiddenError

    @property
    def approval_sign_in(self) -> timedelta:
        """How old a sign-in may be to approve by it."""
        return timedelta(minutes=self.settings.approval_sign_in_minutes)

    def is_fresh(self, person: Person, *, spare: timedelta = timedelta()) -> bool:
        """Whether the person proved lately enough who they are for what cannot be taken back."""
        proved = person.authenticated_at
        return proved is not None and self.now() - proved <= self.approval_sign_in + spare

    def sign_in_again(self, person: Person, path: str) -> str | None:
        """Where to prove it again and come back to `path`; None when there is no need."""
        if self.is_fresh(person):
            return None
        way = f"/sign-in/oidc?why={Why.AGAIN}" if self.oidc is not None else "/sign-in?again=1"
        return f"{way}&{urlencode({'next': path})}"

    async def form(self, request: Request, session: Session) -> Form:
        """The form that a signed-in person sent from one of our pages. Raises BadRequestError."""
        form = await read_form(request)
        if not is_same_site(request, self.settings.public_url) or not has_csrf(form.one("csrf"), session.token):
            raise BadRequestError("csrf", 403)
        return form

    async def open_form(self, request: Request) -> Form:
        """A form of somebody who is not signed in. Raises BadRequestError."""
        form = await read_form(request)
        if not is_same_site(request, self.settings.public_url):
            raise BadRequestError("csrf", 403)
        return form

    async def token_form(self, request: Request) -> Form:
        """A form on a page whose address holds a secret: knowing that is what a stranger's site cannot. Raises BadRequestError.

        Such pages send no referrer, and without one a browser says `Origin: null`; so only Sec-Fetch-Site is looked at.
        """
        form = await read_form(request)
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise BadRequestError("csrf", 403)
        return form

    def actor(self, request: Request, person: Person) -> Actor:
        """The person as the engine knows them."""
        return Actor(person.who, person.emails, self.origin(request))


def _route(request: Request) -> str:
    """The route's pattern, without what stands in its braces."""
    route = request.scope.get("route")
    return getattr(route, "path", "?")


_FLASHES = ("approved", "refused", "done", "removed", "welcome", "typed")


def flash(session: Session, what: str, about: str) -> str:
    """A mark for the address of the next page, so that it says what was done; nobody else can make it."""
    return f"{what}.{_mark(session, what, about)}"


def read_flash(request: Request, session: Session, about: str) -> str | None:
    """What was done, when the mark is the session's own."""
    what, _, mark = request.query_params.get("m", "").partition(".")
    right = hmac.compare_digest(mark.encode("utf-8", "replace"), _mark(session, what, about).encode())
    return what if what in _FLASHES and right else None


def _mark(session: Session, what: str, about: str) -> str:
    text = f"okienko flash\0{what}\0{about}"
    return hmac.new(session.token.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]
