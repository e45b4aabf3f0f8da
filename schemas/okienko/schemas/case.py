"""Cases, their kinds and their states."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from okienko.schemas.base import Model, UtcDatetime
from okienko.schemas.decision import Decision
from okienko.schemas.envelope import ChannelName
from okienko.schemas.message import Address
from okienko.schemas.person import Person


class CaseKind(StrEnum):
    """ITIL's words for what people bring to the window (rules S1 to S3)."""

    TICKET = "ticket"
    SERVICE_REQUEST = "service_request"
    RECOVERY = "recovery"
    COMPLAINT = "complaint"
    FOLLOW_UP = "follow_up"


class Procedure(StrEnum):
    """Recovery procedures A, B, C and the four service requests of rule S2."""

    EMERGENCY_PASSWORD = "emergency_password"  # noqa: S105  a procedure's name
    EMERGENCY_PASSWORD_AND_EMAIL = "emergency_password_and_email"  # noqa: S105  a procedure's name
    SELF_SERVICE = "self_service"
    EMAIL_CHANGE = "email_change"
    EMAIL_CHANGE_NO_PASSWORDS = "email_change_no_passwords"
    PESEL_CONFLICT = "pesel_conflict"
    UNLOCK = "unlock"


class CaseState(StrEnum):
    """Where a case stands; the allowed moves are a table in `okienko.core.states`."""

    DECIDED = "decided"
    REGISTERED = "registered"
    AWAITING_REQUESTER = "awaiting_requester"
    HUMAN_REVIEW = "human_review"
    CLOSED = "closed"
    REOPENED = "reopened"


class CsdRef(Model):
    """The case in the CSD: which backend, and the number that people are given."""

    backend: str
    number: str
    id: str = ""
    """The backend's own key (Znuny's TicketID, ServiceNow's sys_id), where it is another one than the number."""


class Case(Model):
    """One matter of one person, whatever channels it came by."""

    id: UUID
    kind: CaseKind
    procedure: Procedure | None = None
    state: CaseState
    channel: ChannelName
    mailbox: str = "default"
    subject: str
    requester: Address | None = None
    person: Person | None = None
    decision: Decision
    csd: CsdRef | None = None
    number: str | None = None
    """okienko's own lasting number, once the person or the CSD was told it."""
    opened_at: UtcDatetime
    closed_at: UtcDatetime | None = None
