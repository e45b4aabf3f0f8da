"""Local administrators: who there is, inviting the second pair of eyes, removing."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from okienko.core.audit.entries import AuditAction
from okienko.core.site.actionview import Problem
from okienko.core.site.context import Site, flash, read_flash
from okienko.core.site.local import LastAdminError
from okienko.core.site.people import Role
from okienko.core.site.render import page
from okienko.core.site.sessions import Session
from okienko.plugins.errors import PermanentError

PATH = "/administrators"


def admin_routes(site: Site) -> list[Route]:
    """The routes of this file; none where an identity provider looks after people."""
    if site.oidc is not None:
        return []
    pages = _Admins(site)
    return [
        Route(PATH, pages.everyone, methods=["GET"]),
        Route(f"{PATH}/invite", pages.invite, methods=["POST"]),
        Route(f"{PATH}/remove", pages.remove, methods=["POST"]),
    ]


class _Admins:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def everyone(self, request: Request) -> Response:
        """The list."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        return await self._show(request, session)

    async def _show(
        self, request: Request, session: Session, *, invitation: str = "", problem: str | None = None
    ) -> Response:
        return page(
            request, self._site, "administrators.html", status=409 if problem else 200, admins=await self._site.local.list(),
            roles=[role.value for role in Role], invitation=invitation, done=read_flash(request, session, PATH),
            found=[Problem(problem, {"minutes": str(self._site.settings.approval_sign_in_minutes)})] if problem else [],
            sign_in_again=self._site.sign_in_again(session.person, PATH), path=PATH,
        )  # fmt: skip

    async def invite(self, request: Request) -> Response:
        """Make a link and show it once."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        form = await self._site.form(request, session)
        if not self._site.is_fresh(session.person):
            return await self._show(request, session, problem="obstacle.sign_in_again")
        wanted = form.one("role")
        role = Role(wanted) if wanted in list(Role) else Role.AUDITOR
        token = await self._site.local.invite([role])
        await self._site.note(request, AuditAction.ADMIN_INVITED, session.person.who, reason=role.value)
        return await self._show(request, session, invitation=f"{self._site.settings.public_url}/invitation/{token}")

    async def remove(self, request: Request) -> Response:
        """Remove somebody else."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        name = (await self._site.form(request, session)).one("name")
        if not self._site.is_fresh(session.person):
            return await self._show(request, session, problem="obstacle.sign_in_again")
        if f"local:{name}" == session.person.who:
            return await self._show(request, session, problem="admins.not_yourself")
        try:
            await self._site.local.remove(name)
        except LastAdminError:
            return await self._show(request, session, problem="admins.last")
        except PermanentError:
            return await self._show(request, session, problem="admins.gone")
        await self._site.note(request, AuditAction.ADMIN_REMOVED, session.person.who, reason=f"local:{name}")
        return RedirectResponse(f"{PATH}?m={flash(session, 'removed', PATH)}", 303)
