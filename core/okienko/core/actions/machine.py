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

from okienko.core.actions import people
from okienko.core.actions.frozen import Frozen
from okienko.core.actions.seals import Trust
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState as S


class ActionRefusedError(PermanentError):
    """The move is not allowed; nothing was changed. `key` names the reasons that the pages have words of their own for."""

    def __init__(self, text: str, *, key: str = "other") -> None:
        super().__init__(text)
        self.key = key


class ForgedApprovalError(PermanentError):
    """A stored approval was not given: its seal is missing or wrong."""


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
    names: frozenset[str] = frozenset()
    """Every name of the person; see okienko.core.actions.people."""
    decision: str = ""
    """SHA-256 of the decision that was shown."""
    checked: tuple[str, ...] = ()
    """Rules that this person says they checked."""
    trust: Trust = Trust.GENUINE
    """What the seal says, for one that was read from the database. Only a genuine one counts."""

    @property
    def person(self) -> tuple[str, frozenset[str]]:
        """Who it was, with all their names."""
        return self.who, self.names | {self.who}


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
    trust: Trust = Trust.GENUINE
    """What the seal of the proposal says, for one that was read from the database."""

    @property
    def counting(self) -> tuple[Approval, ...]:
        """The approvals that are genuine, for exactly this action, by people who may."""
        digest = self.frozen.digest
        return tuple(
            a
            for a in self.approvals
            if a.trust is Trust.GENUINE and hmac.compare_digest(a.digest, digest) and not self.barred(*a.person)
        )

    @property
    def agreed_by(self) -> frozenset[str]:
        """Different people whose approval counts, each by one of their names."""
        return frozenset(people.distinct([a.person for a in self.counting]))

    def approved_as(self, who: str, also_known_as: Iterable[str] = ()) -> bool:
        """Whether the person's approval is there already, under whatever identity they gave it."""
        names = frozenset({who, *also_known_as})
        return any(not people.different((who, names), a.person) for a in self.counting)

    def cooled_at(self, policy: ActionPolicy) -> datetime | None:
        """When the cool-down is over; None before enough people approved. An earlier time in the database is nobody's word."""
        if self.not_before is None or not self.frozen.changes_login or not self.counting:
            return self.not_before
        return max(self.not_before, max(a.at for a in self.counting) + policy.cool_down)

    @property
    def is_open(self) -> bool:
        """Whether it still waits for people or for the time."""
        return self.state in _OPEN

    def barred(self, who: str, also_known_as: Iterable[str] = ()) -> bool:
        """Whether the person may not approve: they handled the case, or it is about their own account."""
        return people.overlap({who, *also_known_as}, self.handlers | self.subject_names)


_OPEN = frozenset({S.WAITING, S.COOLING, S.READY})


def approve(
    action: Action, policy: ActionPolicy, *, who: str, also_known_as: Iterable[str], digest: str, decision: str,
    now: datetime, checked: Iterable[str] = (),
) -> Action:  # fmt: skip
    """Add an approval of what was shown (`digest`, and `decision` by its SHA-256); the last one needed starts the cool-down, or
    makes the action ready at once. `also_known_as` are all names of the person; see People."""
    _must_be(action, S.WAITING)
    _not_expired(action, now)
    must_be_trusted(action)
    names = frozenset({who, *also_known_as})
    if action.barred(who, names):
        raise ActionRefusedError(
            "you handled this case or it is about your own account: somebody else has to approve it", key="barred"
        )
    if not hmac.compare_digest(digest, action.frozen.digest) or not hmac.compare_digest(
        decision, action.frozen.decision_sha256
    ):
        raise ActionRefusedError(
            "the action is not the one that you were shown: read it again, then decide", key="digest"
        )
    needed = policy.approvals[action.risk]
    if needed > 1 and people.cannot_be_told(who, names):
        raise ActionRefusedError(
            f"it needs {needed} different people, and nothing says which person {who} is: name their e-mail address in OKIENKO_PEOPLE, "
            "or approve it on the pages"
        )
    if action.approved_as(who, names):
        raise ActionRefusedError(
            "you approved it already, or nothing tells you and who did apart: a different person has to be the next one",
            key="already",
        )
    approval = Approval(who, now, digest, names, decision, tuple(checked))
    agreed = replace(action, approvals=(*action.approvals, approval))
    if len(agreed.agreed_by) < needed:
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


def ripen(action: Action, policy: ActionPolicy, *, now: datetime) -> Action:
    """End the cool-down when its time is over; otherwise the action is given back as it is."""
    over = action.cooled_at(policy)
    if action.state is S.COOLING and over is not None and now >= over:
        return replace(action, state=S.READY)
    return action


def begin(action: Action, policy: ActionPolicy, *, now: datetime) -> Action:
    """The execution begins. An action that is executing already goes on: every step of it is idempotent.

    Raises ActionRefusedError for what may not be carried out now, ForgedApprovalError for what somebody put there.
    """
    if action.state is not S.EXECUTING:
        if action.state is not S.COOLING:
            _must_be(action, S.READY)
        _not_expired(action, now)
    over = action.cooled_at(policy)
    if action.state is S.COOLING or over is None or now < over:
        raise ActionRefusedError(
            "the cool-down is not over yet: the holder of the account may stop the change"
            + (f" until {over:%Y-%m-%d %H:%M} UTC" if over else "")
        )
    must_be_agreed(action, policy)
    return replace(action, state=S.EXECUTING)


def must_be_agreed(action: Action, policy: ActionPolicy) -> None:
    """Raise ForgedApprovalError or ActionRefusedError unless enough different people approved exactly this action."""
    must_be_trusted(action)
    if len(action.agreed_by) < policy.approvals[action.risk]:
        raise ActionRefusedError("not enough different people approved exactly this action")


def must_be_trusted(action: Action) -> None:
    """Raise ForgedApprovalError for an action with an approval that nobody gave, ActionRefusedError for one that is not sealed."""
    if forged := [a.who for a in action.approvals if a.trust is not Trust.GENUINE]:
        raise ForgedApprovalError(
            f"the reset action {action.frozen.action_id} has approvals whose seal is missing or wrong, by: {', '.join(forged)}. They "
            "were written by somebody without okienko's keyring, or under a key that it lacks; nothing is carried out. Run `okienko "
            "audit verify`, find out who did it, then refuse the action: the person asks again"
        )
    if action.trust is not Trust.GENUINE:
        raise ActionRefusedError(
            "the action is not sealed: an older okienko proposed it, or somebody put it into the database. Refuse it; the person asks again"
        )


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
