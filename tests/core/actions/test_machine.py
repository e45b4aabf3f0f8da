"""Four eyes and the stop button, over all interleavings that hypothesis can think of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from okienko.core.actions import machine
from okienko.core.actions.frozen import Frozen, Step
from okienko.core.actions.machine import Action, ActionPolicy, ActionRefusedError, Approval, ForgedApprovalError, Risk
from okienko.core.actions.people import People
from okienko.core.actions.seals import Trust
from okienko.schemas import ActionState as S

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
POLICY = ActionPolicy({Risk.LOW: 1, Risk.HIGH: 2}, lifetime=timedelta(days=3), cool_down=timedelta(hours=2))
PEOPLE: dict[str, tuple[str, ...]] = {
    # Ada has three identities, and two of them share nothing but what OKIENKO_PEOPLE says.
    "oidc:https://idp.example:17": ("ada@urzad.example",),
    "local:ada": ("ADA@urzad.example",),
    "cli:ada": (),
    "local:bea": ("bea@urzad.example",),
    "oidc:https://idp.example:18": ("bea@Urzad.example",),
    "local:cyd": ("cyd@urzad.example",),
    "cli:root": (),
    # Typed the data of the case, and signs in by another identity to approve it.
    "local:handler": ("typist@urzad.example",),
    "oidc:https://idp.example:19": ("Typist@urzad.example",),
    "local:holder": ("Stary@Poczta.example",),
    "local:kept": ("nowy@poczta.example",),
}
KNOWN = People({"ada@urzad.example": ["cli:ada"]})
WHO_IS = {"17": "ada", "ada": "ada", "18": "bea", "bea": "bea", "cyd": "cyd"}
"""The person behind an identity; the others may never approve."""


def action(risk: Risk = Risk.HIGH, *, new_login: str | None = "nowy@poczta.example") -> Action:
    """An action that waits."""
    frozen = Frozen(
        UUID(int=1), UUID(int=2), "double", "ref-1", "stary@poczta.example", new_login,
        (Step.CHANGE_LOGIN, Step.ACTIVATE), "0" * 64,
    )  # fmt: skip
    return Action(
        frozen, risk, S.WAITING, START, START + POLICY.lifetime,
        handlers=frozenset({"typist@urzad.example"}), subject_names=frozenset({"stary@poczta.example", "nowy@poczta.example"}),
    )  # fmt: skip


def approve(
    a: Action, who: str, now: datetime = START, digest: str | None = None, decision: str | None = None
) -> Action:
    return machine.approve(
        a, POLICY, who=who, also_known_as=KNOWN.names(who, PEOPLE.get(who, ())), digest=digest or a.frozen.digest,
        decision=decision or a.frozen.decision_sha256, now=now,
    )  # fmt: skip


class Interleavings(RuleBasedStateMachine):
    """Approvals, refusals, stops, clocks that jump and restarts, in any order."""

    @initialize(risk=st.sampled_from(Risk), changes=st.booleans())
    def propose(self, risk: Risk, changes: bool) -> None:
        self.action = action(risk, new_login="nowy@poczta.example" if changes else None)
        self.now = START
        self.honest: set[str] = set()
        self.last_approval: datetime | None = None
        self.stopped = self.superseded = self.executed = self.forged = self.meddled = False

    def attempt(self, move) -> bool:
        try:
            self.action = move()
        except ActionRefusedError:
            return False
        return True

    @rule(who=st.sampled_from(sorted(PEOPLE)), stale=st.sampled_from(["", "", "digest", "decision"]))
    def approves(self, who: str, stale: str) -> None:
        wrong = {stale: "f" * 64} if stale else {}
        try:
            moved = self.attempt(lambda: approve(self.action, who, self.now, **wrong))
        except ForgedApprovalError:
            assert self.forged
            return
        if moved:
            assert not stale
            assert not self.forged, "beside a forged approval nobody can add another"
            person = WHO_IS.get(who.rpartition(":")[2])
            if person is None:
                # One who is known by a login of the operating system alone counts only where one is enough.
                assert (who, self.action.risk) == ("cli:root", Risk.LOW)
                person = who
            assert person not in self.honest
            self.honest.add(person)
            self.last_approval = self.now

    @rule(
        who=st.sampled_from(["local:dan", "local:eva"]),
        trust=st.sampled_from([Trust.FORGED, Trust.UNSEALED, Trust.KEY_MISSING]),
    )
    def intruder_writes_an_approval(self, who: str, trust: Trust) -> None:
        """A row in the table, right in all but the seal."""
        a = self.action
        forged = Approval(who, self.now, a.frozen.digest, frozenset({who}), a.frozen.decision_sha256, trust=trust)
        self.action = replace(a, approvals=(*a.approvals, forged))
        self.forged = True

    @rule(state=st.sampled_from([S.WAITING, S.COOLING, S.READY, S.EXECUTING]), early=st.booleans(), late=st.booleans())
    def intruder_writes_the_state(self, state: S, early: bool, late: bool) -> None:
        """Columns that no seal holds, because moves change them. An end that is put back is for the audit to tell: see test_seals."""
        if self.stopped or self.superseded or self.executed:
            return
        self.action = replace(
            self.action, state=state, not_before=START if early else self.action.not_before,
            expires_at=self.action.expires_at + timedelta(days=9 * late),
        )  # fmt: skip
        self.meddled = True

    @rule()
    def stops(self) -> None:
        if self.attempt(lambda: machine.stop(self.action, reason="to nie ja")):
            assert not self.executed
            self.stopped = True

    @rule(reason=st.sampled_from(["", "nie ta osoba"]))
    def refuses(self, reason: str) -> None:
        if self.attempt(lambda: machine.refuse(self.action, reason=reason, now=self.now)):
            assert reason

    @rule(minutes=st.integers(-30, 60 * 30))
    def clock_moves(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def ripens(self) -> None:
        self.attempt(lambda: machine.ripen(self.action, POLICY, now=self.now))

    @rule()
    def expires(self) -> None:
        self.attempt(lambda: machine.expire(self.action, now=self.now))

    @rule()
    def begins(self) -> None:
        try:
            moved = self.attempt(lambda: machine.begin(self.action, POLICY, now=self.now))
        except ForgedApprovalError:
            assert self.forged
            return
        if moved:
            assert not self.forged
            assert not self.stopped
            assert len(self.honest) >= POLICY.approvals[self.action.risk]
            if not self.executed and not self.meddled:
                assert self.last_approval is not None
                assert self.now < self.action.expires_at
            if not self.executed and self.action.frozen.changes_login:
                assert self.last_approval is not None
                assert self.now >= self.last_approval + POLICY.cool_down
            self.executed = True

    @rule()
    def is_superseded(self) -> None:
        before = self.action.state
        if self.attempt(lambda: machine.supersede(self.action, reason="the data were typed")):
            assert before is S.WAITING
            self.superseded = True

    @rule()
    def finishes(self) -> None:
        # Only the job that began it finishes it, whatever the row says.
        if self.executed:
            self.attempt(lambda: machine.finish(self.action))

    @rule()
    def fails(self) -> None:
        self.attempt(lambda: machine.fail(self.action, reason="the account changed"))

    @invariant()
    def nothing_runs_after_a_stop(self) -> None:
        if getattr(self, "stopped", False):
            assert self.action.state is S.STOPPED
            assert not self.executed

    @invariant()
    def nothing_runs_on_an_older_reading(self) -> None:
        if getattr(self, "superseded", False):
            assert self.action.state is S.SUPERSEDED
            assert not self.executed


TestInterleavings = Interleavings.TestCase


def test_one_person_is_not_two() -> None:
    a = approve(action(), "ada")
    with pytest.raises(ActionRefusedError, match="already"):
        approve(a, "ada")
    assert a.state is S.WAITING
    assert approve(a, "bea").state is S.COOLING


def test_the_holder_is_known_by_any_of_their_names() -> None:
    with pytest.raises(ActionRefusedError, match="somebody else"):
        machine.approve(
            action(),
            POLICY,
            who="sub-17",
            also_known_as=["Stary@Poczta.example"],
            digest=action().frozen.digest,
            decision="0" * 64,
            now=START,
        )


def test_what_changed_after_the_approvals_is_not_executed() -> None:
    ready = approve(action(Risk.LOW, new_login=None), "ada")
    assert ready.state is S.READY
    other = replace(ready, frozen=replace(ready.frozen, old_login="kto-inny@poczta.example"))
    with pytest.raises(ActionRefusedError, match="exactly this action"):
        machine.begin(other, POLICY, now=START)


def test_a_policy_cannot_do_away_with_four_eyes() -> None:
    with pytest.raises(ValueError, match="at least two"):
        ActionPolicy({Risk.LOW: 1, Risk.HIGH: 1}, timedelta(1), timedelta(1))
