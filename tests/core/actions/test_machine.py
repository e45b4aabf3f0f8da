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
from okienko.core.actions.machine import Action, ActionPolicy, ActionRefusedError, Risk
from okienko.schemas import ActionState as S

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
POLICY = ActionPolicy({Risk.LOW: 1, Risk.HIGH: 2}, lifetime=timedelta(days=3), cool_down=timedelta(hours=2))
PEOPLE = ["ada", "bea", "cyd", "handler", "stary@poczta.example"]


def action(risk: Risk = Risk.HIGH, *, new_login: str | None = "nowy@poczta.example") -> Action:
    """An action that waits."""
    frozen = Frozen(
        UUID(int=1), UUID(int=2), "double", "ref-1", "stary@poczta.example", new_login,
        (Step.CHANGE_LOGIN, Step.ACTIVATE), "0" * 64,
    )  # fmt: skip
    return Action(
        frozen, risk, S.WAITING, START, START + POLICY.lifetime,
        handlers=frozenset({"handler"}), subject_names=frozenset({"stary@poczta.example", "nowy@poczta.example"}),
    )  # fmt: skip


def approve(a: Action, who: str, now: datetime = START, digest: str | None = None) -> Action:
    return machine.approve(a, POLICY, who=who, also_known_as=(), digest=digest or a.frozen.digest, now=now)


class Interleavings(RuleBasedStateMachine):
    """Approvals, refusals, stops, clocks that jump and restarts, in any order."""

    @initialize(risk=st.sampled_from(Risk), changes=st.booleans())
    def propose(self, risk: Risk, changes: bool) -> None:
        self.action = action(risk, new_login="nowy@poczta.example" if changes else None)
        self.now = START
        self.honest: set[str] = set()
        self.last_approval: datetime | None = None
        self.stopped = self.executed = False

    def attempt(self, move) -> bool:
        try:
            self.action = move()
        except ActionRefusedError:
            return False
        return True

    @rule(who=st.sampled_from(PEOPLE), stale=st.booleans())
    def approves(self, who: str, stale: bool) -> None:
        digest = "f" * 64 if stale else self.action.frozen.digest
        if self.attempt(lambda: approve(self.action, who, self.now, digest)):
            assert not stale
            assert who not in ("handler", "stary@poczta.example")
            assert who not in self.honest
            self.honest.add(who)
            self.last_approval = self.now

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
        self.attempt(lambda: machine.ripen(self.action, now=self.now))

    @rule()
    def expires(self) -> None:
        self.attempt(lambda: machine.expire(self.action, now=self.now))

    @rule()
    def begins(self) -> None:
        if self.attempt(lambda: machine.begin(self.action, POLICY, now=self.now)):
            if not self.executed:
                assert not self.stopped
                assert len(self.honest) >= POLICY.approvals[self.action.risk]
                assert self.last_approval is not None
                if self.action.frozen.changes_login:
                    assert self.now >= self.last_approval + POLICY.cool_down
                assert self.now < self.action.expires_at
            self.executed = True

    @rule()
    def is_superseded(self) -> None:
        before = self.action.state
        if self.attempt(lambda: machine.supersede(self.action, reason="the data were typed")):
            assert before is S.WAITING
            self.superseded = True

    @rule()
    def finishes(self) -> None:
        if self.attempt(lambda: machine.finish(self.action)):
            assert self.executed

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
