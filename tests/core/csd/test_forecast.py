"""Trying a mapping on the cases that there are: what is told of each, and that nothing is written, there or here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from core.conftest import WordPack
from okienko.core.csd import forecasting
from okienko.core.csd.forecast import Because, Difference, Fate, Forecast, differences
from okienko.core.csd.forecasting import Choice, Trial, forecasts, places
from okienko.plugins.csd import Capability, RawTicket, Registration, Ticket, TicketChange
from okienko.plugins.csdmapping import MappingError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.pace import PaceError
from okienko.plugins.testing import MemoryCsd
from okienko.schemas import CsdRef, Priority, TicketStatus


async def everything(desk: Any) -> dict[str, str]:
    """A digest of each table."""
    tables = await desk.rows(
        "SELECT relname::text AS t FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    query = "SELECT md5(string_agg(t::text, '\n' ORDER BY t::text)) FROM {} t"
    return {one["t"]: await desk.value(query.format(one["t"])) for one in tables}


class UnderMapping(MemoryCsd):
    """The desk's CSD by a mapping: a queue for every ticket, and what `rejected` and `pending` mean. Every write fails."""

    def __init__(self, desk: Any, queue: str = "general", **meanings: TicketStatus) -> None:
        super().__init__(system=desk.csd.system)
        self.queue = queue
        self.meanings = meanings
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1

    def preview(self, registration: Registration) -> RawTicket:
        if "zle" in registration.subject.split():
            raise MappingError(Finding("new.toml:3", Severity.ERROR, "no queue for ticket", "add it, or default"))
        return replace(super().preview(registration), queue=self.queue)

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        if ticket is None or ticket.raw_status not in self.meanings:
            return ticket
        return replace(ticket, status=self.meanings[ticket.raw_status])

    async def _writes(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a forecast wrote to the CSD")

    create = comment = attach = change = close = reopen = link = erase = _writes


def trial(csd: MemoryCsd, before: MemoryCsd | None = None, **more: Any) -> Trial:
    return Trial(csd, before or csd, WordPack(), **more)


async def told(desk: Any, under: Trial, **choice: Any) -> list[Forecast]:
    return [one async for one in forecasts(desk.engine, under, Choice(**choice))]


async def registered(desk: Any, mail: Any, *subjects: str) -> list[CsdRef]:
    await desk.take(*map(mail, subjects))
    await desk.settle()
    rows = await desk.rows("SELECT csd_number FROM cases WHERE csd_number IS NOT NULL ORDER BY seq")
    return [CsdRef(backend="memory", number=row["csd_number"]) for row in rows]


async def test_each_case_by_its_fate_and_nothing_is_written(desk: Any, mail: Any) -> None:
    refs = await registered(desk, mail, "pierwsza", "druga", "trzecia zle", "czwarta", "self_service")
    desk.csd.system.edit(refs[0], TicketChange(queue="Konta"))
    desk.csd.system.remove(refs[3])
    await desk.take(mail("nowa"), mail("nowa zle"))
    await desk.until("register")
    before, system = await everything(desk), desk.csd.system
    assert len(before) > 20
    writes = (system.writes, system.created)
    csd, present = UnderMapping(desk, "Konta"), UnderMapping(desk)
    found = await told(desk, trial(csd, present))
    assert [one.result.value for one in found] == ["same", "differs", "refused", "gone", "none", "create", "refused"]
    assert [one.ticket for one in found] == [ref.number for ref in refs] + [None] * 3
    assert [one.number for one in found] == [f"OK{seq:09}" for seq in range(1, 8)]
    assert found[1].differences == (Difference("queue", "general", "Konta", Because.MAPPING),)
    assert (found[2].problem, found[2].cure) == ("new.toml:3: no queue for ticket", "add it, or default")
    new = {d.field: d.then for d in found[5].differences}
    assert (new["subject"], new["queue"], new["correlation"]) == ("nowa", "Konta", str(found[5].case_id))
    assert all(d.now is None and d.because is None for d in found[5].differences)
    assert found[5].shown()["differences"][0] == {"field": "subject", "now": None, "then": "nowa", "because": None}
    assert await everything(desk) == before
    assert (system.writes, system.created, csd.starts, present.starts) == (*writes, 1, 1)


async def test_what_people_moved_is_told_apart_from_what_the_mapping_moves(desk: Any, mail: Any) -> None:
    (ref,) = await registered(desk, mail, "sprawa")
    desk.csd.system.edit(ref, TicketChange(queue="Druga linia", priority=Priority.HIGH))
    same = UnderMapping(desk)
    (one,) = await told(desk, trial(same))
    assert one.differences == (
        Difference("queue", "Druga linia", "general", Because.CSD), Difference("priority", "high", "normal", Because.CSD),
    )  # fmt: skip
    (one,) = await told(desk, trial(UnderMapping(desk, "Konta"), same))
    assert {d.field: d.because for d in one.differences} == {"queue": Because.MAPPING, "priority": Because.CSD}


async def test_a_priority_that_both_sides_know_is_no_difference(desk: Any, mail: Any) -> None:
    (ref,) = await registered(desk, mail, "sprawa")
    desk.csd.system.edit(ref, TicketChange(priority=Priority.HIGH))
    await desk.rows("UPDATE cases SET priority = 'high' RETURNING 1")
    (one,) = await told(desk, trial(UnderMapping(desk)))
    assert one.result is Fate.SAME


async def test_a_state_that_would_be_read_as_another(desk: Any, mail: Any) -> None:
    """The most dangerous mistake of a mapping: cases would be closed, and mail 2 sent, because of a line."""
    refs = await registered(desk, mail, "pierwsza", "druga")
    desk.csd.system.set_state(refs[1], "closed")
    under = trial(UnderMapping(desk, new=TicketStatus.CLOSED), UnderMapping(desk))
    one, other = await told(desk, under)
    assert one.differences == (Difference("status", "new (open)", "closed", Because.MAPPING),)
    assert other.differences == (Difference("status", "closed (open)", "closed", Because.CSD),), "closed there just now"


async def test_a_state_that_the_mapping_does_not_know(desk: Any, mail: Any) -> None:
    class Ignorant(UnderMapping):
        async def get(self, ref: CsdRef) -> Ticket | None:
            raise PermanentError(f"ticket {ref.number} is in state 'new', which the mapping does not know")

    await registered(desk, mail, "sprawa")
    (one,) = await told(desk, trial(Ignorant(desk)))
    assert one.result is Fate.REFUSED
    assert "which the mapping does not know" in one.problem


async def test_a_case_of_another_csd_and_a_merged_ticket(desk: Any, mail: Any) -> None:
    refs = await registered(desk, mail, "pierwsza", "druga", "trzecia")
    await desk.rows("UPDATE cases SET csd_backend = 'rt' WHERE csd_number = $1 RETURNING 1", refs[0].number)
    desk.csd.system.merge(refs[1], refs[2])
    elsewhere, merged, _ = await told(desk, trial(UnderMapping(desk)))
    assert (elsewhere.result, elsewhere.problem) == (Fate.ELSEWHERE, "its ticket is in rt")
    assert (merged.result, merged.problem) == (Fate.GONE, f"it was merged into {refs[2].number}")


async def test_an_erased_case_is_left_alone(desk: Any, mail: Any) -> None:
    await registered(desk, mail, "sprawa")
    await desk.rows("UPDATE cases SET silenced = 'erased' RETURNING 1")
    csd = UnderMapping(desk, "Konta")
    assert [one.result for one in await told(desk, trial(csd))] == [Fate.ERASED]
    assert csd.system.requests["read"] == 0


async def test_without_a_ticket_the_csd_is_not_even_started(desk: Any, mail: Any) -> None:
    await desk.take(mail("nowa"))
    await desk.until("register")
    csd = UnderMapping(desk)
    assert [one.result for one in await told(desk, trial(csd))] == [Fate.CREATE]
    assert (csd.starts, csd.system.requests) == (0, {})


async def test_pages_of_cases_and_which_of_them(desk: Any, mail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasting, "PAGE", 2)
    refs = await registered(desk, mail, *(f"sprawa {n}" for n in range(5)))
    under = trial(UnderMapping(desk))

    async def which(**choice: Any) -> list[int]:
        return [int(one.number.removeprefix("OK")) for one in await told(desk, under, **choice)]

    assert await which() == [1, 2, 3, 4, 5]
    numbers = [ref.number for ref in refs]
    assert await which(ranges=tuple(await places(desk.engine, [f"{numbers[1]}-{numbers[3]}", numbers[4]]))) == [
        2,
        3,
        4,
        5,
    ]
    await desk.rows("UPDATE cases SET csd_number = 'HELP-' || seq RETURNING 1")
    assert await places(desk.engine, ["HELP-2-HELP-4", "HELP-5"]) == [(2, 4), (5, 5)]
    await desk.rows("UPDATE cases SET state = 'closed' WHERE seq < 3 RETURNING 1")
    assert await which(only_open=True) == [3, 4, 5]
    opened = await desk.value("SELECT opened_at FROM cases WHERE seq = 1")
    assert await which(until=opened) == []
    assert await which(since=opened) == [1, 2, 3, 4, 5]
    ids = await desk.rows("SELECT id FROM cases WHERE seq IN (2, 5)")
    assert await which(ids=tuple(row["id"] for row in ids)) == [2, 5]
    with pytest.raises(PermanentError, match="there is no case 'HELP-2-HELP-99'"):
        await places(desk.engine, ["HELP-2-HELP-99"])


@pytest.mark.parametrize(
    ("failures", "waits"),
    [
        ([PaceError("not yet", retry_after=40.0)] * 5, [40.0] * 5),
        ([TransientError("busy", retry_after=7.0), TransientError("away")], [7.0, 1.0]),
    ],
)
async def test_it_waits_for_its_turn(desk: Any, mail: Any, failures: list[Exception], waits: list[float]) -> None:
    await registered(desk, mail, "sprawa")
    csd, slept = UnderMapping(desk), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    csd.failures.extend(failures)
    assert [one.result for one in await told(desk, trial(csd, sleep=sleep))] == [Fate.SAME]
    assert slept == waits


@pytest.mark.parametrize("error", [TransientError("away"), MisconfiguredError("the token is refused")])
async def test_a_csd_that_is_away_ends_it(desk: Any, mail: Any, error: Exception) -> None:
    await registered(desk, mail, "sprawa")
    csd = UnderMapping(desk)

    async def sleep(_: float) -> None:
        pass

    csd.failures.extend([error] * 3)
    with pytest.raises(type(error), match=str(error)):
        await told(desk, trial(csd, sleep=sleep))


async def test_a_connector_that_cannot_tell(desk: Any) -> None:
    mute = MemoryCsd(capabilities=frozenset(Capability) - {Capability.PREVIEW})
    with pytest.raises(PermanentError, match="the CSD memory cannot tell beforehand"):
        await told(desk, trial(mute))


RAW = RawTicket("Temat", "Konta", "request", "open", "30", "a@example.org", {"Kanał": "E-mail", "Inne": "x"})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda raw: raw, []),
        (lambda raw: replace(raw, queue="KONTA", type="Request"), []),
        (lambda raw: replace(raw, subject="temat"), ["subject"]),
        (lambda raw: replace(raw, queue=None, status="closed"), []),
        (lambda raw: replace(raw, queue=""), ["queue"]),
        (lambda raw: replace(raw, fields={"Kanał": "e-mail"}), ["Kanał"]),
        (lambda raw: replace(raw, fields={}), []),
    ],
)
def test_only_what_is_told_is_compared(change: Callable[[RawTicket], RawTicket], expected: list[str]) -> None:
    """Another state is no difference by itself: what it means is compared elsewhere."""
    for found in (differences(change(RAW), RAW, RAW), differences(change(RAW), RAW, None)):
        assert [d.field for d in found] == expected
    assert {d.because for d in differences(change(RAW), RAW, None)} <= {Because.MAPPING}
