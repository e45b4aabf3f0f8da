"""What the kit does not ask: RT's own mails, its webhook, its check, second tickets, repairs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from connectors.csd.rthands import RtHands
from connectors.csd.test_rt_conformance import connector
from okienko.connectors.csd.rt.client import RtCsd
from okienko.plugins.csd import WebhookRequest
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.findings import Severity
from okienko.plugins.testing.conformance.csd import registration
from okienko.schemas import TicketStatus
from rigs.rt5 import MAPPING, Rt5


@pytest_asyncio.fixture
async def backend(rt: Rt5) -> AsyncIterator[RtCsd]:
    backend = connector(rt)
    yield backend
    await backend.stop()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """The rig's mapping with one mistake."""
    text = MAPPING.read_text()
    assert old in text
    path = tmp_path / "mapping.toml"
    path.write_text(text.replace(old, new))
    return path


async def test_a_ticket_as_rt_has_it(rt: Rt5, backend: RtCsd) -> None:
    """Queue, fields, requester and time arrive where the mapping says."""
    one = registration()
    (ref,) = (await backend.create([one])).values()
    ticket = await RtHands(rt, backend).ask("root", "GET", f"/ticket/{ref.number}?fields[Queue]=Name")
    assert ticket["Queue"]["Name"] == "Konta"
    assert ticket["Starts"] == "2026-01-05T08:30:00Z"
    assert ticket["Priority"] == "30"
    assert [person["id"] for person in ticket["Requestor"]] == [one.requester]
    fields = {field["name"]: field["values"] for field in ticket["CustomFields"]}
    assert fields == {"OkienkoID": [str(one.correlation_id)], "Kanal": ["email"], "Numer okienka": [one.number]}
    user = await RtHands(rt, backend).ask("root", "GET", f"/user/{one.requester}")
    assert user["RealName"] == "Jan Kowalski"


@pytest.mark.parametrize(
    ("mails", "about"),
    [("all", {"registered", "answered"}), ("replies", {"answered"}), ("none", set())],
)
async def test_rt_mails_the_requester_only_what_it_may(rt: Rt5, mails: str, about: set[str]) -> None:
    """RT's stock scrips send mail; of the registration the person hears from okienko alone, unless set otherwise."""
    backend = connector(rt, requestor_mails=mails)
    try:
        one = registration(subject=f"Poczta {uuid4().hex}")
        (ref,) = (await backend.create([one])).values()
        await RtHands(rt, backend).note(ref, "Odpowiedź.", public=True)
        sent = [mail for mail in rt.mails() if f"[okienko #{ref.number}]" in mail and one.requester in mail]
        kinds = {"answered" if "zofia" in mail.lower() else "registered" for mail in sent}
        assert kinds == about
    finally:
        await backend.stop()


async def test_a_second_ticket_of_a_case_is_merged_into_the_oldest(rt: Rt5, backend: RtCsd) -> None:
    """Two processes that look before either has created make two tickets; both end with the older."""
    hands, one, other = RtHands(rt, backend), registration(), connector(rt)
    looked = asyncio.Event()

    async def late(_ids: object) -> dict:
        looked.set()
        other._registering._find = other.find
        return {}

    other._registering._find = late
    try:
        first = await backend.create([one])
        assert await other.create([one]) == first
        assert looked.is_set()
        assert [ref.number for ref in await hands.tickets_of(one.correlation_id)] == [first[one.correlation_id].number]
    finally:
        await other.stop()


async def test_an_empty_correlation_field_stops_the_connector_with_the_cure(rt: Rt5, tmp_path: Path) -> None:
    """RT makes a ticket with an unknown field and says nothing."""
    backend = connector(rt, mapping=changed(tmp_path, '"OkienkoID"', '"OkienkoId2"'))
    try:
        with pytest.raises(MisconfiguredError, match=r"left its field 'OkienkoId2' empty.*ModifyCustomField"):
            await backend.create([registration()])
    finally:
        await backend.stop()


async def test_an_unknown_queue_stops_the_connector(rt: Rt5, tmp_path: Path) -> None:
    backend = connector(rt, mapping=changed(tmp_path, '"Konta"', '"Kontta"'))
    try:
        with pytest.raises(MisconfiguredError, match="Kontta"):
            await backend.create([registration()])
    finally:
        await backend.stop()


async def test_a_ticket_moved_out_of_sight_is_one_tickets_trouble(rt: Rt5, backend: RtCsd) -> None:
    """Nothing else stops for it, and the error names the cure."""
    hands = RtHands(rt, backend)
    (ref,) = (await backend.create([registration()])).values()
    await hands.ask("root", "PUT", f"/ticket/{ref.number}", json={"Queue": "Tajna"})
    with pytest.raises(PermanentError, match="rights"):
        await backend.get(ref)


async def test_a_public_note_leaves_a_closed_ticket_closed(rt: Rt5, backend: RtCsd) -> None:
    """RT's scrip opens it; okienko sets it back."""
    (ref,) = (await backend.create([registration()])).values()
    await backend.close(ref, "Gotowe.")
    await backend.comment(ref, "k", "Dziękujemy.", public=True)
    ticket = await backend.get(ref)
    assert ticket is not None
    assert ticket.status is TicketStatus.CLOSED


async def test_the_solution_in_a_field(rt: Rt5) -> None:
    backend = connector(rt, solution_field="Numer okienka")
    try:
        (ref,) = (await backend.create([registration()])).values()
        for solution in ("Pierwsze rozwiązanie.", "Drugie rozwiązanie."):
            await backend.close(ref, solution)
            ticket = await backend.get(ref)
            assert ticket is not None
            assert ticket.solution == solution
            assert [note.text for note in ticket.notes][-1] == solution
            await backend.reopen(ref, "Dalej nie działa.")
    finally:
        await backend.stop()


@contextmanager
def listener(port: int) -> Iterator[list[WebhookRequest]]:
    """What RT posts."""
    posted: list[WebhookRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posted.append(WebhookRequest({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield posted
        finally:
            server.shutdown()
            thread.join()


async def test_the_scrip_posts_what_others_change(rt: Rt5, backend: RtCsd) -> None:
    """The scrip of docs/csd-rt-setup.pl tells of a clerk's note, signed, and not of okienko's own."""
    with listener(rt.webhook_port) as posted:
        (ref,) = (await backend.create([registration()])).values()
        await backend.comment(ref, "k", "Od okienka.")
        assert posted == []
        await RtHands(rt, backend).note(ref, "Od Zofii.")
        assert [backend.notified(one) for one in posted] == [(ref,)]


async def test_deleted_tickets_are_told(rt: Rt5, backend: RtCsd) -> None:
    """No search of RT finds them."""
    refs = list((await backend.create([registration(), registration()])).values())
    cursor = (await backend.changes(None)).cursor
    for ref in refs:
        await RtHands(rt, backend).remove(ref)
        assert await backend.get(ref) is None
    numbers = {ref.number for ref in refs}
    told, cursor = await walk(backend, cursor)
    assert numbers <= told
    again, _ = await walk(backend, cursor)
    assert numbers.isdisjoint(again)


async def walk(backend: RtCsd, cursor: str) -> tuple[set[str], str]:
    """All that is told from there on."""
    told: set[str] = set()
    while True:
        answer = await backend.changes(cursor)
        told |= {ref.number for ref in answer.refs}
        cursor = answer.cursor
        if not answer.more:
            return told, cursor


async def test_check_of_a_right_mapping(rt: Rt5, backend: RtCsd) -> None:
    await backend.create([registration(), registration()])
    tickets = rt.sql("SELECT count(*) FROM tickets")
    findings = await backend.check()
    assert [f for f in findings if f.severity is Severity.ERROR] == []
    assert any("5.0" in f.message for f in findings)
    assert rt.sql("SELECT count(*) FROM tickets") == tickets, "the check made a ticket"


MISTAKES = [
    ('recovery = "Konta"', 'recovery = "Kontto"', "5", "no queue 'Kontto'", "Konta"),
    ('recovery = "Konta"', 'recovery = "Tajna"', "5", "no queue 'Tajna'", "the system has"),
    ('default = "Helpdesk"', 'unlock = "Helpdesk"', "3", "not every case has a queue", "default"),
    ('correlation = "OkienkoID"', 'correlation = "OkienkoIDs"', "1", "no custom field 'OkienkoIDs'", "OkienkoID"),
    ('name = "Kanal"', 'name = "Kanały"', "23", "no custom field 'Kanały'", "Kanal"),
    ('pending = "stalled"', 'pending = "waiting"', "9", "no state 'waiting'", "lifecycle"),
    ('closed = "resolved"', 'closed = "zamknięte"', "10", "no state 'zamknięte'", "lifecycle"),
    ('rejected = "closed"', 'odrzucone = "closed"', "14", "no state 'odrzucone'", "lifecycle"),
    ('high = "60"', 'high = "High"', "19", "'High' is no number", "number"),
    ("[queues]", '[types]\ndefault = "Incident"\n\n[queues]', "3", "no types", "custom field"),
]


@pytest.mark.parametrize(("old", "new", "line", "message", "cure"), MISTAKES, ids=[m[1] for m in MISTAKES])
async def test_check_finds_planted_mistakes(
    rt: Rt5, backend: RtCsd, tmp_path: Path, old: str, new: str, line: str, message: str, cure: str
) -> None:
    """Each is one finding, with its line and its cure, and nothing is made in RT."""
    await backend.create([registration()])
    tickets = rt.sql("SELECT count(*) FROM tickets")
    wrong = connector(rt, mapping=changed(tmp_path, old, new))
    try:
        found = [f for f in await wrong.check() if f.severity is not Severity.OK and "yet" not in f.message]
        if "state" in message:
            # Each queue has its own lifecycle, so that each is named.
            assert {f.subject for f in found} == {f"mapping.toml:{line}"}
        (first, *_) = found
        assert first.subject == f"mapping.toml:{line}"
        assert message in first.message
        assert cure in first.cure
    finally:
        await wrong.stop()
    assert rt.sql("SELECT count(*) FROM tickets") == tickets


async def test_check_of_a_wrong_field_in_rt(rt: Rt5, backend: RtCsd) -> None:
    """Kind, number of values, UniqueValues: RT's own settings that do not fit."""
    await backend.create([registration()])
    number = rt.sql("SELECT id FROM customfields WHERE name = 'OkienkoID'")
    for change, back, message in (
        ("uniquevalues = 1", "uniquevalues = 0", "UniqueValues"),
        ("maxvalues = 0", "maxvalues = 1", "several values"),
        ("type = 'Select'", "type = 'Freeform'", "type Select"),
    ):
        rt.sql(f"UPDATE customfields SET {change} WHERE id = {number}")
        try:
            findings = [f for f in await backend.check() if message in f.message]
        finally:
            rt.sql(f"UPDATE customfields SET {back} WHERE id = {number}")
        assert findings, message
        assert all(f.subject == "rtmapping.toml:1" and f.cure for f in findings)


async def test_check_without_rights_or_token(rt: Rt5) -> None:
    """A user who may do nothing, and a token that is none."""
    for token, message, cure in ((rt.tokens["poor"], "no queue", "the system has: none"), ("1-1-none", "401", "TOKEN")):
        backend = connector(rt, token=SecretStr(token))
        try:
            errors = [f for f in await backend.check() if f.severity is Severity.ERROR]
            assert any(message in f.message and cure in f.cure for f in errors), errors
        finally:
            await backend.stop()


async def test_an_rt_that_is_down(rt: Rt5, backend: RtCsd) -> None:
    """Starting goes on without it; the check says it."""
    gone = connector(rt, url="http://127.0.0.1:9")
    try:
        await gone.start()
        (finding,) = await gone.check()
        assert finding.severity is Severity.ERROR
        assert "cannot connect" in finding.message
    finally:
        await gone.stop()


async def test_something_else_at_the_address(rt: Rt5) -> None:
    backend = connector(rt, url=f"{rt.url}/NoAuth")
    try:
        with pytest.raises(MisconfiguredError, match="URL"):
            await backend.start()
    finally:
        await backend.stop()


async def test_times_are_rts_and_utc(rt: Rt5, backend: RtCsd) -> None:
    """RT here lives in Warsaw."""
    (ref,) = (await backend.create([registration()])).values()
    ticket = await backend.get(ref)
    assert ticket is not None
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{rt.url}/REST/2.0/rt", headers=rt.as_user("root"))
    now = datetime.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs((now - ticket.created_at).total_seconds()) < 120
