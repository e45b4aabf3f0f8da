"""A message in the one language: what a channel's parser makes of an envelope."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from okienko.schemas.base import Model, UtcDatetime


class Address(Model):
    """A mailbox address of RFC 5322, section 3.4."""

    name: str = ""
    address: str
    """addr-spec with the domain in lower case."""


class Attachment(Model):
    """A part that is not the text. Its bytes stay in the envelope; `index` finds them there again."""

    index: int
    filename: str
    """Safe to show: no path, no control characters; never used as a path."""
    content_type: str
    size: int
    """Decoded octets."""
    sha256: str
    """Of the decoded octets, hex."""


class AutoKind(StrEnum):
    """What a message says of its own origin (RFC 3834, RFC 3464)."""

    HUMAN = "human"
    AUTO_REPLIED = "auto_replied"
    AUTO_GENERATED = "auto_generated"
    BULK = "bulk"
    DELIVERY_REPORT = "delivery_report"


class InboundMessage(Model):
    """What came in, read but not yet judged. Text only; a claim in it proves nothing."""

    message_id: str | None = None
    """RFC 5322 msg-id without angle brackets."""
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    subject: str = ""
    """Decoded (RFC 2047) and unfolded, otherwise as sent."""
    sender: Address | None = None
    """The From: mailbox."""
    reply_to: Address | None = None
    to: tuple[Address, ...] = ()
    date: UtcDatetime | None = None
    text: str = ""
    """The readable body: text/plain, else text made of text/html; NUL-free, lines end in LF."""
    text_source: str = "none"
    """`plain`, `html` or `none`."""
    attachments: tuple[Attachment, ...] = ()
    auto: AutoKind = AutoKind.HUMAN
    suppress_auto_response: bool = False
    """The sender asks for no automatic answer (X-Auto-Response-Suppress, Precedence, List-Id)."""
    reported_message_ids: tuple[str, ...] = ()
    """Message-IDs that a delivery report is about."""
    authentication_results: tuple[str, ...] = ()
    """Raw values of Authentication-Results fields, topmost first (RFC 8601)."""
    defects: tuple[str, ...] = Field(default=(), description="What was wrong with the message and was read around")
