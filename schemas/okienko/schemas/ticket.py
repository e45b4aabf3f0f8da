"""Tickets as every CSD has them, in the words of ITIL."""

from __future__ import annotations

from enum import StrEnum


class TicketStatus(StrEnum):
    """What a ticket's state means, whatever the system calls it."""

    OPEN = "open"
    """Somebody is to work on it: new, assigned, in progress, opened again."""
    PENDING = "pending"
    """It waits for the requester or for another party."""
    CLOSED = "closed"
    """Solved, closed, rejected: nobody works on it."""


class Priority(StrEnum):
    """How soon it matters."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"
