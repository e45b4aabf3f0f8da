"""The envelope: what came in, whole and untouched, and what became of it."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from okienko.schemas.base import Model, UtcDatetime


class ChannelName(StrEnum):
    """The three ways to the window (rules C1 to C3)."""

    EMAIL = "email"
    PHONE = "phone"
    PORTAL = "portal"


class Outcome(StrEnum):
    """How an envelope ended. `received` is the only one that is not final."""

    RECEIVED = "received"
    CASED = "cased"
    MERGED = "merged"
    DUPLICATE = "duplicate"
    SUPPRESSED = "suppressed"
    PARKED = "parked"


class Envelope(Model):
    """One thing taken in. Its bytes are kept beside it, never in it."""

    id: UUID
    channel: ChannelName
    connector: str
    """Name of the plugin that took it in and can parse it."""
    source: str
    """Where it came from, for people: `lmtp`, `imap:helpdesk`, a file's name."""
    mailbox: str = "default"
    """The desk it was addressed to; duplicates are looked for within one mailbox."""
    external_id: str | None = None
    """The source's own lasting id (UIDVALIDITY and UID); taking the same one in twice gives one envelope."""
    mail_from: str | None = None
    rcpt_to: tuple[str, ...] = ()
    received_at: UtcDatetime
    size: int
    """Octets."""
