"""What the connector makes of Znuny's answers: each error shape that was recorded, and its traps."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from connectors.csd.znuny.znunyhands import MAPPING, connector
from okienko.connectors.csd.znuny.client import ZnunyCsd
from okienko.connectors.csd.znuny.wire import ZnunyRefusedError
from okienko.plugins.csd import TicketChange, TicketGoneError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.testing.conformance.csdbase import new_file, registration
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus
from rigs.csdfake import plain, told
from rigs.znuny import FakeZnuny


async def made(csd: ZnunyCsd) -> CsdRef:
    one = registration()
    return (await csd.create([one]))[one.correlation_id]


async def test_what_a_ticket_is_made_of(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    one = registration()
    ref = (await csd.create([one]))[one.correlation_id]
    ticket = znuny.tickets[int(ref.id)]
    assert ref.number == ticket["TicketNumber"]
    assert ticket["Fields"] == {"OkienkoID": str(one.correlation_id), "OkienkoChannel": "poczta"}
    assert (ticket["Queue"], ticket["State"], ticket["Priority"]) == ("Konta", "open", "3 normal")
    assert ticket["Article"][0]["From"] == "Jan Kowalski <jan.kowalski@example.org>"
    assert ticket["Article"][0]["Body"] == one.description
    read = await csd.get(ref)
    assert read is not None
    assert read.notes == ()
    assert read.fields == {"channel": "poczta"}


async def test_an_ended_session_is_renewed_once(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    znuny.sessions.clear()
    assert await csd.get(ref) is not None
    assert len(znuny.sessions) == 1


async def test_many_at_once_share_a_session(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    await asyncio.gather(*(csd.find([uuid4()]) for _ in range(8)))
    assert len(znuny.sessions) == 1


async def test_a_session_that_is_never_accepted_is_a_wrong_setting(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    znuny.refuses_sessions = True
    with pytest.raises(MisconfiguredError, match="refuses its session"):
        await csd.find([uuid4()])


async def test_a_wrong_password(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    znuny.password = "inne"
    with pytest.raises(MisconfiguredError, match="USER and PASSWORD") as caught:
        await csd.create([registration()])
    assert "sekret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('recovery = "Konta"', 'recovery = "Kont"'), "znuny.toml:5"),
        (('recovery = "Konta"', 'recovery = "Tajna"'), "znuny.toml:5"),
        (('default = "Unclassified"', 'default = "Nie ma"'), "znuny.toml:8"),
        (('open = "open"', 'open = "otwarte"'), "znuny.toml:11"),
        (('normal = "3 normal"', 'normal = "normalny"'), "znuny.toml:21"),
        (('name = "OkienkoChannel"', 'name = "Kanal"'), "znuny.toml:2"),
    ],
)
async def test_a_name_that_znuny_does_not_know_names_the_line(
    znuny: FakeZnuny, tmp_path: Path, change: tuple[str, str], line: str
) -> None:
    csd = connector(tmp_path, MAPPING.replace(*change))
    with pytest.raises(MisconfiguredError, match=line):
        await csd.create([registration()])
    assert not znuny.tickets
    await csd.stop()


async def test_a_correlation_field_that_the_search_ignores(znuny: FakeZnuny, tmp_path: Path) -> None:
    """Znuny lists any tickets then. "Not found" would make a second ticket of every case."""
    csd = connector(tmp_path)
    await csd.create([registration() for _ in range(60)])
    znuny.fields.discard("OkienkoID")
    with pytest.raises(MisconfiguredError, match="OkienkoID"):
        await csd.find([uuid4()])
    await csd.stop()


async def test_one_ticket_that_is_gone_does_not_hide_the_others(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    """One bad id fails a whole TicketGet."""
    refs = [await made(csd) for _ in range(9)]
    cursor = (await csd.changes(None)).cursor
    gone = znuny.tickets.pop(int(refs[4].id))
    znuny.tickets[int(refs[4].id)] = gone | {"Queue": "Tajna"}
    search, znuny.closed_queues = znuny._search, {}

    def searched(body: dict[str, object]) -> dict[str, object]:
        znuny.closed_queues = {}
        found = search(body)
        znuny.closed_queues = {"Tajna": 7}
        return found

    znuny._search = searched  # type: ignore[method-assign,assignment]  # between the search and the reading a ticket goes
    told_of = {ref.number for ref in (await csd.changes(cursor)).refs}
    assert told_of == {ref.number for ref in refs} - {refs[4].number}


async def test_an_id_is_never_two(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    one, other = await made(csd), await made(csd)
    asked = len(znuny.requests)
    for text in (f"{one.id},{other.id}", "0/../Search", "", "-1", "٣"):
        assert await csd.get(CsdRef(backend="znuny", number=text, id=text)) is None
    assert len(znuny.requests) == asked


async def test_a_ticket_is_read_by_its_number_alone(csd: ZnunyCsd) -> None:
    ref = await made(csd)
    await made(csd)
    read = await csd.get(CsdRef(backend="znuny", number=ref.number))
    assert read is not None
    assert read.ref == ref


async def test_the_id_of_another_installation_is_no_ticket(csd: ZnunyCsd) -> None:
    ref, other = await made(csd), await made(csd)
    assert await csd.get(CsdRef(backend="znuny", number=ref.number, id=other.id)) is None


async def test_a_ticket_that_may_not_be_changed(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    znuny.read_only.add(int(ref.id))
    with pytest.raises(MisconfiguredError, match="rw"):
        await csd.comment(ref, "k", "Notatka.")


async def test_an_unknown_owner_is_refused_for_good(csd: ZnunyCsd) -> None:
    ref = await made(csd)
    with pytest.raises(ZnunyRefusedError, match="Owner"):
        await csd.change(ref, TicketChange(assignee="nikt"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (plain(500, "HTTP::REST Error while determine Operation for request URI '/Ticket'."), MisconfiguredError),
        (plain(500, "Error while decoding request content."), PermanentError),
        (plain(500, "Ticket could not be created, please contact the system administrator!"), TransientError),
        (httpx.Response(500, html="<h1>Internal Server Error</h1>"), TransientError),
        (httpx.Response(503, html="<h1>Zły dzień</h1>"), TransientError),
        (httpx.Response(404, html="nie ma"), MisconfiguredError),
        (httpx.Response(403, html="nie wolno"), MisconfiguredError),
        (httpx.Response(413, html="za duże"), PermanentError),
        (httpx.Response(302, headers={"Location": "https://inne.example.org/"}), MisconfiguredError),
        (httpx.Response(200, html="<html>portal</html>"), PermanentError),
        (told(200, [1]), PermanentError),
        (told(200, {"Error": {"ErrorCode": "SessionCreate.AuthFail", "ErrorMessage": "x"}}), MisconfiguredError),
        (told(200, {}), MisconfiguredError),
        (httpx.ConnectError("refused"), TransientError),
        (httpx.ReadTimeout("late"), TransientError),
    ],
)
async def test_each_answer_has_its_error(
    csd: ZnunyCsd, znuny: FakeZnuny, answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    znuny.always = answer
    with pytest.raises(error) as caught:
        await csd.find([uuid4()])
    assert type(caught.value) is error


async def test_what_was_refused_before_it_began_is_told_apart(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    znuny.always = httpx.Response(429, headers={"Retry-After": "120"})
    with pytest.raises(TransientError) as caught:
        await csd.find([uuid4()])
    assert caught.value.retry_after == 120


async def test_a_missing_operation_is_named(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    znuny.operations.discard("TicketHistoryGet")
    ref = await made(csd)
    with pytest.raises(MisconfiguredError, match="GenericTicketConnectorREST"):
        await csd.close(ref, "Gotowe.")


async def test_a_solution_is_not_lost_between_state_and_article(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    """TicketUpdate sets the state first: a failure after it leaves a closed ticket."""
    ref = await made(csd)
    await csd.comment(ref, "k", "Notatka.")
    request = znuny.requests[-1]
    assert request.method == "PATCH"
    written = len(znuny.requests)
    await csd.close(ref, "Hasło ustawione.")
    patches = [json.loads(r.content) for r in znuny.requests[written:] if r.method == "PATCH"]
    assert ["Article" in patch for patch in patches] == [True, False]
    assert ["Ticket" in patch for patch in patches] == [False, True]
    ticket = await csd.get(ref)
    assert ticket is not None
    assert ticket.solution == "Hasło ustawione."


async def test_a_ticket_is_closed_with_the_same_words_again(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    await csd.close(ref, "Gotowe.")
    znuny.set(int(ref.id), {"State": "open"})
    await csd.close(ref, "Gotowe.")
    ticket = await csd.get(ref)
    assert ticket is not None
    assert [note.text for note in ticket.notes] == ["Gotowe.", "Gotowe."]


async def test_a_state_that_was_set_and_told_as_failed(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    await csd.comment(ref, "k", "Notatka.")
    znuny.fails_after_state = 1
    with pytest.raises(TransientError):
        await csd.change(ref, TicketChange(subject="Inny"))
    await csd.change(ref, TicketChange(subject="Inny"))
    ticket = await csd.get(ref)
    assert ticket is not None
    assert ticket.subject == "Inny"


async def test_waiting_has_an_end(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    await csd.change(ref, TicketChange(status=TicketStatus.PENDING))
    body = next(json.loads(r.content) for r in reversed(znuny.requests) if r.method == "PATCH")
    assert body["Ticket"] == {"State": "pending reminder", "PendingTime": {"Diff": 7 * 24 * 60}}


async def test_a_public_solution_when_it_is_wanted(znuny: FakeZnuny, tmp_path: Path) -> None:
    csd = connector(tmp_path, SOLUTION_PUBLIC="true")
    ref = await made(csd)
    await csd.close(ref, "Gotowe.")
    assert znuny.tickets[int(ref.id)]["Article"][-1]["IsVisibleForCustomer"] == 1
    await csd.stop()


@pytest.mark.parametrize("old", [False, True])
async def test_a_merged_ticket_says_into_which(csd: ZnunyCsd, znuny: FakeZnuny, *, old: bool) -> None:
    ref, other = await made(csd), await made(csd)
    znuny.merge(int(ref.id), int(other.id), old=old)
    ticket = await csd.get(ref)
    assert ticket is not None
    assert ticket.merged_into == other
    assert ticket.status is TicketStatus.CLOSED


async def test_foreign_files_are_compared_by_content(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    article = {"Subject": "Plik", "Body": "plik", "ContentType": "text/plain"}
    znuny.article(int(ref.id), article, [("a.txt", "text/plain", b"jeden"), ("b.txt", "text/plain", b"trzy!")], by=3)
    await csd.attach(ref, new_file("a.txt", b"jeden"))
    await csd.attach(ref, new_file("a.txt", b"inne!"))
    ticket = await csd.get(ref)
    assert ticket is not None
    assert [f.filename for f in ticket.files] == ["a.txt", "b.txt", "a.txt"]
    await csd.attach(ref, new_file("b.txt", b"trzy!"))
    assert len(znuny.tickets[int(ref.id)]["Article"]) == 3


async def test_too_large_a_file_is_refused_before_it_is_read(csd: ZnunyCsd) -> None:
    ref = await made(csd)
    file = new_file("duży.bin", b"x")
    too_large = type(file)(file.filename, file.media_type, 33 << 20, file.sha256, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(PermanentError, match="octets"):
        await csd.attach(ref, too_large)


async def test_a_lost_answer_is_looked_for(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    znuny.fault = Fault.LOST_ANSWER
    await made(csd)
    assert len(znuny.tickets) == 1


async def test_a_deleted_ticket_is_gone(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    ref = await made(csd)
    znuny.tickets.clear()
    with pytest.raises(TicketGoneError):
        await csd.attach(ref, new_file("a", b"a"))


async def test_a_cursor_of_something_else(csd: ZnunyCsd) -> None:
    for text in ("", "x", "[]", "{}", '{"at": "x"}', '{"at": 1, "told": []}', "[" * 50000):
        with pytest.raises(PermanentError, match="cursor"):
            await csd.changes(text)


async def test_the_pages_of_a_busy_second(csd: ZnunyCsd, znuny: FakeZnuny) -> None:
    cursor = (await csd.changes(None)).cursor
    refs = [await made(csd) for _ in range(25)]
    numbers: list[str] = []
    more = True
    while more:
        answer = await csd.changes(cursor, limit=4)
        numbers += [ref.number for ref in answer.refs]
        cursor, more = answer.cursor, answer.more
    assert sorted(numbers) == sorted(ref.number for ref in refs)
    znuny.tick()
    again = await csd.changes(cursor)
    assert len(again.refs) == 25
    assert (await csd.changes(again.cursor)).refs == ()


async def test_times_in_another_zone(znuny: FakeZnuny, tmp_path: Path) -> None:
    csd = connector(tmp_path, TIME_ZONE="Europe/Warsaw")
    znuny._stamp = lambda: f"{znuny.now.astimezone(csd._zone):%Y-%m-%d %H:%M:%S}"  # type: ignore[method-assign]
    cursor = (await csd.changes(None)).cursor
    ref = await made(csd)
    assert [one.number for one in (await csd.changes(cursor)).refs] == [ref.number]
    ticket = await csd.get(ref)
    assert ticket is not None
    assert ticket.created_at == znuny.now
    await csd.stop()


@pytest.mark.parametrize(
    "changes",
    [{"URL": "http://znuny.example.org/"}, {"TIME_ZONE": "Warszawa"}, {"WEBHOOK_SECRET": "krótki"}, {"PASSWORD": ""}],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(MisconfiguredError):
        connector(tmp_path, **changes)
