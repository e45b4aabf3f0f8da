"""What a mapping would make of a case: compared with what its ticket has now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from okienko.plugins.csd import RAW_HEADS, RawTicket


class Fate(StrEnum):
    """What would become of a case."""

    CREATE = "create"
    """It has no ticket yet and would get this one."""
    DIFFERS = "differs"
    SAME = "same"
    REFUSED = "refused"
    """The mapping, or what reads by it, has no answer."""
    GONE = "gone"
    """Its ticket is not there any more."""
    ELSEWHERE = "elsewhere"
    """Its ticket is in another CSD."""
    ERASED = "erased"
    """Its person was taken out, and nothing is written to it any more."""
    NONE = "none"
    """It gets no ticket: the answer was the whole work, or it is closed."""


class Because(StrEnum):
    """Why a field differs."""

    MAPPING = "mapping"
    """The mapping to be tried says something else than the present one."""
    CSD = "csd"
    """It was changed in the CSD, or registered under another mapping, and the mapping would set it back."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field; of a ticket to be created `now` and `because` are None."""

    field: str
    now: str | None
    then: str
    because: Because | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """One case."""

    case_id: UUID
    number: str
    """okienko's own."""
    ticket: str | None
    result: Fate
    differences: tuple[Difference, ...] = ()
    problem: str = ""
    """Of a refusal: `mapping.toml:12: …`."""
    cure: str = ""

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "case_id": self.case_id, "number": self.number, "ticket": self.ticket, "result": self.result.value,
            "differences": [
                {"field": d.field, "now": d.now, "then": d.then, "because": d.because and d.because.value}
                for d in self.differences
            ],
            "problem": self.problem, "cure": self.cure,
        }  # fmt: skip


def created(then: RawTicket) -> Iterator[Difference]:
    """Everything that a new ticket would have."""
    for head in RAW_HEADS:
        if (value := getattr(then, head)) is not None:
            yield Difference(head, None, value)
    for name, value in then.fields.items():
        yield Difference(name, None, value)


def differences(now: RawTicket, then: RawTicket, before: RawTicket | None) -> Iterator[Difference]:
    """What differs, as far as the system tells and the mapping speaks of it; the state is compared by its meaning, not here.

    `before`: by the present mapping; None when that has no answer. Capitals count in subjects and fields only.
    """
    for head in RAW_HEADS:
        there, wanted = getattr(now, head), getattr(then, head)
        if head == "status" or there is None or wanted is None:
            continue
        if there != wanted and (head == "subject" or there.casefold() != wanted.casefold()):
            yield Difference(head, there, wanted, _because(wanted, getattr(before, head, None)))
    for name, wanted in then.fields.items():
        there = now.fields.get(name)
        if there is not None and there != wanted:
            yield Difference(
                name, there, wanted, _because(wanted, before.fields.get(name) if before is not None else None)
            )


def _because(wanted: str, before: str | None) -> Because:
    return Because.CSD if before == wanted else Because.MAPPING
