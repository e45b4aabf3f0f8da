"""From okienko's words to Zammad's and back, without a wire."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.csd.zammad.zammadhands import MAPPING, SECRET
from okienko.connectors.csd.zammad import mapping as words
from okienko.plugins.csd import ForgedNoticeError, WebhookRequest
from okienko.plugins.csdmapping import CsdMapping, load_mapping
from okienko.plugins.csdnotes import mark_of, marked
from okienko.plugins.csdtexts import NO_TITLE
from okienko.plugins.errors import PermanentError
from okienko.plugins.testing.conformance.csdbase import registration
from okienko.schemas import CsdRef, TicketStatus

AT = "2026-01-07T09:00:00.123Z"


@pytest.fixture
def mapping(tmp_path: Path) -> CsdMapping:
    (tmp_path / "m.toml").write_text(f'{MAPPING}\n[types]\ndefault = "Incident"\n', encoding="utf-8")
    return load_mapping(tmp_path / "m.toml").mapping


def found(**changes: object) -> dict[str, object]:
    return {"id": 3, "number": "67039", "title": "t", "state": "open", "created_at": AT, "updated_at": AT} | changes


def article(number: int, body: str, by: int = 3, **more: object) -> dict[str, object]:
    return {"id": number, "body": body, "created_by_id": by, "created_at": AT, "internal": True} | more


def signed(body: bytes) -> WebhookRequest:
    mac = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    return WebhookRequest({"x-hub-signature": f"sha1={mac}"}, body)


def test_a_ticket_without_a_person_or_words(mapping: CsdMapping) -> None:
    body = words.new_ticket(replace(registration(), requester=None, subject="\x00", description=" "), mapping)
    assert body["title"] == NO_TITLE
    assert "customer_id" not in body
    assert body["article"]["body"]
    assert body["type"] == "Incident"


def test_marks_of_others_count_for_nothing(mapping: CsdMapping) -> None:
    ours = marked("Nasza.", "k")
    articles = [article(9, ours, by=4), article(8, ours), article(7, "opis", by=4)]
    notes = words.ticket(found(), articles, mapping, "3").notes
    assert [(n.id, n.key, n.text) for n in notes] == [("8", mark_of("k"), "Nasza."), ("9", None, ours)]


def test_a_first_article_of_ours_is_a_note(mapping: CsdMapping) -> None:
    (note,) = words.ticket(found(), [article(7, marked("Nasza.", "k"))], mapping, "3").notes
    assert note.text == "Nasza."


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("OPEN", TicketStatus.OPEN),
        ("closed", TicketStatus.CLOSED),
        ("closed (duplikat)", TicketStatus.CLOSED),
        ("merged", TicketStatus.CLOSED),
        ("removed", TicketStatus.CLOSED),
        ("pending close", TicketStatus.PENDING),
        ("u dostawcy", TicketStatus.OPEN),
    ],
)
def test_states(mapping: CsdMapping, state: str, status: TicketStatus) -> None:
    ticket = words.ticket(found(state=state), [], mapping, "3")
    assert (ticket.raw_status, ticket.status) == (state, status)


def test_the_solution_is_ours_or_the_last_that_the_customer_sees(mapping: CsdMapping) -> None:
    public = article(8, "Zrobione.", by=4, internal=False)
    ours = article(9, marked("Hasło ustawione.", "k"), subject=words.SOLUTION)
    opened = words.ticket(found(), [article(7, "opis"), public, ours], mapping, "3")
    assert opened.solution is None
    assert (
        words.ticket(found(state="closed"), [article(7, "opis"), public, ours], mapping, "3").solution
        == "Hasło ustawione."
    )
    assert words.ticket(found(state="closed"), [article(7, "opis"), public], mapping, "3").solution == "Zrobione."


def test_times() -> None:
    assert words.moment(AT) == datetime(2026, 1, 7, 9, 0, 0, 123000, tzinfo=UTC)
    assert words.written(words.moment("2026-01-07T10:00:00.123+01:00")) == AT
    for text in (None, "", "2026-01-07 09:00:00", "wczoraj"):
        with pytest.raises(PermanentError):
            words.moment(text)


def test_ids_are_text_whatever_they_come_as(mapping: CsdMapping) -> None:
    files = [{"id": 1, "filename": "a", "size": "58"}, {"id": 2, "filename": "b", "size": 59}]
    ticket = words.ticket(found(id="3"), [article(7, "opis", attachments=files)], mapping, "3")
    assert ticket.ref == CsdRef(backend="zammad", number="67039", id="3")
    assert [(f.id, f.size) for f in ticket.files] == [("7:1", 58), ("7:2", 59)]


def test_merged_into_the_newest_parent() -> None:
    tickets = {"5": {"id": 5, "number": "50"}, "6": {"id": 6, "number": "60"}}
    links = [
        {"link_type": kind, "link_object": "Ticket", "link_object_value": number}
        for kind, number in (("parent", 5), ("parent", 6), ("normal", 5), ("child", 5))
    ]
    assert words.merged_into(links, tickets) == CsdRef(backend="zammad", number="60", id="6")
    assert words.merged_into(links, {}) is None
    assert words.merged_into([], tickets) is None


@given(st.text())
def test_what_is_sent_can_be_sent(text: str) -> None:
    words.title_of(text).encode()
    assert not {c for c in words.title_of(text) if c < " "}
    assert 0 < len(words.title_of(text)) <= 250


def test_webhooks() -> None:
    body = json.dumps({"ticket": {"id": 7, "number": "67091", "title": "x"}, "article": {}}).encode()
    assert words.notified(signed(body), SECRET) == (CsdRef(backend="zammad", number="67091", id="7"),)
    for forged in (
        "",
        "sha1=",
        f"sha256={hashlib.sha256(body).hexdigest()}",
        "sha1=ą",
        f"sha1={hmac.new(b'inny', body, hashlib.sha1).hexdigest()}",
    ):
        with pytest.raises(ForgedNoticeError):
            words.notified(WebhookRequest({"x-hub-signature": forged}, body), SECRET)


@pytest.mark.parametrize("bad", [{"id": "1/2", "number": "1"}, {"id": -1, "number": "1"}, {"id": 1}, {}, None, "x"])
def test_a_webhook_with_something_else_for_a_ticket(bad: object) -> None:
    with pytest.raises(PermanentError, match="no ticket"):
        words.notified(signed(json.dumps({"ticket": bad}).encode()), SECRET)
