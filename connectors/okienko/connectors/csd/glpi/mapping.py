"""From okienko's words to GLPI's and back. Pure.

GLPI keeps rich text: what is written is HTML, and GLPI 10 gives it back with its angle brackets as entities (`&#60;p&#62;`).
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from okienko.plugins.csd import (
    ForgedNoticeError,
    NewFile,
    Note,
    RawTicket,
    Registration,
    RemoteFile,
    Ticket,
    WebhookRequest,
)
from okienko.plugins.csdmapping import CsdMapping, MappingFile, matter
from okienko.plugins.csdnotes import key_in, unmarked
from okienko.plugins.errors import PermanentError
from okienko.schemas import CsdRef, TicketStatus

BACKEND = "glpi"
STATES = {"new": 1, "assigned": 2, "planned": 3, "pending": 4, "solved": 5, "closed": 6}
PRIORITIES = {"very low": 1, "low": 2, "medium": 3, "high": 4, "very high": 5, "major": 6}
TYPES = {"incident": 1, "request": 2}
_DONE = ("solved", "closed")
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|tr|h\d|blockquote)>", re.IGNORECASE)
_TAG = re.compile(r"<(?:!--.*?--|/?[a-zA-Z][^<>]*)>", re.DOTALL)
_OURS = re.compile(r"^okienko: (\d+) B, SHA-256 ([0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A follow-up or a solution."""

    id: str
    content: str
    """HTML."""
    at: datetime
    public: bool
    author: str
    ours: bool
    """Written by okienko's own account, as far as GLPI tells."""
    solution: bool = False


def ref_of(number: object) -> CsdRef:
    """GLPI's number is its id."""
    return CsdRef(backend=BACKEND, number=str(number))


def number_in(ref: CsdRef) -> int | None:
    """The id, None for what never was one."""
    return int(ref.number) if ref.number.isascii() and ref.number.isdigit() and len(ref.number) < 18 else None


def code_of(word: str, known: dict[str, int]) -> int:
    """GLPI's number for a word or a number of the mapping. Raises PermanentError for another."""
    text = word.strip().casefold()
    if text in known:
        return known[text]
    if text.isascii() and text.isdigit():
        return int(text)
    raise PermanentError(f"GLPI has no {word!r}: the words are {', '.join(known)}; `okienko check csd` names the line")


def word_of(code: object, known: dict[str, int]) -> str:
    """The word for GLPI's number; a number of a plugin stays a number."""
    return next((word for word, number in known.items() if str(number) == str(code)), str(code))


def status_of(raw: str, mapping: CsdMapping) -> TicketStatus:
    """What the state means: by the mapping, else by GLPI's own sense of it."""
    known = mapping.status_in(raw) or mapping.status_in(str(STATES.get(raw, raw)))
    return known or (
        TicketStatus.CLOSED if raw in _DONE else TicketStatus.PENDING if raw == "pending" else TicketStatus.OPEN
    )


def html_of(text: str) -> str:
    """Plain text as GLPI's rich text."""
    return "<p>" + html.escape(text, quote=False).replace("\n", "<br>") + "</p>"


def decoded(stored: object) -> str:
    """What GLPI 10 has made entities of; text of which it made none stays as it is."""
    text = str(stored or "")
    return text if "<" in text else html.unescape(text)


def text_of(rich: str) -> str:
    """Rich text as plain text."""
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", rich))).replace("\xa0", " ").strip()


def note_of(entry: Entry) -> Note:
    """A note; only our own account's can carry a key."""
    key = key_in(entry.content) if entry.ours else None
    text = text_of(entry.content)
    return Note(entry.id, unmarked(text) if key else text, entry.at, entry.public, entry.author, key)


def ticket_of(
    mapping: CsdMapping, *, number: object, correlation: object, state: object, subject: str, created: datetime,
    updated: datetime, queue: str | None = None, priority: object = None, assignee: str | None = None,
    entries: Sequence[Entry] = (), files: Sequence[RemoteFile] = (), merged_into: CsdRef | None = None,
    told: Mapping[str, Any] | None = None,
) -> Ticket:  # fmt: skip
    """A Ticket of what both APIs tell."""
    raw = word_of(state, STATES)
    status = status_of(raw, mapping)
    ordered = sorted(entries, key=lambda one: (one.at, one.solution, int(re.sub(r"\D", "", one.id) or 0)))
    solutions = [text_of(one.content) for one in ordered if one.solution]
    word = word_of(priority, PRIORITIES)
    return Ticket(
        ref=ref_of(number),
        correlation_id=uuid_of(correlation),
        status=status,
        raw_status=raw,
        subject=subject,
        created_at=created,
        updated_at=max(updated, created),
        queue=queue,
        priority=mapping.priority_in(word) or mapping.priority_in(str(priority)),
        assignee=assignee,
        solution=unmarked(solutions[-1]) if solutions and status is TicketStatus.CLOSED else None,
        merged_into=merged_into,
        notes=tuple(note_of(one) for one in ordered),
        files=tuple(files),
        raw=raw_of(told, mapping, correlation, queue) if told is not None else None,
    )


def preview_of(registration: Registration, file: MappingFile) -> RawTicket:
    """What is sent for a new ticket under the mapping's heads, in the words of GLPI's API. Raises MappingError."""
    mapping = file.mapping
    kind, priority = mapping.type_for(registration), mapping.priority_out(registration.priority)
    return RawTicket(
        subject=registration.subject,
        queue=mapping.queue_for(registration),
        type=_checked(kind, TYPES, file, "types", matter(mapping.types, registration)),
        priority=_checked(priority, PRIORITIES, file, "priorities", registration.priority.value),
        requester=registration.requester,
        fields={mapping.correlation: str(registration.correlation_id), **mapping.values_for(registration)},
    )


def _checked(word: str | None, known: dict[str, int], file: MappingFile, *path: str) -> str | None:
    if word is None:
        return None
    try:
        return word_of(code_of(word, known), known)
    except PermanentError:
        raise file.refusal(f"GLPI has no {word!r}", f"write one of: {', '.join(known)}", *path) from None


def raw_of(row: Mapping[str, Any], mapping: CsdMapping, correlation: object, queue: str | None) -> RawTicket:
    """A ticket as GLPI tells it. API 11 wraps some values with their names; a field that it does not show is not told."""
    names = [one.name for one in mapping.fields if isinstance(row.get(one.name), str | int)]
    return RawTicket(
        subject=decoded(row.get("name")), queue=queue or "", type=_word(row.get("type"), TYPES), status=_word(row.get("status"), STATES),
        priority=_word(row.get("priority"), PRIORITIES),
        fields={mapping.correlation: str(correlation or ""), **{name: decoded(row[name]) for name in names}},
    )  # fmt: skip


def _word(value: object, known: dict[str, int]) -> str | None:
    code = value.get("id") if isinstance(value, Mapping) else value
    return None if code is None else word_of(code, known)


def uuid_of(value: object) -> UUID | None:
    """The case id in the field, None when it is empty or another's."""
    try:
        return UUID(str(value or ""))
    except ValueError:
        return None


def moment(value: object, zone: tzinfo) -> datetime:
    """GLPI 10's `2026-11-23 21:25:00` in its zone, or GLPI 11's RFC 3339, in UTC. Raises PermanentError for neither."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise PermanentError("GLPI gave a time that cannot be read: is it GLPI 10 or 11?") from None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def local(at: datetime, zone: tzinfo) -> str:
    """A time as GLPI's database holds it."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def just_before(at: datetime, zone: tzinfo) -> str:
    """GLPI's `morethan` leaves the time itself out."""
    return local(at - timedelta(seconds=1), zone)


def file_comment(file: NewFile) -> str:
    """GLPI keeps neither size nor SHA-256 of a document."""
    return f"okienko: {file.size} B, SHA-256 {file.sha256}"


def told_of_file(comment: object) -> tuple[int, str] | None:
    """Size and digest in a comment of ours."""
    found = _OURS.match(str(comment or "").strip())
    return (int(found[1]), found[2]) if found else None


def field_values(values: dict[str, str]) -> dict[str, Any]:
    """GLPI's keys are numbers where they are ids."""
    return {name: int(value) if value.isascii() and value.isdigit() else value for name, value in values.items()}


def notified(request: WebhookRequest, secret: str) -> tuple[CsdRef, ...]:
    """GLPI 11 signs body and timestamp together: HMAC-SHA256 in hex in X-GLPI-signature."""
    signed = request.body + request.headers.get("x-glpi-timestamp", "").encode("utf-8", "replace")
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(
        expected.encode(), request.headers.get("x-glpi-signature", "").encode("utf-8", "replace")
    ):
        raise ForgedNoticeError("a notice for the CSD glpi has a wrong signature: check WEBHOOK_SECRET on both sides")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    told = [_told(one) for one in (body if isinstance(body, list) else [body])]
    if not told or None in told:
        raise PermanentError("a notice for the CSD glpi names no ticket: give the webhook its default payload")
    return tuple(ref_of(number) for number in told)


def _told(event: object) -> int | None:
    item = event.get("item") if isinstance(event, dict) else None
    if not isinstance(item, dict):
        return None
    # A notice of a follow-up has its ticket in items_id.
    number = item.get("items_id") if item.get("itemtype") == "Ticket" else item.get("id")
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None
