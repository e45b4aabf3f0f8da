"""The queue, one action, its documents, and the decisions about it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from okienko.core.actions.frozen import Step
from okienko.core.actions.pesels import shown_report
from okienko.core.audit.entries import AuditAction
from okienko.core.site import actionview
from okienko.core.site.actionview import Problem
from okienko.core.site.context import Site, flash, read_flash
from okienko.core.site.decisions import Decisions, RefusedDecisionError
from okienko.core.site.documents import as_download
from okienko.core.site.forms import BadRequestError
from okienko.core.site.people import Role
from okienko.core.site.queue import STATES, BadCursorError, Tab, Whole
from okienko.core.site.render import page
from okienko.core.site.sessions import Session
from okienko.schemas import ActionState, NotificationKind

PAGE = 25


def action_routes(site: Site) -> list[Route]:
    """The routes of this file."""
    pages = _Actions(site)
    return [
        Route("/", pages.home, methods=["GET"]),
        Route("/actions", pages.queue, methods=["GET"]),
        Route("/actions/{id:uuid}", pages.one, methods=["GET"]),
        Route("/actions/{id:uuid}/approve", pages.approve, methods=["POST"]),
        Route("/actions/{id:uuid}/refuse", pages.refuse, methods=["POST"]),
        Route("/actions/{id:uuid}/done", pages.done, methods=["POST"]),
        Route("/actions/{id:uuid}/documents/{envelope:uuid}/{index:int}", pages.document, methods=["GET"]),
    ]


class _Actions:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._decisions = Decisions(site)
        self._need = {risk.value: n for risk, n in site.policy.approvals.items()}

    async def home(self, _: Request) -> Response:
        """The site begins with the queue."""
        return RedirectResponse("/actions", 303)

    async def queue(self, request: Request) -> Response:
        """One tab of the queue."""
        session = await self._site.session(request)
        try:
            tab = Tab(request.query_params.get("state", Tab.WAITING))
            found = await self._site.queue.page(
                STATES[tab], limit=PAGE, cursor=request.query_params.get("cursor"), newest_first=tab is Tab.ENDED
            )
        except (BadCursorError, ValueError):
            raise BadRequestError("bad_cursor") from None
        await self._site.note(request, AuditAction.LISTED, session.person.who, reason=tab.value)
        counts = {tab.value: n for tab, n in (await self._site.queue.counts()).items()}
        return page(
            request, self._site, "queue.html", tab=tab.value, counts=counts, lines=found.lines, next_cursor=found.next,
            need=self._need, done=read_flash(request, session, "/actions"),
        )  # fmt: skip

    async def one(self, request: Request) -> Response:
        """One action."""
        session = await self._site.session(request)
        whole = await self._site.queue.whole(request.path_params["id"])
        done = read_flash(request, session, str(request.path_params["id"]))
        return await self._show(request, session, whole, done=done)

    async def _show(
        self, request: Request, session: Session, whole: Whole, *, found: tuple[Problem, ...] = (), status: int = 200,
        done: str | None = None, checked: tuple[str, ...] = (), **written: str,
    ) -> Response:  # fmt: skip
        action, now = whole.action, self._site.now()
        await self._site.note(request, AuditAction.VIEWED, session.person.who, case_id=whole.case.id)
        unchanged = self._decisions.unchanged(whole)
        letters = await self._site.documents.letters(whole.envelopes)
        values: dict[str, Any] = {
            "whole": whole, "letters": letters, "unchanged": unchanged, "need": self._need, "checked": checked, "done": done,
            "names": actionview.people(whole), "details": actionview.details, "states": [s.value for s in ActionState],
            "kinds": [k.value for k in NotificationKind],
            "to_check": actionview.rules_to_check(whole), "by_hand": Step.BY_HAND in action.frozen.steps,
            "shown_decision": self._site.decision_sha256(whole.case.decision),
            "report": shown_report(action.frozen.report),
            "tab": next(tab.value for tab, states in STATES.items() if action.state in states),
            "no_approval": actionview.cannot_approve(action, session.person, unchanged=unchanged, now=now),
            "no_refusal": actionview.cannot_refuse(action, now),
            "no_finish": actionview.cannot_finish(action, self._site.policy, now),
            "written": {"reason": "", "solution": "", "done_text": ""} | written,
            "sign_in_again": self._site.sign_in_again(session.person, f"/actions/{action.frozen.action_id}"),
            "found": list(found), "path": f"/actions/{action.frozen.action_id}",
        }  # fmt: skip
        return page(request, self._site, "action.html", status=status, **values)

    async def approve(self, request: Request) -> Response:
        """One yes."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        form = await self._site.form(request, session)
        whole = await self._site.queue.whole(request.path_params["id"])
        checked = tuple(form.all("checked"))
        try:
            await self._decisions.approve(
                whole, self._site.actor(request, session.person), session.person, digest=form.one("digest"),
                decision=form.one("decision"), checked=checked,
            )  # fmt: skip
        except RefusedDecisionError as error:
            return await self._again(request, session, error, checked=checked)
        return self._back(session, whole, "approved")

    async def refuse(self, request: Request) -> Response:
        """One no, which is enough."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        form = await self._site.form(request, session)
        whole = await self._site.queue.whole(request.path_params["id"])
        reason, solution = form.one("reason"), form.one("solution")
        try:
            await self._decisions.refuse(
                whole, self._site.actor(request, session.person), reason=reason, solution=solution
            )
        except RefusedDecisionError as error:
            return await self._again(request, session, error, reason=reason, solution=solution)
        return self._back(session, whole, "refused")

    async def done(self, request: Request) -> Response:
        """It was carried out by hand."""
        session = await self._site.session(request, Role.IDENTITY_ADMIN)
        form = await self._site.form(request, session)
        whole = await self._site.queue.whole(request.path_params["id"])
        solution = form.one("solution")
        try:
            await self._decisions.done(
                whole, self._site.actor(request, session.person), solution=solution, field="done-text"
            )
        except RefusedDecisionError as error:
            return await self._again(request, session, error, done_text=solution)
        return self._back(session, whole, "done")

    def _back(self, session: Session, whole: Whole, what: str) -> Response:
        action_id = str(whole.action.frozen.action_id)
        query = urlencode({"m": flash(session, what, action_id)})
        return RedirectResponse(f"/actions/{action_id}?{query}", 303)

    async def _again(
        self, request: Request, session: Session, error: RefusedDecisionError, *, checked: tuple[str, ...] = (),
        reason: str = "", solution: str = "", done_text: str = "",
    ) -> Response:  # fmt: skip
        """The page as it is now, with what was wrong and what was written."""
        whole = await self._site.queue.whole(request.path_params["id"])
        status = 422 if all(p.field for p in error.problems) else 409
        return await self._show(
            request, session, whole, found=error.problems, status=status, checked=checked, reason=reason, solution=solution,
            done_text=done_text,
        )  # fmt: skip

    async def document(self, request: Request) -> Response:
        """One attachment, always as a download that no browser opens by itself."""
        session = await self._site.session(request)
        action_id: UUID = request.path_params["id"]
        whole = await self._site.queue.whole(action_id)
        if request.path_params["envelope"] not in whole.envelopes:
            raise BadRequestError("not_found", 404)
        index: int = request.path_params["index"]
        await self._site.note(
            request, AuditAction.DOWNLOADED, session.person.who, case_id=whole.case.id,
            reason=f"document {index} of message {request.path_params['envelope']}",
        )  # fmt: skip
        return as_download(await self._site.documents.open(request.path_params["envelope"], index))
