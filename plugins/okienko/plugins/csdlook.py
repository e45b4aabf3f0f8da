"""The place in a system's stream of changes where the only order is a time of last change. Pure.

Such a time is shared by many tickets, and may be older than the moment in which the change could first be seen (a transaction commits
later than it was stamped). So each look begins a while before the last one's beginning and leaves out what it has told already. What
was told within its own second is told again, because it may have changed once more since with the same stamp.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from okienko.plugins.errors import PermanentError

OVERLAP = timedelta(minutes=5)
"""Longer than a request takes to commit, and than clocks of one system differ."""
SETTLED = timedelta(seconds=5)
"""A stamp that is this long ago is not given again."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Look:
    """All times are the system's."""

    at: datetime
    """When the last complete look began."""
    began: datetime | None = None
    """When the look that is under way began."""
    last: datetime | None = None
    """How far it has come."""
    told: dict[str, int] = field(default_factory=dict)
    """Stamps of tickets that were told, in milliseconds; negative: not settled then, so that the next look tells them again."""

    @property
    def start(self) -> datetime:
        """Ask for changes from here on, this moment included."""
        return self.last or self.at - OVERLAP

    def begin(self, now: datetime) -> Look:
        """A look begins, or goes on. `now` must not be later than the moment in which the search reads."""
        if self.began:
            return self
        return replace(self, began=now, told={t: stamp for t, stamp in self.told.items() if stamp >= 0})

    def is_told(self, ticket: str, changed: datetime) -> bool:
        """Whether this look, which has begun, has nothing to add about the ticket."""
        return abs(self.told.get(ticket, 0)) == _milliseconds(changed)

    def tell(self, ticket: str, changed: datetime, now: datetime) -> Look:
        """It was told, in the order of the stamps."""
        stamp = _milliseconds(changed)
        settled = changed <= now - SETTLED
        return replace(self, last=changed, told=self.told | {ticket: stamp if settled else -stamp})

    def end(self) -> Look:
        """The look is complete."""
        began = self.began or self.at
        oldest = _milliseconds(began - OVERLAP)
        return Look(at=began, told={t: stamp for t, stamp in self.told.items() if abs(stamp) >= oldest})

    def text(self) -> str:
        """For the core to keep."""
        times = {"at": self.at, "began": self.began, "last": self.last}
        values: dict[str, object] = {name: _milliseconds(time) for name, time in times.items() if time}
        return json.dumps(values | ({"told": self.told} if self.told else {}), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Look:
        """Raises PermanentError for what is no cursor."""
        try:
            values = json.loads(text)
            return cls(
                at=_moment(values["at"]),
                began=_moment(values["began"]) if "began" in values else None,
                last=_moment(values["last"]) if "last" in values else None,
                told={str(ticket): int(stamp) for ticket, stamp in values.get("told", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise PermanentError("this is no cursor of this CSD: begin again with none") from None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def _moment(milliseconds: object) -> datetime:
    return _EPOCH + int(str(milliseconds)) * _MILLISECOND
