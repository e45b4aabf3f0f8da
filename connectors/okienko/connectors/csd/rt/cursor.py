"""The place in RT's stream of changes. Pure.

RT's search knows LastUpdated to the second, a request that is still running commits with an earlier time than one that is done,
and no search finds deleted tickets. So each look begins a while before the last one's beginning, leaves out what it has told
already, and deletions are asked for among the transactions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from okienko.plugins.errors import PermanentError

OVERLAP = timedelta(minutes=5)
"""Longer than a request of RT takes to commit."""
SETTLED = timedelta(seconds=2)
"""A second that is this long ago gets no further change with the same LastUpdated."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """All times are RT's."""

    at: datetime
    """When the last complete look began."""
    transaction: int
    """Deletions up to this one are told."""
    head: int
    """The newest transaction at the last look: the next `transaction`."""
    began: datetime | None = None
    """When the look that is under way began."""
    last: datetime | None = None
    """How far it has come."""
    told: dict[int, int] = field(default_factory=dict)
    """LastUpdated of tickets that were told, as seconds; negative: told within its own second, and to be told again."""

    @property
    def start(self) -> datetime:
        """Where the search begins."""
        return self.last or self.at - OVERLAP

    def is_told(self, number: int, updated: datetime) -> bool:
        """Whether this look has nothing to add about the ticket."""
        second = int(updated.timestamp())
        return self.told.get(number) in ((second, -second) if self.began else (second,))

    def tell(self, number: int, updated: datetime, now: datetime) -> Cursor:
        """It was told."""
        second = int(updated.timestamp())
        settled = updated <= now - SETTLED
        return replace(self, last=updated, told=self.told | {number: second if settled else -second})

    def deleted(self, transaction: int) -> Cursor:
        """A deletion was told."""
        return replace(self, transaction=max(self.transaction, transaction), last=self.last or self.start)

    def begin(self, now: datetime) -> Cursor:
        """A look begins, or goes on."""
        return self if self.began else replace(self, began=now)

    def end(self, head: int | None = None) -> Cursor:
        """The look is complete."""
        began = self.began or self.at
        oldest = int((began - OVERLAP).timestamp())
        told = {number: second for number, second in self.told.items() if second >= oldest}
        moved = {} if head is None else {"transaction": max(self.transaction, self.head), "head": head}
        return replace(self, at=began, began=None, last=None, told=told, **moved)

    def text(self) -> str:
        """For the core to keep."""
        values: dict[str, Any] = {"at": _seconds(self.at), "txn": self.transaction, "head": self.head}
        if self.began and self.last:
            values |= {"began": _seconds(self.began), "last": _seconds(self.last)}
        if self.told:
            values["told"] = {str(number): second for number, second in self.told.items()}
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises PermanentError for what is no cursor."""
        try:
            values = json.loads(text)
            return cls(
                at=_moment(values["at"]),
                transaction=int(values["txn"]),
                head=int(values["head"]),
                began=_moment(values["began"]) if "began" in values else None,
                last=_moment(values["last"]) if "last" in values else None,
                told={int(number): int(second) for number, second in values.get("told", {}).items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise PermanentError("this is no cursor of the CSD rt: begin with none") from None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: object) -> datetime:
    return datetime.fromtimestamp(int(str(seconds)), UTC)
