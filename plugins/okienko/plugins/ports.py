"""Ports: what okienko's core asks of a plugin's objects, and what it lends them.

Objects are async where they do I/O and plain where they decide. Every call has a time limit set by the core, and the class
of the error that leaves a call (see `okienko.plugins.errors`) decides between retry, park and stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable
from uuid import UUID

from okienko.plugins.csd import CsdBackend, Registration
from okienko.plugins.evidence import Evidence
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.identity import IdentityBackend
from okienko.plugins.raw import RawContent
from okienko.schemas import (
    Case,
    CaseKind,
    CaseState,
    ChannelName,
    Decision,
    Envelope,
    InboundMessage,
    NotificationKind,
    OutboundMessage,
    Person,
    Procedure,
    UtcDatetime,
)

# --- channels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RawItem:
    """Something a channel has in its hands and wants made lasting."""

    channel: ChannelName
    connector: str
    source: str
    raw: RawContent
    mailbox: str = "default"
    external_id: str | None = None
    """The source's own lasting id; a second item with the same `source` and `external_id` is the same envelope."""
    mail_from: str | None = None
    rcpt_to: tuple[str, ...] = ()


class Intake(Protocol):
    """What the core lends to a channel."""

    async def accept(self, item: RawItem) -> UUID:
        """Store the item and its processing job; return the envelope id only after the durable commit.

        Concurrent calls are committed together. Raises TransientError when it cannot be stored now (tell the source to
        try again: LMTP 451, no IMAP move) and TooLargeError when it is over the size limit (LMTP 552).
        """
        ...


@runtime_checkable
class Channel(Protocol):
    """A way to the window, inbound and outbound."""

    name: str
    """The plugin's name; it stands in `Envelope.connector`."""
    channel: ChannelName

    async def run(self, intake: Intake) -> None:
        """Take things in until cancelled. Returns at once when no inbound part is configured."""
        ...

    def parse(self, envelope: Envelope, raw: RawContent) -> InboundMessage:
        """Read the bytes. Pure. Raises UnreadableError when there is no message in them."""
        ...

    def open_attachment(self, envelope: Envelope, raw: RawContent, index: int) -> BinaryIO:
        """The decoded bytes of attachment `index` as a stream. Raises IndexError when there is none."""
        ...

    async def send(self, message: OutboundMessage) -> None:
        """Hand one message to the outside. Returns when the outside has taken responsibility for it."""
        ...

    async def check(self) -> list[Finding]:
        """Try every setting and connection."""
        ...


@runtime_checkable
class FileSource(Protocol):
    """A channel that can also read its messages from files, for `okienko intake`."""

    name: str
    channel: ChannelName

    def read_files(self, paths: Sequence[Path]) -> Iterator[tuple[str, RawContent]]:
        """Every message in the files and folders, in a stable order, with a name for people."""
        ...


# --- deciding plugins -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CaseLink:
    """A case that a message may belong to."""

    case_id: UUID
    number: str | None
    state: CaseState
    requester: str | None
    """Address, lower case."""


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What the store knows about a message, looked up before the policies are asked. Pure data."""

    is_ours: bool = False
    """Its Message-ID is one that we made: our own mail came back."""
    by_reference: tuple[CaseLink, ...] = ()
    """Cases tied to its In-Reply-To and References, nearest first; siblings of a mail never seen are among them."""
    by_number: tuple[CaseLink, ...] = ()
    """Cases whose number, the CSD's or okienko's own, stands in its subject."""
    by_report: tuple[CaseLink, ...] = ()
    """Cases whose notification a delivery report is about."""
    answers_today: int = 0
    """Automatic answers sent to this correspondent in the last 24 hours."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """Keep it, open no case, answer nothing. `reason` is a closed set of metric label values."""

    reason: str
    case_id: UUID | None = None
    """The case in whose time line it is noted, if any."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Go on, but send no automatic answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Merge:
    """It belongs to a case that exists."""

    case_id: UUID
    reason: str
    """`reference` or `number`; the core's own is `repeat`."""
    sender_differs: bool = False


Verdicts = Suppress | Silence | Merge


@runtime_checkable
class MessagePolicy(Protocol):
    """One idea about messages, asked in the configured order. The first Suppress or Merge ends the round."""

    name: str

    def judge(self, message: InboundMessage, facts: MessageFacts) -> Verdicts | None:
        """None when the policy has nothing to say. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class Classification:
    """What a message is."""

    kind: CaseKind
    procedure: Procedure | None = None
    person: Person | None = None
    login: str | None = None
    """The account's login that the procedure speaks of (an address), for the look-up."""


@dataclass(frozen=True, slots=True)
class NotificationContext:
    """What a message to the person may speak of."""

    case: Case
    solution: str | None = None
    link: str | None = None
    """The stop link (LOGIN_CHANGE) or activation link (ACTIVATION), as a marker that becomes the link on the way out."""
    new_login: str | None = None
    """The login that the account gets, when it gets another one."""
    deadline: UtcDatetime | None = None
    """When the change happens (LOGIN_CHANGE) or the link ends (ACTIVATION)."""
    own_number: str | None = None
    """okienko's own number of the case, when the person is or was told it because the CSD gave none in time."""


@dataclass(frozen=True, slots=True)
class RenderedText:
    """Subject and body of a message to a person."""

    subject: str
    text: str


@runtime_checkable
class ProcedurePack(Protocol):
    """One installation's procedure: what things are, which rules apply, what people are told. Pure, no I/O."""

    name: str

    def classify(self, message: InboundMessage) -> Classification:
        """What the message is. Always answers: what nothing matches is a ticket."""
        ...

    def decide(self, message: InboundMessage, classification: Classification, evidence: Evidence) -> Decision:
        """Every rule that applies, with its evidence."""
        ...

    def outranks_threading(self, classification: Classification) -> bool:
        """Whether such a message opens a case of its own even when it answers an older one."""
        ...

    def needs_registration(self, classification: Classification) -> bool:
        """Whether it becomes work in the CSD (rule C, self-service, does not)."""
        ...

    def numbers_in(self, text: str) -> tuple[str, ...]:
        """CSD numbers and okienko's own that stand in a text, in the order found, normalised as they are written by us."""
        ...

    def own_number(self, seq: int) -> str:
        """okienko's own number of the case that was the `seq`-th to come; in capitals, found again by `numbers_in`."""
        ...

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        """The message to the person."""
        ...

    def solution(self, case: Case) -> str:
        """What mail 2 says when okienko itself carried the reset action out."""
        ...

    def closed_without_words(self, case: Case) -> str:
        """What mail 2 says when the CSD closed the case and said nothing of how it ended."""
        ...


# --- the plugin's view of the service -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One line of `okienko plugins`."""

    name: str
    version: str
    origin: str
    hooks: tuple[str, ...] = ()
    state: str = "loaded"
    """`loaded`, `failed` (at start), `stopped` (while running, by a MisconfiguredError) or `disabled`."""
    problem: str = ""
    required: bool = False
    objects: tuple[str, ...] = field(default=())


__all__ = [
    "CaseLink", "Channel", "Classification", "CsdBackend", "Evidence", "FileSource", "Finding", "IdentityBackend", "Intake",
    "Merge", "MessageFacts", "MessagePolicy", "NotificationContext", "PluginStatus", "ProcedurePack", "RawItem",
    "Registration", "RenderedText", "Severity", "Silence", "Suppress", "Verdicts",
]  # fmt: skip
