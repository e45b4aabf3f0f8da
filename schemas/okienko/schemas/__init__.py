"""The language of okienko: models that every part shares. Nothing here does I/O."""

from okienko.schemas.action import ActionState, ResetAction
from okienko.schemas.base import Model, UtcDatetime
from okienko.schemas.case import Case, CaseKind, CaseState, CsdRef, Procedure
from okienko.schemas.decision import Decision, DecisionOutcome, RuleResult, Verdict
from okienko.schemas.envelope import ChannelName, Envelope, Outcome
from okienko.schemas.event import CaseEvent, EventType
from okienko.schemas.message import Address, Attachment, AutoKind, InboundMessage
from okienko.schemas.notification import NotificationKind, OutboundMessage
from okienko.schemas.person import Person
from okienko.schemas.pesel import Pesel
from okienko.schemas.ticket import Priority, TicketStatus

__all__ = [
    "ActionState",
    "Address",
    "Attachment",
    "AutoKind",
    "Case",
    "CaseEvent",
    "CaseKind",
    "CaseState",
    "ChannelName",
    "CsdRef",
    "Decision",
    "DecisionOutcome",
    "Envelope",
    "EventType",
    "InboundMessage",
    "Model",
    "NotificationKind",
    "OutboundMessage",
    "Outcome",
    "Person",
    "Pesel",
    "Priority",
    "Procedure",
    "ResetAction",
    "RuleResult",
    "TicketStatus",
    "UtcDatetime",
    "Verdict",
]
