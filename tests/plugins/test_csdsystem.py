"""Following changes by a time of whole seconds, turns of closing and opening, and names of files."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okienko.plugins.csd import Note, Ticket
from okienko.plugins.csdcursor import OVERLAP, TimeCursor
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.csdsystem import Row, _turn, by_time
from okienko.plugins.errors import PermanentError
from okienko.schemas import CsdRef, TicketStatus

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Stream:
    """A register with a time of whole seconds, a small page, and writers that write between two pages."""

    def __init__(self, size: int, *, whole_pages: bool) -> None:
        self.now = NOW
        self.size = size
        self.whole_pages = whole_pages
        self.changed: dict[str, datetime] = {}
        self.version: dict[str, int] = {}
        self.writes: list[tuple[str, int]] = []
        self.mirror: dict[str, int] = {}
        self.pages = 0

    def write(self, ticket: str) -> None:
        self.changed[ticket] = self.now
        self.version[ticket] = self.version.get(ticket, 0) + 1

    async def page(self, since: datetime, start: int) -> tuple[list[Row], bool]:
        self.pages += 1
        rows = sorted((at, ticket) for ticket, at in self.changed.items() if at >= since)
        at = start * self.size if self.whole_pages else start
        shown = rows[at : at + self.size]
        if self.writes:
            ticket, seconds = self.writes.pop(0)
            self.now += timedelta(seconds=seconds)
            self.write(ticket)
        return [(CsdRef(backend="x", number=ticket), moment) for moment, ticket in shown], at + self.size < len(rows)

    async def look(self, text: str, limit: int) -> str:
        """As SystemCsd.changes and the core do it; to the end."""
        while True:
            place, now, count = TimeCursor.parse(text).begin(self.now), self.now, 0
            async with aclosing(by_time(self.page, place.start, whole_pages=self.whole_pages)) as rows:
                async for ref, at in rows:
                    if place.is_told(ref.number, at):
                        continue
                    if count == limit:
                        break
                    count += 1
                    place = place.tell(ref.number, at, now)
                    self.mirror[ref.number] = self.version[ref.number]
                else:
                    return place.end().text()
            text = place.text()


TICKETS = st.sampled_from([f"t{i}" for i in range(12)])
WRITES = st.lists(st.tuples(TICKETS, st.sampled_from([0, 0, 1, 3, 400])), max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    before=st.lists(TICKETS, max_size=20),
    writes=st.lists(WRITES, max_size=4),
    size=st.integers(2, 5),
    limit=st.integers(1, 5),
)
def test_no_change_is_passed_by(before: list[str], writes: list[list[tuple[str, int]]], size: int, limit: int) -> None:
    """Whoever writes while it is read, who follows ends with what there is."""

    async def follow() -> None:
        stream = Stream(size, whole_pages=False)
        text = TimeCursor(stream.now).text()
        for ticket in before:
            stream.write(ticket)
        for batch in writes:
            stream.writes = list(batch)
            text = await stream.look(text, limit)
        for ticket, seconds in stream.writes:
            stream.now += timedelta(seconds=seconds)
            stream.write(ticket)
        stream.writes = []
        text = await stream.look(text, limit)
        assert stream.mirror == stream.version
        # When all is quiet, nothing is told any more.
        for _ in range(2):
            stream.now += timedelta(seconds=3)
            text = await stream.look(text, limit)
        stream.mirror.clear()
        stream.now += timedelta(seconds=3)
        await stream.look(text, limit)
        assert stream.mirror == {}

    asyncio.run(follow())


async def test_a_second_with_more_than_a_page_by_number() -> None:
    stream = Stream(3, whole_pages=True)
    for number in range(10):
        stream.write(f"t{number:02}")
    await stream.look(TimeCursor(stream.now).text(), 100)
    assert stream.mirror == stream.version
    assert stream.pages == 5, "one from the overlap, then four of that second"


def test_a_long_walk_does_not_grow_its_cursor() -> None:
    place = TimeCursor(NOW).begin(NOW + timedelta(days=3))
    for minute in range(4000):
        place = place.tell(f"t{minute}", NOW + timedelta(minutes=minute), NOW + timedelta(days=3))
        place = TimeCursor.parse(place.text())
    assert len(place.text()) < 300
    assert place.end().start == NOW + timedelta(days=3) - OVERLAP


@pytest.mark.parametrize(
    "text", ["", "{}", "null", '{"at": "x"}', '{"at": 1, "told": []}', "[" * 100_000, '{"at": 1e400}']
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(PermanentError):
        TimeCursor.parse(text)


def ticket(*notes: tuple[str, str]) -> Ticket:
    made = tuple(Note(str(i), text, NOW, key=mark_of(key)) for i, (key, text) in enumerate(notes))
    return Ticket(CsdRef(backend="x", number="1"), None, TicketStatus.OPEN, "open", "", NOW, NOW, notes=made)


def test_turns() -> None:
    assert _turn(ticket(), "closed", "Gotowe.") == "closed 0"
    once = ticket(("closed 0", "Gotowe."))
    assert _turn(once, "closed", "Gotowe.") is None, "what was interrupted is gone on with"
    assert _turn(once, "closed", "Inaczej.") == "closed 1"
    assert _turn(once, "reopened", "Nie działa.") == "reopened 1"
    twice = ticket(("reopened 1", "Nie działa."), ("closed 0", "Gotowe."))
    assert _turn(twice, "reopened", "Nie działa.") is None, "the order of one second's notes does not matter"
    assert _turn(twice, "closed", "Gotowe.") == "closed 2", "the same words after another turn are said again"
    assert _turn(replace(twice, notes=twice.notes[::-1]), "closed", "Gotowe.") == "closed 2"
