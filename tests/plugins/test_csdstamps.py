"""Places in a stream of changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.csdstamps import ChangeCursor
from okienko.plugins.errors import PermanentError

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
OVERLAP = timedelta(minutes=5)


def look(
    text: str, tickets: dict[str, tuple[datetime, str]], now: datetime, limit: int = 100
) -> tuple[list[str], str, bool]:
    """A look as connectors make it: those that changed since, in order, without those that were told."""
    place = ChangeCursor.parse(text, "test").begin(now)
    told: list[str] = []
    for ticket, (updated, stamp) in sorted(tickets.items(), key=lambda pair: (pair[1][0], pair[0])):
        if updated < place.start(OVERLAP) or place.is_told(ticket, stamp):
            continue
        if len(told) == limit:
            return told, place.text(OVERLAP), True
        told.append(ticket)
        place = place.tell(ticket, updated, stamp)
    return told, place.end(OVERLAP).text(OVERLAP), False


def test_two_changes_in_one_second_are_two() -> None:
    cursor = ChangeCursor(NOON).text(OVERLAP)
    first, cursor, _ = look(cursor, {"a": (NOON, "1")}, NOON)
    again, cursor, _ = look(cursor, {"a": (NOON, "1")}, NOON)
    second, cursor, _ = look(cursor, {"a": (NOON, "2")}, NOON)
    assert (first, again, second) == (["a"], [], ["a"])


def test_what_commits_late_is_told() -> None:
    _, cursor, _ = look(ChangeCursor(NOON).text(OVERLAP), {"a": (NOON, "1")}, NOON + timedelta(seconds=30))
    late = {"a": (NOON, "1"), "b": (NOON - timedelta(seconds=60), "1")}
    told, _, _ = look(cursor, late, NOON + timedelta(seconds=60))
    assert told == ["b"]


@given(
    st.lists(st.integers(0, 40), max_size=60),
    st.integers(1, 7),
    st.integers(0, 600),
)
def test_a_walk_in_pages_tells_each_once_and_ends(seconds: list[int], limit: int, later: int) -> None:
    tickets = {f"t{place}": (NOON + timedelta(seconds=at), "1") for place, at in enumerate(seconds)}
    cursor, told, more, turns = ChangeCursor(NOON).text(OVERLAP), list[str](), True, 0
    while more:
        some, cursor, more = look(cursor, tickets, NOON + timedelta(seconds=40 + later), limit)
        told += some
        turns += 1
        assert turns <= len(seconds) + 1
    assert sorted(told) == sorted(tickets)
    assert look(cursor, tickets, NOON + timedelta(seconds=50 + later))[0] == []


def test_what_is_long_told_is_forgotten() -> None:
    tickets = {f"t{place}": (NOON + timedelta(minutes=place), "1") for place in range(500)}
    _, cursor, _ = look(ChangeCursor(NOON).text(OVERLAP), tickets, NOON + timedelta(minutes=500), limit=1000)
    assert len(ChangeCursor.parse(cursor, "test").told) <= 6


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", '{"at": "x"}', '{"at": 1, "told": {"a": 1}}', '{"at": 1e400}', "[" * 50000]
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(PermanentError, match="begin with none"):
        ChangeCursor.parse(text, "test")
