"""From okienko's words to Znuny's and back, without a wire."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.csd.znuny.znunyhands import MAPPING, SECRET
from okienko.connectors.csd.znuny import mapping as words
from okienko.plugins.csd import ForgedNoticeError, WebhookRequest
from okienko.plugins.csdmapping import CsdMapping, load_mapping
from okienko.plugins.csdnotes import mark_of, marked
from okienko.plugins.csdtexts import NO_TITLE
from okienko.plugins.errors import PermanentError
from okienko.plugins.testing.conformance.csdbase import registration
from okienko.schemas import CsdRef, Priority, TicketStatus


@pytest.fixture
def mapping(tmp_path: Path) -> CsdMapping:
    (tmp_path / "m.toml").write_text(MAPPING, encoding="utf-8")
    return load_mapping(tmp_path / "m.toml").mapping


def found(**changes: object) -> dict[str, object]:
    return {
        "TicketID": 3, "TicketNumber": "2026", "Title": "t", "State": "open", "StateType": "open", "Queue": "Okienko",
        "Priority": "3 normal", "Owner": "ewa", "Created": "2026-01-07 09:00:00", "Changed": "2026-01-07 09:00:01",
    } | changes  # fmt: skip


def article(number: int, body: str, by: int = 2, **more: object) -> dict[str, object]:
    return {
        "ArticleID": number, "Body": body, "CreateBy": by, "CreateTime": "2026-01-07 09:00:00", "IsVisibleForCustomer": "0",
        "From": "x",
    } | more  # fmt: skip


def test_a_name_cannot_add_an_address(mapping: CsdMapping) -> None:
    one = replace(registration(), requester_name='Zły <zly@example.org>, "Jan\r\nBcc: x"')
    sender = words.new_ticket(one, mapping)["Article"]["From"]
    assert sender == "Zły zly@example.org Jan Bcc: x <jan.kowalski@example.org>"


def test_a_ticket_without_a_person_or_words(mapping: CsdMapping) -> None:
    one = replace(registration(), requester=None, requester_name=None, subject="\x00", description=" ")
    body = words.new_ticket(one, mapping)
    assert body["Ticket"]["Title"] == NO_TITLE
    assert body["Ticket"]["CustomerUser"] == "nieznany"
    assert body["Article"]["Body"]


def test_marks_of_others_count_for_nothing(mapping: CsdMapping) -> None:
    ours = marked("Nasza.", "k")
    shown = found(Article=[article(9, ours, by=3), article(8, ours), article(7, "opis", by=3)])
    notes = words.ticket(shown, mapping, UTC, "2").notes
    assert [(n.id, n.key, n.text) for n in notes] == [("8", mark_of("k"), "Nasza."), ("9", None, ours)]


def test_a_first_article_of_ours_is_a_note(mapping: CsdMapping) -> None:
    (note,) = words.ticket(found(Article=[article(7, marked("Nasza.", "k"))]), mapping, UTC, "2").notes
    assert note.text == "Nasza."


@pytest.mark.parametrize(
    ("state", "kind", "status"),
    [
        ("open", "open", TicketStatus.OPEN),
        ("CLOSED Successful", "closed", TicketStatus.CLOSED),
        ("zamknięte u dostawcy", "closed", TicketStatus.CLOSED),
        ("merged", "merged", TicketStatus.CLOSED),
        ("removed", "removed", TicketStatus.CLOSED),
        ("pending reminder", "pending reminder", TicketStatus.PENDING),
        ("u dostawcy", "open", TicketStatus.OPEN),
    ],
)
def test_states(mapping: CsdMapping, state: str, kind: str, status: TicketStatus) -> None:
    ticket = words.ticket(found(State=state, StateType=kind), mapping, UTC, "2")
    assert (ticket.raw_status, ticket.status) == (state, status)


def test_ids_are_text_whatever_they_come_as(mapping: CsdMapping) -> None:
    files = [{"FileID": 1, "Filename": "a", "FilesizeRaw": 58}, {"FileID": "2", "Filename": "b", "FilesizeRaw": "59"}]
    shown = found(TicketID="3", TicketNumber=2026, Article=[article(7, "opis", Attachment=files)])
    ticket = words.ticket(shown, mapping, UTC, "2")
    assert ticket.ref == CsdRef(backend="znuny", number="2026", id="3")
    assert [(f.id, f.size) for f in ticket.files] == [("7:1", 58), ("7:2", 59)]
    assert ticket.priority is Priority.NORMAL


def test_empty_fields_are_none() -> None:
    shown = {"DynamicField": [{"Name": "A", "Value": None}, {"Name": "B", "Value": ""}, {"Name": "C", "Value": "c"}]}
    assert words.dynamic(shown) == {"C": "c"}
    assert words.correlation({"DynamicField": [{"Name": "A", "Value": "nie uuid"}]}, "A") is None


def test_times_are_read_in_the_zone_of_znuny() -> None:
    assert words.moment("2026-07-07 09:00:00", ZoneInfo("Europe/Warsaw")) == datetime(2026, 7, 7, 7, tzinfo=UTC)
    for text in (None, "", "2026-07-07T09:00:00Z"):
        with pytest.raises(PermanentError):
            words.moment(text, UTC)


def test_how_often_it_was_closed(mapping: CsdMapping) -> None:
    names = [
        "%%new%%open%%",
        "%%open%%closed successful%%",
        "%%closed successful%%open%%",
        "%%open%%closed unsuccessful%%",
        "x",
    ]
    history = [{"HistoryType": "StateUpdate", "Name": name} for name in names]
    other = {"HistoryType": "TypeUpdate", "Name": "%%open%%closed successful%%"}
    assert words.times_closed([*history, other], mapping) == 2


@given(st.text())
def test_what_is_sent_can_be_sent(text: str) -> None:
    words.title_of(text).encode()
    assert not {c for c in words.title_of(text) if c < " "}
    assert 0 < len(words.title_of(text)) <= 255


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"TicketID": 7, "TicketNumber": "20"}, ["7"]),
        ({"Ticket": {"TicketID": "8", "TicketNumber": "21"}}, ["8"]),
        ({"Event": {"TicketID": "9"}}, ["9"]),
        ({"Tickets": [{"TicketID": 1}, {"TicketID": "2"}]}, ["1", "2"]),
    ],
)
def test_webhooks(body: object, ids: list[str]) -> None:
    request = WebhookRequest({"x-okienko-secret": SECRET}, json.dumps(body).encode())
    assert [ref.id for ref in words.notified(request, SECRET)] == ids
    with pytest.raises(ForgedNoticeError):
        words.notified(replace(request, headers={"x-okienko-secret": f"{SECRET}x"}), SECRET)


@pytest.mark.parametrize("bad", ["1,2", "-1", "x", None, "٣"])
def test_a_webhook_with_something_else_for_an_id(bad: object) -> None:
    request = WebhookRequest({"x-okienko-secret": SECRET}, json.dumps({"TicketID": bad}).encode())
    with pytest.raises(PermanentError, match="TicketID"):
        words.notified(request, SECRET)
