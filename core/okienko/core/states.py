"""The states of a case and the moves between them. What is not in the table does not happen.

decided ──► registered ─────────► closed ◄──► reopened
   │            ▲   ▲               ▲            │
   │            │   ▼               │            │
   ├──► awaiting_requester ─────────┤            │
   │            │   │               │            │
   │            ▼   ▼               │            │
   ├──► human_review ───────────────┘◄───────────┘
   └──► closed   (self-service: the answer was the whole work)

registered and awaiting_requester follow the ticket's waiting; an open case whose ticket vanished goes to human_review.
"""

from __future__ import annotations

from okienko.plugins.errors import PermanentError
from okienko.schemas import CaseState as S
from okienko.schemas import DecisionOutcome

MOVES: dict[S, frozenset[S]] = {
    S.DECIDED: frozenset({S.REGISTERED, S.AWAITING_REQUESTER, S.HUMAN_REVIEW, S.CLOSED}),
    S.REGISTERED: frozenset({S.CLOSED, S.HUMAN_REVIEW, S.AWAITING_REQUESTER}),
    S.AWAITING_REQUESTER: frozenset({S.REGISTERED, S.HUMAN_REVIEW, S.CLOSED}),
    S.HUMAN_REVIEW: frozenset({S.REGISTERED, S.CLOSED}),
    S.CLOSED: frozenset({S.REOPENED}),
    S.REOPENED: frozenset({S.HUMAN_REVIEW, S.CLOSED}),
}
"""From each state, the states it may move to."""

AFTER_REGISTRATION: dict[DecisionOutcome | None, S] = {
    None: S.REGISTERED,
    DecisionOutcome.MET: S.REGISTERED,
    DecisionOutcome.UNMET: S.AWAITING_REQUESTER,
    DecisionOutcome.HUMAN: S.HUMAN_REVIEW,
}
"""Where a case goes once the CSD has a number for it."""


def move(current: S, target: S) -> S:
    """`target`, if the move is allowed. Raises PermanentError that names both states."""
    if target not in MOVES[current]:
        allowed = ", ".join(sorted(MOVES[current]))
        raise PermanentError(f"a case that is {current} cannot become {target}; it can become: {allowed}")
    return target
