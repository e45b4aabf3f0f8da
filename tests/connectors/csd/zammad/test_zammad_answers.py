"""What the connector makes of Zammad's answers: each error shape, and the traps."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from connectors.csd.zammad.zammadhands import MAPPING, connector
from okienko.connectors.csd.zammad.client import ZammadCsd
from okienko.connectors.csd.zammad.wire import ZammadRefusedError
from okienko.plugins.csd import TicketChange, TicketGoneError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.testing.conformance.csdbase import insist, new_file, registration
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus
from rigs.csdfake import told
from rigs.zammad import HIDDEN, FakeZammad


async def made(csd: ZammadCsd) -> CsdRef:
    one = registration()
    return (await csd.create([one]))[one.correlation_id]


def bodies(zammad: FakeZammad, method: str, path: str) -> list[dict[str, object]]:
    return [json.loads(r.content) for r in zammad.requests if r.method == method and r.url.path == f"/api/v1{path}"]


async def test_what_a_ticket_is_made_of(csd: ZammadCsd, zammad: FakeZammad) -> None:
    one = registration()
    ref = (await csd.create([one]))[one.correlation_id]
    ticket = zammad.tickets[int(ref.id)]
    assert ref.number == ticket["number"]
    assert ticket["okienko_id"] == str(one.correlation_id)
    assert (ticket["group"], ticket["state"], ticket["priority"]) == ("Konta", "open", "2 normal")
    assert (ticket["customer"], ticket["okienko_channel"]) == ("jan.kowalski@example.org", "poczta")
    assert zammad.articles[0]["body"] == one.description
    assert not zammad.articles[0]["internal"]
    read = await csd.get(ref)
    assert read is not None
    assert (read.notes, read.fields, read.assignee) == ((), {"channel": "poczta"}, None)


async def test_the_database_is_asked_and_not_the_search_index(csd: ZammadCsd, zammad: FakeZammad) -> None:
    """A ticket that was just made is not in the index yet; "not found" would make a second one."""
    await csd.find([uuid4(), uuid4()])
    (body,) = bodies(zammad, "POST", "/tickets/search")
    assert "query" not in body
    assert list(body["condition"]) == ["ticket.okienko_id"]  # type: ignore[call-overload]  # an object


async def test_a_large_batch_is_few_searches(csd: ZammadCsd, zammad: FakeZammad) -> None:
    refs = await csd.create([registration() for _ in range(60)])
    zammad.requests.clear()
    assert await csd.find(list(refs)) == refs
    assert len(zammad.requests) == 2


async def test_a_wrong_token(csd: ZammadCsd, zammad: FakeZammad) -> None:
    zammad.token = "inny"
    with pytest.raises(MisconfiguredError, match="401") as caught:
        await csd.create([registration()])
    assert "sekret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('recovery = "Konta"', 'recovery = "Kont"'), "zammad.toml:5"),
        (('recovery = "Konta"', 'recovery = "Kadry"'), "zammad.toml:5"),
        (('open = "open"', 'open = "otwarte"'), "zammad.toml:8"),
        (('normal = "2 normal"', 'normal = "normalny"'), "zammad.toml:18"),
        (('correlation = "okienko_id"', 'correlation = "okienko"'), "zammad.toml:1"),
    ],
)
async def test_a_name_that_zammad_does_not_know_names_the_line(
    zammad: FakeZammad, tmp_path: Path, change: tuple[str, str], line: str
) -> None:
    csd = connector(tmp_path, MAPPING.replace(*change))
    with pytest.raises(MisconfiguredError, match=rf"{line}\b"):
        await csd.create([registration()])
    assert not zammad.tickets
    await csd.stop()


async def test_a_field_that_is_dropped_without_a_word(csd: ZammadCsd, zammad: FakeZammad) -> None:
    """Between the look and the making somebody took the attribute away."""
    values = zammad._values
    zammad._values = lambda body: {n: v for n, v in values(body).items() if n != "okienko_id"}  # type: ignore[method-assign]
    with pytest.raises(MisconfiguredError, match="without 'okienko_id'"):
        await csd.create([registration()])


async def test_a_search_that_gives_any_tickets(csd: ZammadCsd, zammad: FakeZammad) -> None:
    await csd.create([registration() for _ in range(201)])
    zammad.ignores_filter = True
    with pytest.raises(MisconfiguredError, match="text field"):
        await csd.find([uuid4()])


async def test_two_who_make_one_customer(csd: ZammadCsd, zammad: FakeZammad) -> None:
    zammad.customer_race = 1
    one = registration()
    with pytest.raises(TransientError):
        await csd.create([one])
    zammad.customer_race = 1
    assert len(await insist(lambda: csd.create([one]))) == 1
    assert len(zammad.tickets) == 1


async def test_a_bad_address_is_refused_for_good(csd: ZammadCsd, zammad: FakeZammad) -> None:
    one = registration()
    with pytest.raises(ZammadRefusedError, match="Invalid email"):
        await csd.create([type(one)(**{n: getattr(one, n) for n in one.__slots__} | {"requester": "nikt"})])
    assert not zammad.tickets


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(500, html="<h1>Internal Server Error</h1>"), TransientError),
        (told(500, {"error": HIDDEN}), TransientError),
        (httpx.Response(503, html="<h1>Wartung</h1>"), TransientError),
        (httpx.Response(404, html="nie ma"), MisconfiguredError),
        (httpx.Response(403, html="nie wolno"), MisconfiguredError),
        (told(401, {"error": "Invalid token"}), MisconfiguredError),
        (told(403, {"error": "Not authorized"}), ZammadRefusedError),
        (told(422, {"error": HIDDEN}), MisconfiguredError),
        (httpx.Response(413, html="za duże"), PermanentError),
        (told(418, {}), PermanentError),
        (httpx.Response(302, headers={"Location": "https://inne.example.org/"}), MisconfiguredError),
        (httpx.Response(200, html="<html>portal</html>"), PermanentError),
        (told(200, {"tickets": []}), PermanentError),
        (httpx.ConnectError("refused"), TransientError),
        (httpx.ReadTimeout("late"), TransientError),
    ],
)
async def test_each_answer_has_its_error(
    csd: ZammadCsd, zammad: FakeZammad, answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    zammad.always = answer
    with pytest.raises(error) as caught:
        await csd.find([uuid4()])
    assert type(caught.value) is error


async def test_what_was_refused_before_it_began_is_told_apart(csd: ZammadCsd, zammad: FakeZammad) -> None:
    zammad.always = httpx.Response(429, headers={"Retry-After": "120"})
    with pytest.raises(TransientError) as caught:
        await csd.find([uuid4()])
    assert caught.value.retry_after == 120


async def test_an_id_is_only_digits(csd: ZammadCsd, zammad: FakeZammad) -> None:
    await made(csd)
    asked = len(zammad.requests)
    for text in ("11/../12", "-1", "٣", "search"):
        assert await csd.get(CsdRef(backend="zammad", number=text, id=text)) is None
    assert len(zammad.requests) == asked


async def test_a_ticket_is_read_by_its_number_alone(csd: ZammadCsd) -> None:
    ref = await made(csd)
    read = await csd.get(CsdRef(backend="zammad", number=ref.number))
    assert read is not None
    assert read.ref == ref
    assert await csd.get(CsdRef(backend="zammad", number="1")) is None


async def test_the_id_of_another_installation_is_no_ticket(csd: ZammadCsd) -> None:
    ref, other = await made(csd), await made(csd)
    assert await csd.get(CsdRef(backend="zammad", number=ref.number, id=other.id)) is None


async def test_a_ticket_in_a_closed_group_is_not_gone(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    zammad.tickets[int(ref.id)]["group"] = "Kadry"
    with pytest.raises(ZammadRefusedError) as caught:
        await csd.get(ref)
    assert caught.value.status == 403


async def test_a_ticket_that_may_not_be_changed(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    zammad.rights[2] = ["read"]
    with pytest.raises(PermanentError, match="read, create and change"):
        await csd.change(ref, TicketChange(subject="Inny"))


async def test_an_owner_without_rights_is_put_back_and_found_out(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    with pytest.raises(PermanentError, match="owner"):
        await csd.change(ref, TicketChange(assignee="obcy@example.org"))
    assert zammad.tickets[int(ref.id)]["owner"] == "-"


async def test_an_unknown_owner_is_refused_for_good(csd: ZammadCsd) -> None:
    with pytest.raises(ZammadRefusedError, match="owner"):
        await csd.change(await made(csd), TicketChange(assignee="nikt"))


async def test_nobody_has_it(csd: ZammadCsd) -> None:
    ref = await made(csd)
    await csd.change(ref, TicketChange(assignee="ewa@example.org"))
    await csd.change(ref, TicketChange(assignee=""))
    ticket = await csd.get(ref)
    assert ticket is not None
    assert ticket.assignee is None


async def test_a_state_of_the_mapping_that_is_gone(zammad: FakeZammad, tmp_path: Path) -> None:
    csd = connector(tmp_path, MAPPING.replace('closed = "closed"', 'closed = "zamknięte"'))
    with pytest.raises(MisconfiguredError, match=r"zammad\.toml:7"):
        await csd.close(await made(csd), "Gotowe.")
    await csd.stop()


async def test_closing_is_one_transaction(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    await csd.close(ref, "Gotowe.")
    (body,) = bodies(zammad, "PUT", f"/tickets/{ref.id}")
    assert set(body) == {"state", "article"}
    zammad.tick()
    zammad.set(int(ref.id), {"state": "open"})
    zammad.fault = Fault.LOST_ANSWER
    await insist(lambda: csd.close(ref, "Gotowe."))
    ticket = await csd.get(ref)
    assert ticket is not None
    assert [n.text for n in ticket.notes] == ["Gotowe.", "Gotowe."]
    assert ticket.solution == "Gotowe."


async def test_a_public_solution_when_it_is_wanted(zammad: FakeZammad, tmp_path: Path) -> None:
    csd = connector(tmp_path, SOLUTION_PUBLIC="true")
    await csd.close(await made(csd), "Gotowe.")
    assert not zammad.articles[-1]["internal"]
    await csd.stop()


async def test_waiting_has_an_end(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    csd._now = lambda: zammad.now
    await csd.change(ref, TicketChange(status=TicketStatus.PENDING))
    (body,) = bodies(zammad, "PUT", f"/tickets/{ref.id}")
    assert body == {"state": "pending reminder", "pending_time": "2026-01-14T09:00:00.000Z"}


async def test_a_merged_ticket_says_into_which(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref, other, child = await made(csd), await made(csd), await made(csd)
    zammad.links.append(("parent", int(ref.id), int(child.id)))
    await csd.link(ref, child)
    zammad.merge(int(ref.id), int(other.id))
    ticket = await csd.get(ref)
    assert ticket is not None
    assert ticket.merged_into == other
    assert ticket.status is TicketStatus.CLOSED
    into = await csd.get(other)
    assert into is not None
    assert into.merged_into is None


async def test_links_are_made_once(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref, other = await made(csd), await made(csd)
    await csd.link(ref, other)
    await csd.link(other, ref)
    await csd.link(ref, ref)
    assert zammad.links == [("normal", int(other.id), int(ref.id))]
    zammad.fault = Fault.LOST_ANSWER
    third = await made(csd)
    zammad.fault = Fault.LOST_ANSWER
    await insist(lambda: csd.link(ref, third))
    assert len(zammad.links) == 2


async def test_foreign_files_are_compared_by_content(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    zammad.say(int(ref.id), "plik", file=("a.txt", b"jeden"))
    await csd.attach(ref, new_file("a.txt", b"jeden"))
    assert len(zammad.articles) == 2
    await csd.attach(ref, new_file("a.txt", b"inne!"))
    assert len(zammad.articles) == 3


async def test_too_large_a_file_is_refused_before_it_is_read(csd: ZammadCsd) -> None:
    ref = await made(csd)
    file = new_file("duży.bin", b"x")
    too_large = type(file)(file.filename, file.media_type, 33 << 20, file.sha256, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(PermanentError, match="octets"):
        await csd.attach(ref, too_large)


async def test_a_ticket_that_vanishes_meanwhile(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    for method in ("_article", "_update"):
        original = getattr(zammad, method)

        def gone(*_: object) -> dict[str, object]:
            return zammad._ticket("1")

        setattr(zammad, method, gone)
        with pytest.raises(TicketGoneError):
            await (csd.comment(ref, "k", "x") if method == "_article" else csd.close(ref, "x"))
        setattr(zammad, method, original)


async def test_notes_in_html_are_read_as_text(csd: ZammadCsd, zammad: FakeZammad) -> None:
    ref = await made(csd)
    zammad.say(int(ref.id), "<div>Pierwsza &amp; druga<br>linia</div><p>Koniec</p>", kind="text/html")
    ticket = await csd.get(ref)
    assert ticket is not None
    assert [n.text for n in ticket.notes] == ["Pierwsza & druga\nlinia\nKoniec"]


async def test_more_changes_of_one_moment_than_a_page(csd: ZammadCsd, zammad: FakeZammad) -> None:
    cursor = (await csd.changes(None)).cursor
    for place in range(450):
        zammad.add({"title": "x", "group": "Users"})
        if place > 420:
            zammad.tick(0.001)
    numbers: list[str] = []
    more = True
    while more:
        answer = await csd.changes(cursor, limit=130)
        assert len(answer.refs) <= 130
        numbers += [ref.number for ref in answer.refs]
        cursor, more = answer.cursor, answer.more
    assert sorted(numbers) == sorted(one["number"] for one in zammad.tickets.values())
    zammad.tick()
    again = await csd.changes(cursor, limit=1000)
    assert len(again.refs) == 450
    assert (await csd.changes(again.cursor)).refs == ()


async def test_a_commit_that_shows_late_is_told(csd: ZammadCsd, zammad: FakeZammad) -> None:
    cursor = (await csd.changes(None)).cursor
    zammad.tick(60)
    answer = await csd.changes(cursor)
    late = zammad.add({"title": "x", "group": "Users", "updated_at": zammad.now - timedelta(seconds=30)})
    assert [ref.id for ref in (await csd.changes(answer.cursor)).refs] == [str(late["id"])]


async def test_a_cursor_of_something_else(csd: ZammadCsd) -> None:
    for text in ("", "x", "[]", "{}", '{"at": "x"}'):
        with pytest.raises(PermanentError, match="cursor"):
            await csd.changes(text)


@pytest.mark.parametrize(
    "changes",
    [{"URL": "http://zammad.example.org/"}, {"WEBHOOK_SECRET": "krótki"}, {"TOKEN": ""}, {"PENDING_DAYS": "0"}],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(MisconfiguredError):
        connector(tmp_path, **changes)
