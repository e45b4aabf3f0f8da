"""Which number an approved release takes off an account, and that it is gone afterwards."""

from __future__ import annotations

from okienko.core.actions.frozen import Frozen, Step
from okienko.core.actions.pesels import PeselMarks, read_report
from okienko.plugins.identity import Account, StaleError
from okienko.schemas.pesel import Pesel


def number_to_release(account: Account | None, frozen: Frozen, marks: PeselMarks) -> Pesel | None:
    """The number on the account, when it is the approved one; None when the account has none: it was released already.

    Raises StaleError when the account carries another number, which is somebody else's data.
    """
    if account is None or account.person.pesel is None:
        return None
    report = read_report(frozen.report)
    if report is None or not marks.is_marked(report.mark, frozen.action_id, account.person.pesel):
        raise StaleError("the account carries another personal number than the approved one: nothing was changed")
    return account.person.pesel


def must_be_released(account: Account | None, frozen: Frozen) -> None:
    """Raise StaleError when the account still carries a number after its release."""
    if Step.RELEASE_PESEL in frozen.steps and account is not None and account.person.pesel is not None:
        raise StaleError("read back after the change, the account still carries a personal number")
