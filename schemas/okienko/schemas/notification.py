"""Messages to the person, and what a channel needs to send one."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from okienko.schemas.base import Model, UtcDatetime
from okienko.schemas.message import Address


class NotificationKind(StrEnum):
    """Which of the procedure's messages it is (rule T5 and the reply to a miss)."""

    RECEIVED = "received"
    """Mail 1 when the CSD cannot give a number yet: okienko's own number. `registered` follows."""
    REGISTERED = "registered"
    UNMET = "unmet"
    CLOSED = "closed"
    SELF_SERVICE = "self_service"
    LOGIN_CHANGE = "login_change"
    """Notice to the old address that its account is about to get another login, with a link to stop it."""
    ACTIVATION = "activation"
    """Mail 3: the link to set a new password."""


class OperatorMail(StrEnum):
    """Messages to the people who run okienko: about no case, and written by no procedure pack."""

    DIGEST = "digest"
    """How the queue of reset actions stands."""


class OutboundMessage(Model):
    """A message ready to go out by a channel."""

    id: UUID
    case_id: UUID | None
    """None for OperatorMail, which is about no case."""
    kind: NotificationKind | OperatorMail
    to: Address
    subject: str
    text: str
    message_id: str
    """Lasting: the same notification has the same Message-ID on every attempt. Without angle brackets."""
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    created_at: UtcDatetime
