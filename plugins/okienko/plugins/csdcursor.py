"""The place in a stream of changes that is ordered by a time of whole seconds. Pure.

Many tickets can share a second, and a request that is still running commits with an earlier time than one that is done. So each
look begins a while before the last one's beginning and leaves out what it has told; what was told within its own second is told once
more when that second is over, because it may have changed again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from okienko.plugins.errors import PermanentError

OVERLAP = timedelta(minutes=5)
"""Longer than a request of the system takes to commit."""
SETTLED = timedelta(seconds=2)
"""A second that is this long ago gets no further change with the same time."""


@dataclass(frozen=True, slots=True)
class TimeCursor:
    """All times are the system's own."""

    at: datetime
    """When the last complete look began."""
    began: datetime | None = None
    """When the look that is under way began."""
    last: datetime | None = None
    """How far it has come."""
    told: dict[str, int] = field(default_factory=dict)
    """The times of tickets that were told, in seconds; negative: told within its own second."""

    @property
    def start(self) -> datetime:
        """Where the search begins: ask for changes at or after it."""
        return self.last or self.at - OVERLAP

    def is_told(self, ticket: str, changed: datetime) -> bool:
        """Whether this look has nothing to add about the ticket."""
        second = _seconds(changed)
        return self.told.get(ticket) in ((second, -second) if self.began else (second,))

    def begin(self, now: datetime) -> TimeCursor:
        """A look begins, or goes on."""
        return self if self.began else replace(self, began=now)

    def tell(self, ticket: str, changed: datetime, now: datetime) -> TimeCursor:
        """It was told. `now` is when this answer was asked for."""
        second = _seconds(changed)
        settled = changed <= now - SETTLED
        return replace(self, last=changed, told=self.told | {ticket: second if settled else -second})

    def end(self) -> TimeCursor:
        """The look is complete. What was told within its own second is forgotten, so that the next look tells it again."""
        began = self.began or self.at
        oldest = _seconds(began - OVERLAP)
        told = {ticket: second for ticket, second in self.told.items() if second >= oldest}
        return TimeCursor(began, told=told)

    def text(self) -> str:
        """For the core to keep."""
        values: dict[str, Any] = {"at": _seconds(self.at)}
        if self.began and self.last:
            values |= {"began": _seconds(self.began), "last": _seconds(self.last)}
        if told := self._needed():
            values["told"] = told
        return json.dumps(values, separators=(",", ":"))

    def _needed(self) -> dict[str, int]:
        """What a look that goes on, or the next one, could be told again; a long walk does not grow its cursor."""
        if not self.began or not self.last:
            return self.told
        oldest = min(_seconds(self.last), _seconds(self.began - OVERLAP))
        return {ticket: second for ticket, second in self.told.items() if abs(second) >= oldest}

    @classmethod
    def parse(cls, text: str) -> TimeCursor:
        """Raises PermanentError for what is no cursor."""
        try:
            values = json.loads(text)
            return cls(
                at=_moment(values["at"]),
                began=_moment(values["began"]) if "began" in values else None,
                last=_moment(values["last"]) if "last" in values else None,
                told={str(ticket): int(second) for ticket, second in values.get("told", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise PermanentError("this is no cursor of this CSD: begin with none") from None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: object) -> datetime:
    return datetime.fromtimestamp(int(str(seconds)), UTC)
