"""What is audited: the closed set of actions, an entry to be written, and the entry that stands for a case event."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from okienko.schemas import EventType

_ELEVEN_DIGITS = re.compile(r"(?<!\d)\d{11}(?!\d)")
_LONGEST = 500


class AuditAction(StrEnum):
    """Everything that is audited. Values are part of the chain: they are added, never renamed."""

    LOOKED_UP = "looked_up"
    """An identity backend is about to be asked about an account."""
    DECIDED = "decided"
    """A procedure was held against a case."""
    REGISTERED = "registered"
    """A case was put in the CSD."""
    NOTIFIED = "notified"
    """A message to the person was handed over."""
    NOTIFICATION_FAILED = "notification_failed"
    ACTION_PROPOSED = "action_proposed"
    APPLICATION_TYPED = "application_typed"
    """A person typed what a signed application says, beside its picture."""
    ACTION_APPROVED = "action_approved"
    APPROVAL_FORGED = "approval_forged"
    """A stored approval had no seal, or a wrong one: it did not count."""
    ACTION_EXECUTED = "action_executed"
    ACTION_ENDED = "action_ended"
    """It was refused or stopped, expired, failed, or was done by hand: the entry says which."""
    ACTIVATION_SENT = "activation_sent"
    """The person was sent the link to set a new password."""
    ACTIVATION_USED = "activation_used"
    """The holder of the link set a new password."""
    LIMITED = "limited"
    """A limit on attempts held something back."""
    CLOSE_REQUESTED = "close_requested"
    CLOSED = "closed"
    REOPENED = "reopened"
    REPLAYED = "replayed"
    """Parked work was put back in the queue."""
    DROPPED = "dropped"
    """Parked work was taken off the list."""
    DISCLOSED = "disclosed"
    """Sealed personal data was shown to a person."""
    VIEWED = "viewed"
    """A person saw a case and its reset action."""
    LISTED = "listed"
    """A person saw the queue of reset actions."""
    DOWNLOADED = "downloaded"
    """A person downloaded a document of a case."""
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SIGN_IN_FAILED = "sign_in_failed"
    DENIED = "denied"
    """A signed-in person asked for what their roles do not allow."""
    ADMIN_INVITED = "admin_invited"
    ADMIN_ADDED = "admin_added"
    ADMIN_REMOVED = "admin_removed"
    NOTICE_FORGED = "notice_forged"
    """Somebody posted to the CSD's webhook who could not prove to be the CSD."""
    SERVICE_STARTED = "service_started"
    SCHEMA_UPGRADED = "schema_upgraded"
    KEYS_ROTATED = "keys_rotated"
    ERASED = "erased"
    """A case's keys and personal data were destroyed."""
    VERIFIED = "verified"
    """The chain was checked from end to end by the service itself."""
    ANCHORED = "anchored"
    """The chain's end was written down outside the database."""


ORIGIN: ContextVar[str | None] = ContextVar("okienko_audit_origin", default=None)
"""From where what happens now is asked for. Unset: a service process on this machine."""


def cli_origin() -> str:
    """The person at this machine's command line, by the login of the operating system, whatever name they gave with --by."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "?"
    return f"cli:{user}@{socket.gethostname()}"


_HERE = f"service:{socket.gethostname()}"


def origin() -> str:
    """The origin for an entry written now."""
    return ORIGIN.get() or _HERE


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry that is not written yet: who did what, to what, why, from where.

    Nothing here but `personal` may tell anything about a person other than the actor: it can never be changed again.
    `personal` is what `Vault.seal` made. Free text is cut at 500 characters and freed of anything like a PESEL.
    """

    action: AuditAction
    at: datetime
    actor: str
    case_id: UUID | None = None
    subject: str = ""
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    personal: bytes | None = None
    origin: str = field(default_factory=origin)

    def __post_init__(self) -> None:
        for name in ("actor", "subject", "reason", "origin"):
            text = _ELEVEN_DIGITS.sub("[11 digits]", getattr(self, name).replace("\0", ""))[:_LONGEST]
            object.__setattr__(self, name, text)


_OF_EVENT = {
    EventType.DECIDED: AuditAction.DECIDED,
    EventType.REGISTERED: AuditAction.REGISTERED,
    EventType.NOTIFICATION_SENT: AuditAction.NOTIFIED,
    EventType.NOTIFICATION_FAILED: AuditAction.NOTIFICATION_FAILED,
    EventType.ACTION_PROPOSED: AuditAction.ACTION_PROPOSED,
    EventType.ASSESSED: AuditAction.DECIDED,
    EventType.APPLICATION_TYPED: AuditAction.APPLICATION_TYPED,
    EventType.LIMITED: AuditAction.LIMITED,
    EventType.ACTION_APPROVED: AuditAction.ACTION_APPROVED,
    EventType.ACTION_EXECUTED: AuditAction.ACTION_EXECUTED,
    EventType.ACTION_ENDED: AuditAction.ACTION_ENDED,
    EventType.ACTIVATION_SENT: AuditAction.ACTIVATION_SENT,
    EventType.ACTIVATION_USED: AuditAction.ACTIVATION_USED,
    EventType.CLOSED: AuditAction.CLOSED,
    EventType.REOPENED: AuditAction.REOPENED,
}
NOT_AUDITED = frozenset(
    {
        EventType.OPENED,  # the decision that follows in the same commit says more
        EventType.MESSAGE_ADDED,
        EventType.NOTIFICATION_QUEUED,
        EventType.NOTIFICATION_WITHHELD,
        EventType.DELIVERY_FAILED,
        EventType.FIELDS_CHANGED,
        EventType.NOTE_ADDED,
        EventType.FILE_ADDED,
        EventType.TICKET_MOVED,
        EventType.TICKET_LOST,
    }
)
"""Events that are neither look-up, decision, approval nor execution. A test holds every type to one of the two tables."""


def of_event(
    type_: EventType, case_id: UUID, at: datetime, actor: str, data: Mapping[str, Any], personal: bytes | None
) -> NewEntry | None:
    """The entry for a case event, or None for one that is not audited."""
    action = _OF_EVENT.get(type_)
    if action is None:
        return None
    return NewEntry(action, at, actor, case_id, _subject(data), _reason(data), data, personal)


def _subject(data: Mapping[str, Any]) -> str:
    for name in ("action", "notification", "number", "procedure"):
        if data.get(name):
            return f"{name} {data[name]}"
    return ""


def _reason(data: Mapping[str, Any]) -> str:
    rules = data.get("rules")
    if isinstance(rules, Mapping):
        parts = (
            f"{verdict}: {' '.join(names)}"
            for verdict in ("unmet", "unknown", "met")
            if (names := [rule for rule, got in rules.items() if got == verdict])
        )
        return "; ".join(parts)
    return str(data.get("why") or "")
