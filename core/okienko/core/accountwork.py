"""What each request may lead to at an account: procedures A and B, and the four service requests of rule S2. No I/O.

`unlock` unlocks and does nothing else. `email_change` and `email_change_no_passwords` are procedure B without its subject and
sentence: the same signed application, the same rules, the same two approvals. `pesel_conflict` leads to a report.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID, uuid4

from okienko.core.actions.frozen import Step
from okienko.core.actions.pesels import PeselMarks, PeselReport, ReportedAccount, make_report
from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account, AccountFlag, Operation
from okienko.plugins.senderproof import Proof
from okienko.schemas import CaseKind, Procedure
from okienko.schemas.pesel import Pesel

ACCOUNT_PROCEDURES = frozenset(Procedure) - {Procedure.SELF_SERVICE}
"""Procedures that may end in a reset action."""
ACCOUNT_KINDS = frozenset({CaseKind.RECOVERY, CaseKind.SERVICE_REQUEST})
CHANGES_LOGIN = frozenset(
    {Procedure.EMERGENCY_PASSWORD_AND_EMAIL, Procedure.EMAIL_CHANGE, Procedure.EMAIL_CHANGE_NO_PASSWORDS}
)
SIGNED = CHANGES_LOGIN | {Procedure.PESEL_CONFLICT}
"""Procedures that need a signed application."""


def steps_for(procedure: Procedure | None, account: Account | None, can: Collection[Operation]) -> tuple[Step, ...]:
    """What is to be done at the account, in order; by hand what the backend cannot. Not for `pesel_conflict`."""
    if procedure is Procedure.UNLOCK:
        return (Step.UNLOCK,) if account is not None and Operation.UNLOCK in can else (Step.BY_HAND,)
    if account is None or not {Operation.SEND_ACTIVATION, Operation.SET_PASSWORD} & set(can):
        return (Step.BY_HAND,)
    changes = procedure in CHANGES_LOGIN
    if changes and Operation.CHANGE_LOGIN not in can:
        return (Step.BY_HAND,)
    # The change of login first: done again after a lost answer, what follows finds the account by its new login.
    steps = [Step.CHANGE_LOGIN] if changes else []
    if AccountFlag.LOCKED in account.flags and Operation.UNLOCK in can:
        steps.append(Step.UNLOCK)
    return (*steps, Step.ACTIVATE)


def signed_number(evidence: Evidence) -> Pesel | None:
    """The personal number that a valid signature vouches for; one that is typed anywhere counts for nothing."""
    report = evidence.signature
    return report.signatory.pesel if report is not None and report.valid and report.signatory is not None else None


@dataclass(frozen=True, slots=True)
class Release:
    """What is proposed about a PESEL conflict."""

    action_id: UUID
    report: PeselReport
    account: ReportedAccount
    """The account that the number is taken off, or where a person begins to look."""
    steps: tuple[Step, ...]


def plan_release(evidence: Evidence, can: Collection[Operation], marks: PeselMarks) -> Release | None:
    """The report, and the release where exactly one account carries the number; None when no such account is known."""
    pesel, signature = signed_number(evidence), evidence.signature
    if pesel is None or signature is None or signature.signatory is None or not evidence.carriers:
        return None
    sender = evidence.sender
    proved = sender.address if sender is not None and sender.proof is Proof.PROVED else None
    action_id = uuid4()
    report = make_report(pesel, marks.mark(action_id, pesel), signature.signatory, evidence.carriers, proved)
    target = report.releasable
    steps = (Step.RELEASE_PESEL,) if target is not None and Operation.RELEASE_PESEL in can else (Step.BY_HAND,)
    return Release(action_id, report, target or report.accounts[0], steps)
