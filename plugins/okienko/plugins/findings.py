"""What `okienko check` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is; an `error` makes `okienko check` exit 1."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: what, how it went, and the cure when it went badly."""

    subject: str
    severity: Severity
    message: str
    cure: str = ""
