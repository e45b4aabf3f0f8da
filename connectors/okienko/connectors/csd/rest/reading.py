"""From the system's answers to okienko's tickets, by the file's expressions. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import UUID

import jmespath
from jmespath.exceptions import JMESPathError

from okienko.connectors.csd.rest.description import (
    ChangeFields,
    Description,
    FileFields,
    MadeFields,
    NoteFields,
    Webhook,
)
from okienko.plugins.csd import ForgedNoticeError, Note, RawTicket, RemoteFile, Ticket, WebhookRequest
from okienko.plugins.csdnotes import key_in, unmarked
from okienko.plugins.errors import PermanentError
from okienko.schemas import CsdRef, TicketStatus

BACKEND = "rest"


class UnreadError(PermanentError):
    """An expression found nothing, or nothing that fits; `place` is its key in the file."""

    def __init__(self, place: tuple[str, ...], problem: str) -> None:
        super().__init__(f"{'.'.join(place)}: {problem}: `okienko check csd` names the line")
        self.place = place
        self.problem = problem


def value_of(expression: str, data: Any, place: tuple[str, ...]) -> Any:
    """What the expression finds; None for nothing. Raises UnreadError for a function on what it does not take."""
    try:
        return jmespath.search(expression, data)
    except JMESPathError as error:
        raise UnreadError(place, f"{expression}: {str(error).splitlines()[0][:200]}") from None


def needed(expression: str, data: Any, place: tuple[str, ...]) -> Any:
    """As `value_of`, for what must be there."""
    found = value_of(expression, data, place)
    if found is None:
        raise UnreadError(place, f"{expression} finds nothing in the answer")
    return found


def rows_of(expression: str, data: Any, place: tuple[str, ...]) -> list[Any]:
    """The rows of a list; none for null."""
    found = value_of(expression, data, place)
    if found is None:
        return []
    if not isinstance(found, list):
        raise UnreadError(place, f"{expression} finds no list")
    return found


def moment(value: Any, zone: tzinfo, place: tuple[str, ...]) -> datetime:
    """ISO 8601, or seconds since 1970; without a zone in the file's."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise UnreadError(place, "neither a time in ISO 8601 nor seconds since 1970") from None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def ref_of(fields: MadeFields | ChangeFields | Any, data: Any, place: tuple[str, ...]) -> CsdRef:
    """Number and id of a ticket."""
    number = str(needed(fields.number, data, (*place, "number")))
    return CsdRef(
        backend=BACKEND, number=number, id=str(needed(fields.id, data, (*place, "id"))) if fields.id is not None else ""
    )


def ticket_of(
    d: Description, zone: tzinfo, data: Any, notes: Sequence[Any] | None = None, files: Sequence[Any] | None = None
) -> Ticket | None:
    """A ticket; None for one that is deleted and still shown. Raises UnreadError."""
    t = d.answers.ticket
    at = ("answers", "ticket")
    if t.gone is not None and value_of(t.gone, data, (*at, "gone")):
        return None
    raw = str(needed(t.status, data, (*at, "status")))
    status = d.status_in(raw)
    if status is None:
        raise UnreadError(("states", "read"), f"the state {raw!r} is not in [states.read]: say what it means")

    def optional(expression: str | None, key: str) -> str | None:
        found = value_of(expression, data, (*at, key)) if expression is not None else None
        return None if found in (None, "") else str(found)

    if notes is None:
        notes = rows_of(t.notes, data, (*at, "notes")) if t.notes is not None else ()
    if files is None:
        files = rows_of(t.files, data, (*at, "files")) if t.files is not None else ()
    into = optional(t.merged_into, "merged_into")
    solution = optional(t.solution, "solution")
    read = [note_of(d.answers.note, zone, row) for row in notes] if d.answers.note is not None else []
    queue, priority = optional(t.queue, "queue"), optional(t.priority, "priority")
    subject = str(value_of(t.subject, data, (*at, "subject")) or "")
    return Ticket(
        ref=ref_of(t, data, at),
        correlation_id=_uuid(value_of(t.correlation, data, (*at, "correlation"))),
        status=status,
        raw_status=raw,
        subject=subject,
        created_at=moment(needed(t.created, data, (*at, "created")), zone, (*at, "created")),
        updated_at=moment(needed(t.updated, data, (*at, "updated")), zone, (*at, "updated")),
        queue=queue,
        priority=d.priority_in(priority),
        assignee=optional(t.assignee, "assignee"),
        solution=unmarked(solution) if solution is not None and status is TicketStatus.CLOSED else None,
        merged_into=CsdRef(backend=BACKEND, number=into) if into is not None else None,
        notes=tuple(sorted(read, key=lambda note: note.at)),
        files=tuple(file_of(d.answers.file, row) for row in files) if d.answers.file is not None else (),
        raw=RawTicket(subject, queue=queue, status=raw, priority=priority),
    )


def note_of(fields: NoteFields, zone: tzinfo, row: Any) -> Note:
    """A note of its row."""
    at = ("answers", "note")
    text = str(value_of(fields.text, row, (*at, "text")) or "")
    ours = fields.ours is None or bool(value_of(fields.ours, row, (*at, "ours")))
    key = key_in(text) if ours else None
    return Note(
        id=str(needed(fields.id, row, (*at, "id"))),
        text=unmarked(text) if key else text,
        at=moment(needed(fields.at, row, (*at, "at")), zone, (*at, "at")),
        public=bool(value_of(fields.public, row, (*at, "public"))) if fields.public is not None else False,
        author=str(value_of(fields.author, row, (*at, "author")) or "") if fields.author is not None else "",
        key=key,
    )


def file_of(fields: FileFields, row: Any) -> RemoteFile:
    """A file of its row."""
    at = ("answers", "file")
    size = needed(fields.size, row, (*at, "size"))
    digest = value_of(fields.sha256, row, (*at, "sha256")) if fields.sha256 is not None else None
    if not str(size).isdigit():
        raise UnreadError((*at, "size"), "no number of octets")
    return RemoteFile(
        id=str(needed(fields.id, row, (*at, "id"))),
        filename=str(needed(fields.filename, row, (*at, "filename"))),
        size=int(size),
        sha256=str(digest).lower() if digest else None,
    )


def change_of(d: Description, zone: tzinfo, row: Any) -> tuple[CsdRef, datetime]:
    """A changed ticket of its row."""
    fields = d.answers.change
    assert fields is not None  # noqa: S101  the description demands it with the capability
    at = ("answers", "change")
    return ref_of(fields, row, at), moment(needed(fields.updated, row, (*at, "updated")), zone, (*at, "updated"))


def notified(hook: Webhook, secret: str, request: WebhookRequest) -> tuple[CsdRef, ...]:
    """The tickets that a notice speaks of. Raises ForgedNoticeError and PermanentError."""
    expected = secret
    if hook.kind == "hmac":
        expected = hmac.new(secret.encode(), request.body, getattr(hashlib, hook.algorithm)).hexdigest()
    given = request.headers.get(hook.header.lower(), "")
    if not hmac.compare_digest((hook.prefix + expected).encode(), given.encode("utf-8", "replace")):
        raise ForgedNoticeError(f"a notice for the CSD rest came without the right {hook.header}: nothing was believed")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise PermanentError("a notice for the CSD rest is no JSON") from None
    found = value_of(hook.tickets, body, ("webhook", "tickets"))
    numbers = found if isinstance(found, list) else [found]
    if not numbers or not all(isinstance(one, str | int) and not isinstance(one, bool) and str(one) for one in numbers):
        raise PermanentError(f"a notice for the CSD rest names no ticket at webhook.tickets = {hook.tickets!r}")
    return tuple(CsdRef(backend=BACKEND, number=str(one)) for one in numbers)


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(str(value or ""))
    except ValueError:
        return None
