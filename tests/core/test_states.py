"""The state machine: no path beside the table, in the model and on record."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from okienko.core.states import AFTER_REGISTRATION, MOVES, move
from okienko.plugins.errors import PermanentError
from okienko.schemas import CaseState, DecisionOutcome


class Life(RuleBasedStateMachine):
    """A case that is asked to make any move at any time."""

    @initialize()
    def opened(self) -> None:
        self.state = CaseState.DECIDED
        self.path = [self.state]

    @rule(wanted=st.sampled_from(CaseState))
    def asked(self, wanted: CaseState) -> None:
        if wanted in MOVES[self.state]:
            self.state = move(self.state, wanted)
            self.path.append(self.state)
        else:
            with pytest.raises(PermanentError, match=f"that is {self.state} cannot become {wanted}"):
                move(self.state, wanted)

    @invariant()
    def only_by_the_table(self) -> None:
        path = getattr(self, "path", [CaseState.DECIDED])
        assert all(after in MOVES[before] for before, after in pairwise(path))

    @invariant()
    def never_decided_again_and_reopened_only_from_closed(self) -> None:
        path = getattr(self, "path", [CaseState.DECIDED])
        assert CaseState.DECIDED not in path[1:]
        assert all(path[n - 1] is CaseState.CLOSED for n, state in enumerate(path) if state is CaseState.REOPENED)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)


def test_every_state_has_its_row_and_a_way_to_the_end() -> None:
    assert set(MOVES) == set(CaseState)
    for state in CaseState:
        reach, new = {state}, {state}
        while new:
            new = {after for before in new for after in MOVES[before]} - reach
            reach |= new
        assert CaseState.CLOSED in reach
    assert MOVES[CaseState.CLOSED] == {CaseState.REOPENED}
    assert CaseState.CLOSED in MOVES[CaseState.REOPENED]


@pytest.mark.parametrize("outcome", [None, *DecisionOutcome])
def test_every_decision_has_a_way_on(outcome: DecisionOutcome | None) -> None:
    assert move(CaseState.DECIDED, AFTER_REGISTRATION[outcome]) in CaseState
