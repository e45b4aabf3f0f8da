"""RT's records to tickets, registrations to RT's fields, the cursor. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.connectors.csd.rt import mapping as rt
from okienko.connectors.csd.rt.cursor import OVERLAP, Cursor
from okienko.connectors.csd.rt.settings import RtCsdSettings
from okienko.plugins import PluginContext
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.csdnotes import mark_of, marked
from okienko.plugins.csdtexts import clean
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.testing.conformance.csd import registration
from okienko.schemas import CsdRef, Priority, TicketStatus

MAPPING = load_mapping(Path(__file__).parents[2] / "rigs" / "rtmapping.toml").mapping
CASE = UUID("0c2f3f1e-93a0-4a67-8f0b-6a1d3b2c4d5e")
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)

RECORD = {
    "id": 7, "Subject": "Temat", "Status": "stalled", "Priority": "60", "Queue": {"id": "3", "Name": "Helpdesk", "type": "queue"},
    "Owner": {"id": "zofia", "type": "user"}, "Created": "2026-01-05T08:31:00Z", "LastUpdated": "2026-01-05T09:00:00Z",
    "CustomFields": [
        {"id": "2", "name": "OkienkoID", "type": "customfield", "values": [str(CASE)]},
        {"id": "3", "name": "Kanal", "type": "customfield", "values": ["email"]},
        {"id": "4", "name": "Inne", "type": "customfield", "values": []},
    ],
}  # fmt: skip


def test_a_record_as_a_ticket() -> None:
    ticket = rt.ticket_of(RECORD, MAPPING, number=7, version='"12"', solution_field="Kanal")
    assert ticket.ref == CsdRef(backend="rt", number="7")
    assert (ticket.correlation_id, ticket.status, ticket.raw_status) == (CASE, TicketStatus.PENDING, "stalled")
    assert (ticket.queue, ticket.assignee, ticket.priority) == ("Helpdesk", "zofia", Priority.HIGH)
    assert (ticket.created_at, ticket.version, ticket.solution) == (
        datetime(2026, 1, 5, 8, 31, tzinfo=UTC),
        '"12"',
        "email",
    )
    assert ticket.fields == {"channel": "email"}


def test_nobody_an_unseen_queue_and_an_empty_field_are_none() -> None:
    bare = RECORD | {"Owner": {"id": "Nobody"}, "Queue": {"id": "5"}, "CustomFields": [], "Priority": "7"}
    ticket = rt.ticket_of(bare, MAPPING, number=7, version=None)
    assert (ticket.assignee, ticket.queue, ticket.correlation_id, ticket.priority) == (None, None, None, None)


def test_an_unknown_state_names_the_table() -> None:
    with pytest.raises(PermanentError, match=r"'odłożone'.*states\.read"):
        rt.ticket_of(RECORD | {"Status": "odłożone"}, MAPPING, number=7, version=None)


def test_a_registration_as_rt_takes_it() -> None:
    one = replace(registration(CASE, "Dwa\nwiersze\x00 " + "x" * 300), requester_name='Jan "Mały" <Kowalski>')
    body = rt.body_of(one, MAPPING, quiet="TransSquelchMailTo")
    assert body["Queue"] == "Konta"
    assert body["Subject"].startswith("Dwa wiersze x")
    assert len(body["Subject"]) == 200
    assert body["Requestor"] == ['"Jan  Mały   Kowalski" <jan.kowalski@example.org>']
    assert body["TransSquelchMailTo"] == ["jan.kowalski@example.org"]
    assert body["Starts"] == "2026-01-05T08:30:00Z"
    assert body["Priority"] == 30
    assert body["CustomFields"] == {"OkienkoID": str(CASE), "Kanal": "email", "Numer okienka": one.number}


def test_nobody_is_squelched_without_a_requester() -> None:
    body = rt.body_of(replace(registration(CASE), requester=None), MAPPING, quiet="SquelchMailTo")
    assert {"Requestor", "SquelchMailTo"}.isdisjoint(body)


@pytest.mark.parametrize("text", ["High", "", "3.5", "1e9", "９"])
def test_a_priority_is_a_number(text: str) -> None:
    with pytest.raises(PermanentError, match="no number"):
        rt.number_of(text)


def test_values_cannot_leave_their_quotes() -> None:
    assert rt.quoted("O'Brien\\' OR id > 0") == "'O\\'Brien\\\\\\' OR id > 0'"


@given(st.text())
def test_whatever_is_sent_is_json_that_rt_reads(text: str) -> None:
    """RT's parser refuses half a surrogate pair, PostgreSQL refuses NUL."""
    cleaned = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert json.loads(json.dumps(cleaned)) == cleaned


@given(st.text())
def test_a_file_always_has_a_name(name: str) -> None:
    found = rt.filename_of(name)
    assert found not in ("", "0")
    assert len(found) <= 225
    assert not set('"/\\\r\n\x00') & set(found)


@pytest.mark.parametrize("number", ["", "x", "12a", "-1", "٣", "1" * 30])
def test_numbers_that_rt_never_gave(number: str) -> None:
    assert rt.number_in(CsdRef(backend="rt", number=number)) is None


def history(*entries: tuple[str, str, str]) -> list[dict]:
    """Transactions of id, type and new value."""
    return [
        {"id": number, "Type": kind, "NewValue": value, "Created": "2026-01-05T08:31:00Z", "Creator": {"id": "zofia"}}
        for number, kind, value in entries
    ]


def test_notes_are_what_people_wrote() -> None:
    """Plain text before HTML, in order, ours by their mark, no file carriers, no descriptions."""
    texts = [
        rt.Text("1", "text/plain", "opis sprawy"),
        rt.Text("9", "text/html", "<div>ala&nbsp;&lt;b&gt;</div><div>kot</div>"),
        rt.Text("10", "text/html", "<p>to nie</p>"),
        rt.Text("10", "text/plain", "to tak"),
        rt.Text("11", "text/plain", marked("nasza", "k")),
        rt.Text("12", "text/plain", marked(rt.file_note("a" * 64), "plik")),
    ]
    entries = history(
        ("1", "Create", ""),
        ("10", "Comment", ""),
        ("9", "Correspond", ""),
        ("11", "Comment", ""),
        ("12", "Comment", ""),
    )
    notes = rt.notes_of(entries, texts)
    assert [(n.id, n.public) for n in notes] == [("9", True), ("10", False), ("11", False)]
    assert [n.text.replace("\xa0", " ").split() for n in notes] == [["ala", "<b>", "kot"], ["to", "tak"], ["nasza"]]
    assert [n.key for n in notes] == [None, None, mark_of("k")]


def test_a_digest_is_believed_only_with_our_mark() -> None:
    assert rt.digest_in(rt.file_note("a" * 64)) is None
    assert rt.digest_in(marked(rt.file_note("a" * 64), "k")) == "a" * 64
    texts = [rt.Text("5", "text/plain", marked(rt.file_note("b" * 64), "k"))]
    rows = [
        {"id": "1", "Filename": "a.pdf", "ContentLength": "3", "TransactionId": "5"},
        {"id": "2", "Filename": "b.pdf", "ContentLength": "4", "TransactionId": "6"},
        {"id": "3", "Filename": "", "TransactionId": "6"},
    ]
    assert [(f.filename, f.size, f.sha256) for f in rt.files_of(rows, texts)] == [
        ("a.pdf", 3, "b" * 64),
        ("b.pdf", 4, None),
    ]


def test_closings_are_counted() -> None:
    entries = history(
        ("1", "Status", "open"), ("2", "Status", "resolved"), ("3", "Status", "open"), ("4", "Status", "rejected")
    )
    assert rt.times_closed(entries, MAPPING) == 2


def test_differences_know_rts_words() -> None:
    assert rt.differences(RECORD, {"Queue": "HELPDESK", "Owner": "zofia", "Priority": 60, "Subject": "Temat"}) == []
    assert rt.differences(RECORD, {"Owner": "Nobody", "Status": "open"}) == ["Owner", "Status"]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 600)), max_size=30))
def test_a_cursor_survives_being_kept(told: list[tuple[int, int]]) -> None:
    place = Cursor(NOW, 5, 9).begin(NOW + timedelta(hours=1))
    for number, second in told:
        place = place.tell(number, NOW + timedelta(seconds=second), NOW + timedelta(seconds=300))
        assert place.is_told(number, NOW + timedelta(seconds=second))
        assert Cursor.parse(place.text()) == place
    assert Cursor.parse(place.end().text()) == place.end()


def test_a_settled_change_is_told_once_and_a_fresh_one_again() -> None:
    updated = NOW - timedelta(seconds=10)
    place = Cursor(NOW - timedelta(minutes=1), 0, 0).begin(NOW).tell(1, updated, NOW).tell(2, NOW, NOW).end()
    assert place.start == NOW - OVERLAP
    later = place.begin(NOW + timedelta(minutes=1))
    assert later.is_told(1, updated)
    assert not later.is_told(1, updated + timedelta(seconds=1)), "it changed once more"
    assert not later.is_told(2, NOW), "its second was not over"


def test_what_is_told_is_forgotten_when_no_look_reaches_it() -> None:
    place = Cursor(NOW - timedelta(hours=3), 0, 0).begin(NOW)
    for number in range(1000):
        place = place.tell(number, NOW - timedelta(hours=2), NOW)
    assert place.end().told == {}


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "null", "{}", '{"at":"x","txn":1,"head":1}', '{"at":1,"txn":1,"head":1,"told":[]}']
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(PermanentError, match="begin with none"):
        Cursor.parse(text)


def test_settings_go_together(tmp_path: Path) -> None:
    context = PluginContext(home=tmp_path, environ={"OKIENKO_CSD_RT_URL": "https://rt.example.org"})
    with pytest.raises(MisconfiguredError, match="TOKEN and MAPPING"):
        context.settings(RtCsdSettings)
    with pytest.raises(MisconfiguredError, match="OKIENKO_CSD_RT_URL"):
        PluginContext(home=tmp_path, environ={"OKIENKO_CSD_RT_URL": "http://rt.example.org"}).settings(RtCsdSettings)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("x" * 300, "x" * 200), ("ż" * 150, "ż" * 100), ("a" + "ż" * 150, "a" + "ż" * 99), (" a\n b ", "a b")],
)
def test_a_subject_is_cut_as_rt_cuts_it(text: str, kept: str) -> None:
    """By octets: what is longer would look changed when it is read back."""
    assert rt.subject_of(text) == kept
