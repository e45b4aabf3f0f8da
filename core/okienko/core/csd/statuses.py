"""What a case's state is in the CSD, and what a ticket's state makes of the case. One table each; the ticket's words are the connector's.

| case | ticket, as okienko writes it | ticket open | ticket pending | ticket closed |
| --- | --- | --- | --- | --- |
| registered | open | – | awaiting_requester | closed |
| awaiting_requester | pending | registered | – | closed |
| human_review | open | – | – | closed |
| reopened | open | – | – | closed |
| closed | closed | reopened | reopened | – |

A dash: nothing changes. Of a case that okienko itself still works at (a recovery request that is not decided to its end, or with an
open reset action) a ticket that waits changes nothing either, and one that is closed over an open action is opened again.
"""

from __future__ import annotations

from okienko.schemas import CaseState as S
from okienko.schemas import TicketStatus as T

WRITTEN: dict[S, T] = {
    S.REGISTERED: T.OPEN,
    S.AWAITING_REQUESTER: T.PENDING,
    S.HUMAN_REVIEW: T.OPEN,
    S.REOPENED: T.OPEN,
    S.CLOSED: T.CLOSED,
}
"""How a case's state is written in its ticket."""

BECOMES: dict[S, dict[T, S]] = {
    S.REGISTERED: {T.OPEN: S.REGISTERED, T.PENDING: S.AWAITING_REQUESTER, T.CLOSED: S.CLOSED},
    S.AWAITING_REQUESTER: {T.OPEN: S.REGISTERED, T.PENDING: S.AWAITING_REQUESTER, T.CLOSED: S.CLOSED},
    S.HUMAN_REVIEW: {T.OPEN: S.HUMAN_REVIEW, T.PENDING: S.HUMAN_REVIEW, T.CLOSED: S.CLOSED},
    S.REOPENED: {T.OPEN: S.REOPENED, T.PENDING: S.REOPENED, T.CLOSED: S.CLOSED},
    S.CLOSED: {T.OPEN: S.REOPENED, T.PENDING: S.REOPENED, T.CLOSED: S.CLOSED},
}
"""What a case in that state becomes when its ticket has that status."""


def becomes(state: S, status: T, *, held: bool) -> S:
    """The case's state once the ticket's status counts; `held`: okienko itself is at work on it."""
    target = BECOMES[state][status]
    return state if held and target is S.AWAITING_REQUESTER else target


def stands_for(state: S, status: T, *, held: bool, pending: bool) -> T:
    """The case's status in the ticket's words, for the comparison with `status`.

    A state that `status` would not change stands for it. Without `pending` the CSD has no waiting, and a waiting case is open there.
    """
    written = WRITTEN[state]
    if written is T.PENDING and not pending:
        written = T.OPEN
    if status is T.PENDING and not pending:
        status = T.OPEN
    return status if becomes(state, status, held=held) is state else written
