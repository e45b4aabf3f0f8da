"""Case events: the append-only record from which SLA, audit and metrics are read."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from okienko.schemas.base import Model, UtcDatetime


class EventType(StrEnum):
    """Everything that can happen to a case."""

    OPENED = "opened"
    DECIDED = "decided"
    REGISTERED = "registered"
    MESSAGE_ADDED = "message_added"
    NOTIFICATION_QUEUED = "notification_queued"
    NOTIFICATION_SENT = "notification_sent"
    NOTIFICATION_WITHHELD = "notification_withheld"
    NOTIFICATION_FAILED = "notification_failed"
    DELIVERY_FAILED = "delivery_failed"
    ACTION_PROPOSED = "action_proposed"
    ASSESSED = "assessed"
    APPLICATION_TYPED = "application_typed"
    LIMITED = "limited"
    """A limit held something back, or made it part of what is there."""
    ACTION_APPROVED = "action_approved"
    ACTION_EXECUTED = "action_executed"
    ACTION_ENDED = "action_ended"
    ACTIVATION_SENT = "activation_sent"
    ACTIVATION_USED = "activation_used"
    FIELDS_CHANGED = "fields_changed"
    """Subject, priority, queue, assignee or state, here or in the CSD."""
    NOTE_ADDED = "note_added"
    """Somebody wrote a note in the CSD."""
    FILE_ADDED = "file_added"
    TICKET_MOVED = "ticket_moved"
    """The ticket was merged into another one of ours, which is followed."""
    TICKET_LOST = "ticket_lost"
    """The ticket was removed, or merged into one that is none of ours."""
    CLOSED = "closed"
    REOPENED = "reopened"


class CaseEvent(Model):
    """One thing that happened. `data` holds ids, names of rules and counts, never a body, a PESEL or a secret."""

    id: int
    case_id: UUID
    at: UtcDatetime
    type: EventType
    actor: str
    """Who or what did it: a plugin's name, `okienko`, or an administrator's login."""
    data: dict[str, Any] = Field(default_factory=dict)
