"""The place in a stream of changes that a system only tells by the time of each ticket's last change. Pure.

Times are coarse, a request that is still running commits with an earlier time than one that is done, and a search index may lag.
So each look begins a while before the last one's beginning, and leaves out what it has told: a ticket with the same stamp (its
version, or its time where that is fine enough).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from okienko.plugins.errors import PermanentError


@dataclass(frozen=True, slots=True)
class ChangeCursor:
    """All times are the system's."""

    at: datetime
    """When the last complete look began."""
    began: datetime | None = None
    """When the look that is under way began."""
    last: datetime | None = None
    """How far it has come."""
    told: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    """Tickets that were told, with their time and stamp."""

    def start(self, overlap: timedelta) -> datetime:
        """Where the search begins."""
        return self.last or self.at - overlap

    def begin(self, now: datetime) -> ChangeCursor:
        """A look begins, or goes on."""
        return self if self.began else replace(self, began=now)

    def is_told(self, ticket: str, stamp: str) -> bool:
        """Whether there is nothing to add about the ticket."""
        known = self.told.get(ticket)
        return known is not None and known[1] == stamp

    def tell(self, ticket: str, updated: datetime, stamp: str) -> ChangeCursor:
        """It was told."""
        last = max(updated, self.last) if self.last else updated
        return replace(self, last=last, told={**self.told, ticket: (updated.timestamp(), stamp)})

    def end(self, overlap: timedelta) -> ChangeCursor:
        """The look is complete."""
        began = self.began or self.at
        return ChangeCursor(began, told=_since(self.told, began - overlap))

    def text(self, overlap: timedelta) -> str:
        """For the core to keep."""
        start = (self.began or self.at) - overlap
        told = _since(self.told, min(start, self.last) if self.last else start)
        values: dict[str, object] = {"at": self.at.timestamp()}
        if self.began and self.last:
            values |= {"began": self.began.timestamp(), "last": self.last.timestamp()}
        if told:
            values["told"] = {ticket: list(pair) for ticket, pair in told.items()}
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str, backend: str) -> ChangeCursor:
        """Raises PermanentError for what is no cursor."""
        try:
            values = json.loads(text)
            return cls(
                at=_moment(values["at"]),
                began=_moment(values["began"]) if "began" in values else None,
                last=_moment(values["last"]) if "last" in values else None,
                told={str(key): (float(at), str(stamp)) for key, (at, stamp) in values.get("told", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise PermanentError(f"this is no cursor of the CSD {backend}: begin with none") from None


def _since(told: Mapping[str, tuple[float, str]], moment: datetime) -> dict[str, tuple[float, str]]:
    return {ticket: pair for ticket, pair in told.items() if pair[0] >= moment.timestamp()}


def _moment(seconds: object) -> datetime:
    return datetime.fromtimestamp(float(str(seconds)), UTC)
