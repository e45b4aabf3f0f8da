"""What connectors found out for the second decision on a recovery request, after the first answer had gone."""

from __future__ import annotations

from dataclasses import dataclass

from okienko.plugins.identity import Account
from okienko.plugins.senderproof import SenderVerdict
from okienko.plugins.signatures import Application, SignatureReport


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything beyond the message itself. The default is what is known before the first answer: nothing."""

    looked_up: bool = False
    """An identity backend was asked. False: rules about accounts stay unknown."""
    account: Account | None = None
    """The account whose login the request names (A: the sender; B: the old login)."""
    new_login_taken: bool | None = None
    """B: whether another account has the new login."""
    sender: SenderVerdict | None = None
    """None before the first answer has gone; afterwards always there, however little it proves."""
    signature: SignatureReport | None = None
    """B: of the attached application."""
    application: Application | None = None
    """B: what the application says, read from signed bytes only or typed by a human."""
    typed: tuple[str, ...] = ()
    """B: which of that a human typed beside the document, by the names of Application's fields."""
    carriers: tuple[Account, ...] | None = None
    """`pesel_conflict`: the accounts that carry the signatory's personal number; None when nobody was asked."""
