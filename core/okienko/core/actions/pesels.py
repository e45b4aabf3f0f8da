"""The report on a PESEL conflict (rule S2): which accounts carry the number, whose they are, and what may be done.

The number itself is kept nowhere: the report has its mask, for people, and its mark, by which the execution recognises it on
the account. The report is frozen with its action, so that an approval is for exactly what was read.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum
from uuid import UUID

from okienko.plugins.identity import Account, AccountFlag, same_login
from okienko.plugins.procedure.services import is_holder
from okienko.plugins.signatures import Signatory
from okienko.schemas.base import Model
from okienko.schemas.pesel import Pesel


class PeselMarks:
    """Marks of personal numbers under a key that is not in the database: HMAC-SHA-256 over the action's id and the digits.

    There are few enough numbers to try them all, so that a plain hash would be the number; and with the action's id in it,
    nobody sees that two actions are about one number. `older` are keys of before a rotation.
    """

    def __init__(self, key: bytes, older: Iterable[bytes] = ()) -> None:
        self._keys = (key, *older)
        if min(map(len, self._keys)) < 32:
            raise ValueError("the key of marks needs at least 32 octets")

    def mark(self, action_id: UUID, pesel: Pesel) -> str:
        """The number's mark in that action, hex."""
        return _mark(self._keys[0], action_id, pesel)

    def is_marked(self, mark: str, action_id: UUID, pesel: Pesel) -> bool:
        """Whether the mark is that number's."""
        return any(hmac.compare_digest(mark, _mark(key, action_id, pesel)) for key in self._keys)


def _mark(key: bytes, action_id: UUID, pesel: Pesel) -> str:
    text = b"okienko pesel\0" + action_id.bytes + pesel.reveal().encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()


class Suggestion(StrEnum):
    """What the administrators are advised to do with one account."""

    RELEASE_FROM = "release_from"
    """Take the number off it, so that the person can create an account."""
    MERGE_INTO = "merge_into"
    """It is the person's own and the one to keep: the others go into it, and no new one is needed."""


class ReportedAccount(Model):
    """One account that carries the number, as it was when it was looked up."""

    ref: str
    login: str
    flags: tuple[AccountFlag, ...] = ()
    unknown_flags: tuple[AccountFlag, ...] = ()
    """Flags that the backend cannot tell."""
    holder_agrees: bool
    """The holder's name is exactly the signatory's."""
    suggestion: Suggestion


class ShownReport(Model):
    """What people see of a report."""

    pesel: str
    """The mask."""
    accounts: tuple[ReportedAccount, ...]


class PeselReport(ShownReport):
    """Everything about one number at one moment."""

    mark: str
    """See PeselMarks."""

    @property
    def releasable(self) -> ReportedAccount | None:
        """The account that okienko itself may take the number off: usable, and the only one that carries it.

        With several the number is still in the system after a release: people sort that out.
        """
        if len(self.accounts) != 1:
            return None
        (one,) = self.accounts
        return one if one.suggestion is Suggestion.RELEASE_FROM and AccountFlag.DISABLED not in one.flags else None

    def text(self) -> str:
        """As it is frozen and stored."""
        return self.model_dump_json()


def make_report(
    pesel: Pesel, mark: str, signatory: Signatory, carriers: Iterable[Account], sender: str | None
) -> PeselReport:
    """The report. `sender` is the proved address of who asks: an account with that login is theirs already."""
    found = sorted(carriers, key=lambda account: (account.login.lower(), account.ref))
    accounts = []
    for account in found:
        agrees = is_holder(signatory, account)
        kept = agrees and (len(found) > 1 or (sender is not None and same_login(account.login, sender)))
        accounts.append(
            ReportedAccount(
                ref=account.ref,
                login=account.login,
                flags=tuple(sorted(account.flags)),
                unknown_flags=tuple(sorted(account.unknown_flags)),
                holder_agrees=agrees,
                suggestion=Suggestion.MERGE_INTO if kept else Suggestion.RELEASE_FROM,
            )
        )  # fmt: skip
    return PeselReport(pesel=pesel.masked, mark=mark, accounts=tuple(accounts))


def read_report(text: str | None) -> PeselReport | None:
    """The stored report; None when there is none. Raises ValueError for what is no report."""
    return PeselReport.model_validate_json(text) if text else None


def shown_report(text: str | None) -> ShownReport | None:
    """The stored report without its mark. Raises as `read_report` does."""
    report = read_report(text)
    return ShownReport(pesel=report.pesel, accounts=report.accounts) if report else None
