"""Signing in and out, and setting a local administrator up by an invitation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from okienko.core.audit.entries import AuditAction
from okienko.core.site.actionview import Problem, plain_name
from okienko.core.site.context import Site, flash, log
from okienko.core.site.local import EMAIL, NAME, InvitationSpentError, NameTakenError
from okienko.core.site.passwords import weakness
from okienko.core.site.people import Person
from okienko.core.site.render import message, page
from okienko.core.site.signing_in import CALLBACK, HOME, LIFETIME, TokenRefusedError, Why, local_path
from okienko.plugins.errors import OkienkoError

if TYPE_CHECKING:
    from okienko.core.site.oidc import SignedIn

_ON_THE_WAY = timedelta(minutes=1)
"""What a sign-in may age between the provider's look at it and ours."""


def sign_in_routes(site: Site) -> list[Route]:
    """The routes of this file."""
    pages = _SignIn(site)
    routes = [
        Route("/sign-in", pages.form, methods=["GET"]),
        Route("/sign-out", pages.leave, methods=["POST"]),
        Route("/signed-out", pages.left, methods=["GET"]),
    ]
    if site.oidc is not None:
        return [
            *routes,
            Route("/sign-in/oidc", pages.to_provider, methods=["GET"]),
            Route(CALLBACK, pages.from_provider, methods=["GET"]),
        ]
    return [
        *routes,
        Route("/sign-in", pages.local, methods=["POST"]),
        Route("/invitation/{token}", pages.invitation, methods=["GET"]),
        Route("/invitation/{token}", pages.set_up, methods=["POST"]),
    ]


class _SignIn:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._cookie = "__Host-okienko-signin" if site.settings.https else "okienko-signin"

    async def form(self, request: Request) -> Response:
        wanted = local_path(request.query_params.get("next", ""))
        if "again" not in request.query_params and await self._site.sessions.find(request) is not None:
            return RedirectResponse(wanted, 303)
        return self._form(request, next=wanted)

    def _form(
        self, request: Request, *, status: int = 200, problem: str | None = None, name: str = "", next: str = HOME  # noqa: A002  the field's name
    ) -> Response:  # fmt: skip
        found = [Problem(problem, {})] if problem else []
        return page(
            request, self._site, "sign_in.html", status=status, found=found, name=name, next=next, path="/sign-in"
        )

    async def local(self, request: Request) -> Response:
        """A local administrator with a password."""
        form = await self._site.open_form(request)
        await self._site.limit(self._site.sign_in_limit, request)
        name, wanted = form.one("name").strip(), local_path(form.one("next"))
        person = await self._site.local.sign_in(name, SecretStr(form.one("password")))
        if person is None:
            # What was typed as the name may be a password by mistake: it is not recorded unless it has a name's form.
            tried = f"local:{name.lower()}" if NAME.fullmatch(name.lower()) else "local:?"
            await self._site.note(
                request, AuditAction.SIGN_IN_FAILED, tried, reason="wrong name or password, or locked"
            )
            return self._form(request, status=401, problem="sign_in.wrong", name=name[:64], next=wanted)
        return await self._welcome(request, self._just_now(person), wanted)

    def _just_now(self, person: Person) -> Person:
        return replace(person, authenticated_at=self._site.now())

    async def _welcome(
        self, request: Request, person: Person, path: str, done: str | None = None, *, id_token: str | None = None
    ) -> Response:
        """A new session, never one that was there before."""
        before = await self._site.sessions.find(request)
        if before is not None:
            await self._site.sessions.end(before)
        await self._site.note(request, AuditAction.SIGNED_IN, person.who, reason=" ".join(sorted(person.roles)))
        session = await self._site.sessions.open(person, id_token=id_token)
        query = "?" + urlencode({"m": flash(session, done, path)}) if done else ""
        response = RedirectResponse(path + query, 303)
        self._site.sessions.give(response, session)
        return response

    async def leave(self, request: Request) -> Response:
        """Sign out here, and at the provider."""
        session = await self._site.session(request)
        await self._site.form(request, session)
        id_token = await self._site.sessions.end(session)
        await self._site.note(request, AuditAction.SIGNED_OUT, session.person.who)
        response = RedirectResponse(await self._after_sign_out(id_token), 303)
        self._site.sessions.take(response)
        return response

    async def _after_sign_out(self, id_token: str | None) -> str:
        if self._site.oidc is None:
            return "/signed-out"
        try:
            url = await self._site.oidc.sign_out_url(id_token)
        except OkienkoError as error:
            log.warning("sign-out at the identity provider is not possible", action="sign_out", problem=str(error))
            url = None
        # The browser follows a form's answer only to the origins that the content security policy names.
        return url if url is not None and url.startswith(self._site.oidc.origin + "/") else "/signed-out"

    async def left(self, request: Request) -> Response:
        links = [("/sign-in", "sign_in.again")]
        return message(request, self._site, "sign_in.out_title", "sign_in.out_text", links=links)

    async def to_provider(self, request: Request) -> Response:
        """Off to the identity provider."""
        assert self._site.oidc is not None  # noqa: S101  the route exists only with a provider
        await self._site.limit(self._site.sign_in_limit, request)
        asked = request.query_params.get("why", "")
        why = Why(asked) if asked in set(Why) else Why.SIGN_IN
        try:
            url, secret = await self._site.oidc.begin(
                max_age=self._site.approval_sign_in if why is Why.AGAIN else None, silent=why is Why.CHECK
            )
        except OkienkoError as error:
            return self._provider_failed(request, error)
        response = RedirectResponse(url, 303)
        response.set_cookie(
            self._cookie, f"{secret}~{local_path(request.query_params.get('next', ''))}~{why}", path="/", httponly=True,
            secure=self._site.settings.https, samesite="lax", max_age=int(LIFETIME.total_seconds()),
        )  # fmt: skip
        return response

    async def from_provider(self, request: Request) -> Response:
        """Back from the identity provider, with a code."""
        assert self._site.oidc is not None  # noqa: S101  as above
        await self._site.limit(self._site.sign_in_limit, request)
        from okienko.core.site.oidc import NotSilentlyError

        secret, wanted, why = (request.cookies.get(self._cookie, "") + "~~").split("~")[:3]
        try:
            signed = await self._site.oidc.finish(dict(request.query_params), secret)
        except TokenRefusedError as error:
            if why == Why.CHECK and isinstance(error, NotSilentlyError):
                response = await self._over(request, str(error), local_path(wanted))
            else:
                await self._site.note(request, AuditAction.SIGN_IN_FAILED, "oidc:?", reason=str(error))
                response = self._form(request, status=401, problem="sign_in.oidc_failed")
        except OkienkoError as error:
            response = self._provider_failed(request, error)
        else:
            response = await self._came_back(request, signed, why, local_path(wanted))
        response.delete_cookie(self._cookie, path="/", httponly=True, secure=self._site.settings.https, samesite="lax")
        return response

    async def _came_back(self, request: Request, signed: SignedIn, why: str, path: str) -> Response:
        """Somebody of whom the provider told us who they are and what they may do now."""
        person = signed.person
        if not person.roles:
            await self._site.sessions.end_all_of(person.who)
            await self._site.note(request, AuditAction.SIGN_IN_FAILED, person.who, reason="no role")
            return self._form(request, status=403, problem="sign_in.no_role")
        if why == Why.AGAIN and not self._site.is_fresh(person, spare=_ON_THE_WAY):
            log.error(
                "the identity provider did not let the person sign in again", action="sign_in",
                problem="its ID token has no auth_time, or an old one, though max_age asked for it: see docs/administrators.md",
            )  # fmt: skip
            await self._site.note(request, AuditAction.SIGN_IN_FAILED, person.who, reason="auth_time: not lately")
            return self._form(request, status=401, problem="sign_in.not_again", next=path)
        session = await self._site.sessions.find(request)
        if why == Why.CHECK and session is not None and session.person.who == person.who:
            if session.person.roles != person.roles:
                roles = " ".join(sorted(person.roles))
                await self._site.note(request, AuditAction.SIGNED_IN, person.who, reason=f"roles changed: {roles}")
            await self._site.sessions.renew(session, person, id_token=signed.id_token)
            return RedirectResponse(path, 303)
        return await self._welcome(request, person, path, id_token=signed.id_token)

    async def _over(self, request: Request, reason: str, path: str) -> Response:
        """The person is not signed in at the provider any more, so they are not here either."""
        session = await self._site.sessions.find(request)
        response = RedirectResponse(f"/sign-in?{urlencode({'next': path})}", 303)
        if session is not None:
            await self._site.sessions.end(session)
            await self._site.note(request, AuditAction.SIGNED_OUT, session.person.who, reason=reason)
            self._site.sessions.take(response)
        return response

    def _provider_failed(self, request: Request, error: OkienkoError) -> Response:
        log.error("the identity provider cannot be used", action="sign_in", problem=str(error))
        return self._form(request, status=503, problem="sign_in.oidc_away")

    async def invitation(self, request: Request) -> Response:
        """The form to set an administrator up."""
        await self._site.limit(self._site.sign_in_limit, request)
        try:
            return await self._set_up_form(request)
        except InvitationSpentError:
            return self._spent(request)

    async def _set_up_form(
        self, request: Request, found: tuple[Problem, ...] = (), *, name: str = "", email: str = ""
    ) -> Response:
        roles = await self._site.local.invited_roles(request.path_params["token"])
        return page(
            request, self._site, "setup.html", status=422 if found else 200, found=list(found), roles=roles, name=name, email=email
        )  # fmt: skip

    def _spent(self, request: Request) -> Response:
        return message(request, self._site, "setup.spent_title", "setup.spent", status=404, tone="bad")

    async def set_up(self, request: Request) -> Response:
        """Make the administrator, and sign them in."""
        await self._site.limit(self._site.sign_in_limit, request)
        form = await self._token_form(request)
        name, email = form["name"].strip().lower(), form["email"].strip()
        found: list[Problem] = []
        if not NAME.fullmatch(name):
            found.append(Problem("setup.bad_name", {}, "name"))
        if not EMAIL.fullmatch(email):
            found.append(Problem("setup.bad_email", {}, "email"))
        if weak := weakness(form["password"], name):
            found.append(Problem(f"password.{weak}", {}, "password"))
        elif form["password"] != form["again"]:
            found.append(Problem("password.differ", {}, "again"))
        try:
            if found:
                return await self._set_up_form(request, tuple(found), name=name, email=email)
            person = await self._site.local.set_up(
                request.path_params["token"], name=name, email=email, password=SecretStr(form["password"])
            )
        except InvitationSpentError:
            return self._spent(request)
        except NameTakenError:
            taken = (Problem("setup.taken", {}, "name"),)
            return await self._set_up_form(request, taken, name=name, email=email)
        await self._site.note(
            request, AuditAction.ADMIN_ADDED, person.who, reason=f"by invitation: {plain_name(person.who)}"
        )
        return await self._welcome(request, self._just_now(person), HOME, "welcome")

    async def _token_form(self, request: Request) -> dict[str, str]:
        form = await self._site.token_form(request)
        return {name: form.one(name) for name in ("name", "email", "password", "again")}
