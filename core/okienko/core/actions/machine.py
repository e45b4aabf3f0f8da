"""The life of a reset action, as pure functions over an immutable record. What is not here does not happen.

    waiting ──approve──► cooling ──time──► ready ──begin──► executing ──► done
       │  (enough          │                 │                  │
       │   people)─────────┼────────────────►│ (no login changes)
       │                   │                 │                  └──► failed
       ├──► refused        └──► stopped ◄────┘
       ├──► expired  (also from cooling and ready)
       └──► superseded  (its application's data were typed; what follows from them is proposed anew)

Every move takes the moment `now` (aware UTC) and gives a new record, or raises ActionRefusedError that says why not.
Sources: procedure.md "What follows"; issue 3, point 5.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from okienko.core.actions.frozen import Frozen
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState as S


class ActionRefusedError(PermanentError):
    """The move is not allowed; nothing was changed."""


class Risk(StrEnum):
    """How much harm a wrong action does; it decides how many people must agree."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class ActionPolicy:
    """What an installation asks for."""

    approvals: dict[Risk, int]
    """Different people who must approve; at least one, and two for high risk."""
    lifetime: timedelta
    """How long an action may wait before it expires."""
    cool_down: timedelta
    """From the last approval to the execution of a change of login, while its holder may stop it."""

    def __post_init__(self) -> None:
        if self.approvals[Risk.LOW] < 1 or self.approvals[Risk.HIGH] < 2:
            raise ValueError("a low risk needs at least one approval, a high risk at least two")


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes to exactly what they saw."""

    who: str
    """The identity provider's lasting name of the person."""
    at: datetime
    digest: str
    """Of what was shown; see Frozen.digest."""


@dataclass(frozen=True, slots=True)
class Action:
    """A reset action with all that its moves depend on."""

    frozen: Frozen
    risk: Risk
    state: S
    created_at: datetime
    expires_at: datetime
    approvals: tuple[Approval, ...] = ()
    handlers: frozenset[str] = frozenset()
    """People who handled the case or typed its data: they never approve it."""
    subject_names: frozenset[str] = frozenset()
    """Names under which the account's holder would sign in: old and new login, lower case."""
    not_before: datetime | None = None
    reason: str | None = None

    @property
    def agreed_by(self) -> frozenset[str]:
        """Different people whose approval is for exactly this action."""
        digest = self.frozen.digest
        return frozenset(
            a.who for a in self.approvals if hmac.compare_digest(a.digest, digest) and not self.barred(a.who)
        )

    @property
    def is_open(self) -> bool:
        """Whether it still waits for people or for the time."""
        return self.state in _OPEN

    def barred(self, who: str, also_known_as: Iterable[str] = ()) -> bool:
        """Whether the person may not approve: they handled the case, or it is about their own account."""
        names = {who.lower(), *(name.lower() for name in also_known_as)}
        return not names.isdisjoint({h.lower() for h in self.handlers} | self.subject_names)


_OPEN = frozenset({S.WAITING, S.COOLING, S.READY})


def approve(
    action: Action, policy: ActionPolicy, *, who: str, also_known_as: Iterable[str], digest: str, now: datetime
) -> Action:
    """Add an approval; the last one needed starts the cool-down, or makes the action ready at once."""
    _must_be(action, S.WAITING)
    _not_expired(action, now)
    if action.barred(who, also_known_as):
        raise ActionRefusedError(
            "you handled this case or it is about your own account: somebody else has to approve it"
        )
    if not hmac.compare_digest(digest, action.frozen.digest):
        raise ActionRefusedError("the action is not the one that you were shown: read it again, then decide")
    if who in action.agreed_by:
        raise ActionRefusedError("you approved it already: a different person has to be the next one")
    agreed = replace(action, approvals=(*action.approvals, Approval(who, now, digest)))
    if len(agreed.agreed_by) < policy.approvals[action.risk]:
        return agreed
    # What was approved at the last moment must not expire while it cools down, or before a person could do it by hand.
    not_before = now + policy.cool_down if action.frozen.changes_login else now
    agreed = replace(agreed, not_before=not_before, expires_at=max(action.expires_at, not_before + policy.lifetime))
    return replace(agreed, state=S.COOLING if not_before > now else S.READY)


def refuse(action: Action, *, reason: str, now: datetime) -> Action:
    """Say no, with a reason, until the execution begins."""
    if action.state not in _OPEN:
        raise _wrong_state(action, "refused")
    _not_expired(action, now)
    return replace(action, state=S.REFUSED, reason=_given(reason))


def stop(action: Action, *, reason: str) -> Action:
    """The holder's stop: works until the execution begins, whatever the clock says. Stopping twice changes nothing."""
    if action.state is S.STOPPED:
        return action
    if action.state not in _OPEN:
        raise _wrong_state(action, "stopped")
    return replace(action, state=S.STOPPED, reason=_given(reason))


def supersede(action: Action, *, reason: str) -> Action:
    """End an action that stands on an older reading of the application, as long as it is not approved."""
    _must_be(action, S.WAITING)
    return replace(action, state=S.SUPERSEDED, reason=_given(reason))


def expire(action: Action, *, now: datetime) -> Action:
    """End an action that waited too long; one that still may go on is given back as it is."""
    if action.state in _OPEN and now >= action.expires_at:
        return replace(action, state=S.EXPIRED, reason="it was not carried out in time")
    return action


def ripen(action: Action, *, now: datetime) -> Action:
    """End the cool-down when its time is over; otherwise the action is given back as it is."""
    if action.state is S.COOLING and action.not_before is not None and now >= action.not_before:
        return replace(action, state=S.READY)
    return action


def begin(action: Action, policy: ActionPolicy, *, now: datetime) -> Action:
    """The execution begins. An action that is executing already goes on: every step of it is idempotent."""
    if action.state is S.EXECUTING:
        return action
    if action.state is not S.COOLING:
        _must_be(action, S.READY)
    _not_expired(action, now)
    if action.state is S.COOLING or action.not_before is None or now < action.not_before:
        raise ActionRefusedError(
            "the cool-down is not over yet: the holder of the account may stop the change"
            + (f" until {action.not_before:%Y-%m-%d %H:%M} UTC" if action.not_before else "")
        )
    if len(action.agreed_by) < policy.approvals[action.risk]:
        raise ActionRefusedError("not enough different people approved exactly this action")
    return replace(action, state=S.EXECUTING)


def finish(action: Action) -> Action:
    """It was carried out and read back."""
    _must_be(action, S.EXECUTING)
    return replace(action, state=S.DONE)


def fail(action: Action, *, reason: str) -> Action:
    """It cannot be carried out as approved: a person has to look."""
    _must_be(action, S.EXECUTING)
    return replace(action, state=S.FAILED, reason=_given(reason))


def _must_be(action: Action, state: S) -> None:
    if action.state is not state:
        raise _wrong_state(action, f"handled as if it were {state.value}")


def _wrong_state(action: Action, wanted: str) -> ActionRefusedError:
    return ActionRefusedError(f"the action is {action.state.value} and cannot be {wanted} any more")


def _not_expired(action: Action, now: datetime) -> None:
    if now >= action.expires_at:
        raise ActionRefusedError("the action has expired: the person has to ask again")


def _given(reason: str) -> str:
    if not reason.strip():
        raise ActionRefusedError("a reason is needed: the person and the auditor will read it")
    return reason.strip()
