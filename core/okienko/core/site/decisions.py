"""Decisions of people, for the pages and the API alike: checked in words that people understand, then made by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from okienko.core.actions.approvals import Actor
from okienko.core.actions.machine import Action, ActionRefusedError, ForgedApprovalError
from okienko.core.site import actionview
from okienko.core.site.actionview import Problem, problem
from okienko.core.site.people import Person
from okienko.core.site.queue import Whole

if TYPE_CHECKING:
    from okienko.core.site.context import Site


class RefusedDecisionError(Exception):
    """The decision was not made; nothing was changed."""

    def __init__(self, *problems: Problem, engine: str = "") -> None:
        super().__init__(engine or ", ".join(p.key for p in problems))
        self.problems = problems


class Decisions:
    """Approve, refuse, done by hand. The engine has the last word, under its lock."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def unchanged(self, whole: Whole) -> bool:
        """Whether the decision that is shown is the one that was frozen into the action."""
        return self._site.decision_sha256(whole.case.decision) == whole.action.frozen.decision_sha256

    async def approve(
        self, whole: Whole, actor: Actor, person: Person, *, digest: str, decision: str, checked: Sequence[str]
    ) -> Action:
        """One person's yes. Raises RefusedDecisionError."""
        action = whole.action
        obstacle = actionview.cannot_approve(action, person, unchanged=self.unchanged(whole), now=self._site.now())
        if obstacle is not None:
            raise RefusedDecisionError(obstacle)
        if not self._site.is_fresh(person):
            minutes = str(self._site.settings.approval_sign_in_minutes)
            raise RefusedDecisionError(problem("sign_in_again", minutes=minutes))
        if digest != action.frozen.digest or decision != action.frozen.decision_sha256:
            raise RefusedDecisionError(problem("digest"))
        # Each once, and only what was asked for: nothing else is written into the file.
        ticked = [rule for rule in action.frozen.must_check if rule in checked]
        if missing := [rule for rule in action.frozen.must_check if rule not in ticked]:
            raise RefusedDecisionError(problem("unchecked", field="checked", rules=", ".join(missing)))
        try:
            return await self._site.approvals.approve(
                action.frozen.action_id, actor, digest=digest, decision=decision, checked=ticked
            )
        except ActionRefusedError as error:
            raise RefusedDecisionError(problem(error.key), engine=str(error)) from None
        except ForgedApprovalError as error:
            raise RefusedDecisionError(problem("forged"), engine=str(error)) from None

    async def refuse(self, whole: Whole, actor: Actor, *, reason: str, solution: str) -> Action:
        """One no. Raises RefusedDecisionError."""
        if obstacle := actionview.cannot_refuse(whole.action, self._site.now()):
            raise RefusedDecisionError(obstacle)
        wrong = [
            actionview.wrong_text(reason, field="refuse-reason", missing="reason"),
            actionview.wrong_text(solution, field="refuse-text", missing="solution"),
        ]
        if found := [p for p in wrong if p is not None]:
            raise RefusedDecisionError(*found)
        try:
            return await self._site.approvals.refuse(
                whole.action.frozen.action_id, actor, reason=reason.strip(), solution=solution.strip()
            )
        except ActionRefusedError as error:
            raise RefusedDecisionError(problem("other"), engine=str(error)) from None

    async def done(self, whole: Whole, actor: Actor, *, solution: str, field: str) -> Action:
        """It was carried out by hand. Raises RefusedDecisionError."""
        if obstacle := actionview.cannot_finish(whole.action, self._site.policy, self._site.now()):
            raise RefusedDecisionError(obstacle)
        if wrong := actionview.wrong_text(solution, field=field, missing="solution"):
            raise RefusedDecisionError(wrong)
        try:
            return await self._site.approvals.done_by_hand(
                whole.action.frozen.action_id, actor, solution=solution.strip()
            )
        except ActionRefusedError as error:
            raise RefusedDecisionError(problem("other"), engine=str(error)) from None
        except ForgedApprovalError as error:
            raise RefusedDecisionError(problem("forged"), engine=str(error)) from None
