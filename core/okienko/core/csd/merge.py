"""Two edited copies of one thing and what both agreed on last become one again. Pure.

A three-way merge, field by field: what only one side changed is taken over by the other, what both changed alike is agreed, and
what both changed differently is a conflict that the field's rule decides and the ledger keeps with both values. Because only states
are compared, never the order in which news came, a notice that is lost, late, doubled or out of order cannot lead the two sides
apart; and because what was written is part of the next base, our own change does not come back as news (echo).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Value = str | None
Fields = Mapping[str, Value]


class Side(StrEnum):
    """Who."""

    OKIENKO = "okienko"
    CSD = "csd"


class Rule(StrEnum):
    """Who wins a field that both sides changed differently."""

    CSD = "csd"
    OKIENKO = "okienko"
    NEWEST = "newest"
    """The later change; at the same moment the CSD's, whose people work there."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One entry of the ledger."""

    field: str
    base: Value
    okienko: Value
    csd: Value
    winner: Side
    rule: Rule


@dataclass(frozen=True, slots=True)
class Merged:
    """What follows."""

    agreed: dict[str, Value]
    """Every field as both sides have it once the writes are done: the next base."""
    to_okienko: dict[str, Value]
    """What is to be written here."""
    to_csd: dict[str, Value]
    """What is to be written there."""
    conflicts: tuple[Conflict, ...] = ()


def merge(
    base: Fields,
    okienko: Fields,
    csd: Fields,
    *,
    rules: Mapping[str, Rule],
    okienko_at: datetime,
    csd_at: datetime,
    default: Rule = Rule.CSD,
) -> Merged:
    """Merge the fields that both sides have; a field that one of them does not know is left alone.

    `base` is what was agreed last; a field that it lacks was never compared, and counts as changed on both sides unless they agree.
    The times, UTC, are those of each side's last change.
    """
    agreed: dict[str, Value] = {}
    to_okienko: dict[str, Value] = {}
    to_csd: dict[str, Value] = {}
    conflicts: list[Conflict] = []
    for field in sorted(okienko.keys() & csd.keys()):
        ours, theirs, old = okienko[field], csd[field], base.get(field)
        known = field in base
        if ours == theirs:
            agreed[field] = ours
            continue
        if known and ours == old:
            winner = Side.CSD
        elif known and theirs == old:
            winner = Side.OKIENKO
        else:
            rule = rules.get(field, default)
            winner = _winner(rule, okienko_at, csd_at)
            conflicts.append(Conflict(field, old, ours, theirs, winner, rule))
        agreed[field] = theirs if winner is Side.CSD else ours
        (to_okienko if winner is Side.CSD else to_csd)[field] = agreed[field]
    return Merged(agreed, to_okienko, to_csd, tuple(conflicts))


def _winner(rule: Rule, okienko_at: datetime, csd_at: datetime) -> Side:
    if rule is Rule.NEWEST:
        return Side.OKIENKO if okienko_at > csd_at else Side.CSD
    return Side.OKIENKO if rule is Rule.OKIENKO else Side.CSD
