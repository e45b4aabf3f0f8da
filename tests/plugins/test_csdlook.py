"""The cursor over times of last change, and the locks of tickets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.csdlook import OVERLAP, SETTLED, Look
from okienko.plugins.errors import PermanentError

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_look_begins_before_the_last_one_began() -> None:
    assert Look(NOON).start == NOON - OVERLAP


def test_what_has_settled_is_told_once() -> None:
    look = Look(NOON).begin(NOON + SETTLED)
    look = look.tell("7", NOON, NOON + SETTLED).end().begin(NOON + 2 * SETTLED)
    assert look.is_told("7", NOON)
    assert not look.is_told("7", NOON + SECOND)
    assert not look.is_told("8", NOON)


def test_what_was_told_in_its_own_second_is_told_again_but_not_in_the_same_look() -> None:
    look = Look(NOON).begin(NOON).tell("7", NOON, NOON).tell("8", NOON, NOON)
    assert look.is_told("7", NOON)
    assert look.start == NOON
    later = look.end().begin(NOON + SECOND)
    assert not later.is_told("7", NOON)
    later = later.tell("7", NOON, NOON + SECOND)
    assert not later.is_told("8", NOON), "one that is told again must not hide another"


def test_the_memory_has_an_end() -> None:
    look = Look(NOON).begin(NOON).tell("7", NOON - OVERLAP - SECOND, NOON).tell("8", NOON - SECOND, NOON)
    assert set(look.end().told) == {"8"}


def test_a_page_goes_on_where_the_last_one_ended() -> None:
    look = Look(NOON).begin(NOON + SECOND).tell("7", NOON, NOON)
    again = Look.parse(look.text()).begin(NOON + 9 * SECOND)
    assert again == look
    assert again.end().at == NOON + SECOND


@given(
    st.dictionaries(st.text("0123456789", min_size=1), st.integers(-(2**45), 2**45)),
    st.integers(0, 2**41),
    st.none() | st.integers(0, 2**41),
)
def test_a_cursor_is_read_as_it_was_written(told: dict[str, int], at: int, began: int | None) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    times = [epoch + timedelta(milliseconds=one) if one is not None else None for one in (at, began)]
    look = Look(times[0] or epoch, times[1], times[1], told)
    assert Look.parse(look.text()) == look


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"at": null}', '{"at": 1e400}', '{"at": 1, "told": 1}', "[" * 99999]
)
def test_something_else_is_no_cursor(text: str) -> None:
    with pytest.raises(PermanentError, match="cursor"):
        Look.parse(text)


@given(st.data())
def test_nothing_is_left_out_whatever_happens_in_between(data: st.DataObject) -> None:
    """A system with whole seconds whose changes may show late; each change is told after it could be seen."""
    stamps: dict[str, int] = {}
    unseen: set[str] = set()
    now, look = 1000, Look(NOON + 1000 * SECOND)
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["change", "late", "tick", "look"]))
        if step == "tick":
            now += data.draw(st.integers(1, 20))
        elif step == "look":
            moment = NOON + now * SECOND
            look = look.begin(moment)
            for ticket, stamp in sorted(stamps.items(), key=lambda pair: pair[1]):
                changed = NOON + stamp * SECOND
                if changed >= look.start and not look.is_told(ticket, changed):
                    look = look.tell(ticket, changed, moment)
                    unseen.discard(ticket)
            look = Look.parse(look.end().text())
            assert not unseen
        else:
            ticket = data.draw(st.sampled_from(["1", "2", "3"]))
            # A commit shows up after its stamp, by less than the overlap, and never with a stamp that was told as settled.
            late = data.draw(st.integers(0, 200)) if step == "late" else 0
            if now - late > stamps.get(ticket, 0) or late == 0:
                stamps[ticket] = now - late
                unseen.add(ticket)


async def test_one_ticket_has_one_writer() -> None:
    locks, inside, most = TicketLocks(), 0, 0

    async def write(*keys: str) -> None:
        nonlocal inside, most
        async with locks.held(*keys):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(write("1") for _ in range(5)), *(write("2", "1") for _ in range(3)), write("1", "2", "1"))
    assert most == 1
    assert not locks._locks


async def test_other_tickets_do_not_wait() -> None:
    locks = TicketLocks()
    async with locks.held("1"), asyncio.timeout(5), locks.held("2"):
        pass
