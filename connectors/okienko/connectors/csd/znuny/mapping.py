"""From okienko's words to Znuny's and back. Pure."""

from __future__ import annotations

import base64
import hmac
import json
import re
from datetime import UTC, datetime, tzinfo
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
from okienko.plugins.csdmapping import CsdMapping, MappingFile
from okienko.plugins.csdnotes import key_in, marked, unmarked
from okienko.plugins.csdtexts import clean, file_name, one_line, subject_line
from okienko.plugins.errors import PermanentError
from okienko.schemas import CsdRef, TicketStatus

BACKEND = "znuny"
TEXT = "text/plain; charset=utf8"
_SHA256 = re.compile(r"^SHA-256: ([0-9a-f]{64})$", re.MULTILINE)
_MERGED = re.compile(r"^(?:%%\d+%%\d+%%(?P<tn>\d+)%%(?P<id>\d+)|.* to \((?P<tn6>\d+)/(?P<id6>\d+)\))$")
"""The history of a merged ticket: number and id of both. Older entries say it in words."""
_TITLE = 255
"""The column in Znuny's table."""
_CLOSED_TYPES = ("closed", "merged", "removed")
SOLUTION = "Rozwiązanie"
"""The subject of the note that holds a solution."""


def new_ticket(registration: Registration, mapping: CsdMapping) -> dict[str, Any]:
    """The body of TicketCreate."""
    title = title_of(registration.subject)
    sender = registration.requester or "nieznany"
    name = one_line(registration.requester_name or "").translate({ord(c): None for c in '<>",;'})
    ticket: dict[str, Any] = {
        "Title": title, "State": mapping.status_out(TicketStatus.OPEN), "CustomerUser": sender,
        "Queue": mapping.queue_for(registration) or "", "Priority": mapping.priority_out(registration.priority) or "3 normal",
    }  # fmt: skip
    if kind := mapping.type_for(registration):
        ticket["Type"] = kind
    fields = {mapping.correlation: str(registration.correlation_id), **mapping.values_for(registration)}
    return {
        "Ticket": ticket,
        "Article": {
            "CommunicationChannel": "Internal", "SenderType": "customer", "IsVisibleForCustomer": 1,
            "From": f"{name} <{sender}>" if name and registration.requester else sender,
            "Subject": title, "Body": clean(registration.description).strip() or "(bez treści)", "ContentType": TEXT,
            "NoAgentNotify": 1,
        },
        "DynamicField": [{"Name": name, "Value": value} for name, value in fields.items()],
    }  # fmt: skip


def preview_of(registration: Registration, file: MappingFile) -> RawTicket:
    """The body of TicketCreate under the mapping's heads. Raises MappingError."""
    file.queue_of(registration)
    body = new_ticket(registration, file.mapping)
    ticket: dict[str, str] = body["Ticket"]
    return RawTicket(
        subject=ticket["Title"], queue=ticket["Queue"], type=ticket.get("Type"), status=ticket["State"],
        priority=ticket["Priority"], requester=ticket["CustomerUser"],
        fields={one["Name"]: one["Value"] for one in body["DynamicField"]},
    )  # fmt: skip


def raw_of(found: dict[str, Any], mapping: CsdMapping) -> RawTicket:
    """A ticket as Znuny tells it."""
    fields = dynamic(found)
    told = {name: str(found[name]) for name in ("Queue", "Type", "Priority", "CustomerUserID") if found.get(name)}
    return RawTicket(
        subject=str(found.get("Title", "")), queue=told.get("Queue"), type=told.get("Type"), status=str(found.get("State", "")),
        priority=told.get("Priority"), requester=told.get("CustomerUserID"),
        fields={name: fields.get(name, "") for name in (mapping.correlation, *(one.name for one in mapping.fields))},
    )  # fmt: skip


def note(text: str, key: str, *, subject: str, public: bool) -> dict[str, Any]:
    """An article that carries its key's mark."""
    return {
        "CommunicationChannel": "Internal", "SenderType": "agent", "IsVisibleForCustomer": int(public),
        "Subject": subject, "Body": clean(marked(text, key)), "ContentType": TEXT, "NoAgentNotify": 1,
    }  # fmt: skip


def file_note(file: NewFile, content: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Key, article and attachment for a file; the article tells its hash, which Znuny does not keep."""
    name = file_name(file.filename)
    key = f"file {file.sha256} {name}"
    article = note(f"{name} ({file.size} B)\nSHA-256: {file.sha256}", key, subject=name, public=False)
    kind = file.media_type if "/" in file.media_type else "application/octet-stream"
    # An empty parameter is a missing one for Znuny; a space is nothing once it is decoded.
    encoded = base64.b64encode(content).decode() or " "
    return key, article, {"Content": encoded, "ContentType": kind, "Filename": name}


def ticket(
    found: dict[str, Any], mapping: CsdMapping, zone: tzinfo, user_id: str, merged_into: CsdRef | None = None
) -> Ticket:
    """A Ticket from TicketGet with dynamic fields, articles and attachments. Only articles of `user_id` can be okienko's own.

    The first article is the description, unless it is a note of ours (the ticket was made without one).
    """
    raw = str(found.get("State", ""))
    closed = str(found.get("StateType", "")).casefold() in _CLOSED_TYPES
    status = mapping.status_in(raw) or (TicketStatus.CLOSED if closed else TicketStatus.OPEN)
    articles = [one for one in found.get("Article") or [] if isinstance(one, dict)]
    articles.sort(key=lambda one: _number(one.get("ArticleID")))
    notes: list[Note] = []
    files: list[RemoteFile] = []
    for place, article in enumerate(articles):
        body, article_id = str(article.get("Body") or ""), str(article.get("ArticleID"))
        key = key_in(body) if str(article.get("CreateBy")) == user_id else None
        if place or key is not None:
            notes.append(
                Note(
                    id=article_id, text=unmarked(body) if key else body, at=moment(article.get("CreateTime"), zone),
                    public=bool(_number(article.get("IsVisibleForCustomer"))), author=str(article.get("From") or ""), key=key,
                )
            )  # fmt: skip
        told = _SHA256.search(body) if key else None
        files += [
            RemoteFile(
                f"{article_id}:{a.get('FileID')}", str(a.get("Filename", "")), _number(a.get("FilesizeRaw")),
                told[1] if told else None,
            )
            for a in article.get("Attachment") or [] if isinstance(a, dict)
        ]  # fmt: skip
    ours = {str(one.get("ArticleID")) for one in articles if one.get("Subject") == SOLUTION}
    solutions = [n for n in notes if n.key and n.id in ours] or [n for n in notes if n.public]
    fields = dynamic(found)
    return Ticket(
        ref=ref(found),
        correlation_id=correlation(found, mapping.correlation),
        status=status,
        raw_status=raw,
        subject=str(found.get("Title", "")),
        created_at=moment(found.get("Created"), zone),
        updated_at=moment(found.get("Changed"), zone),
        queue=found.get("Queue"),
        priority=mapping.priority_in(found.get("Priority")),
        assignee=found.get("Owner") or None,
        solution=solutions[-1].text if solutions and status is TicketStatus.CLOSED else None,
        merged_into=merged_into,
        notes=tuple(notes),
        files=tuple(files),
        fields={one.source: fields[one.name] for one in mapping.fields if one.name in fields},
        raw=raw_of(found, mapping),
    )


def is_merged(found: dict[str, Any]) -> bool:
    """Whether its articles are in another ticket now."""
    return str(found.get("StateType", "")).casefold() == "merged"


def merged_into(history: list[dict[str, Any]]) -> CsdRef | None:
    """Into which ticket, by the history of the merged one."""
    for entry in reversed(history):
        if entry.get("HistoryType") == "Merged" and (said := _MERGED.match(str(entry.get("Name", "")))):
            return CsdRef(backend=BACKEND, number=said["tn"] or said["tn6"], id=said["id"] or said["id6"])
    return None


def times_closed(history: list[dict[str, Any]], mapping: CsdMapping) -> int:
    """How often the ticket was closed: `%%old%%new%%` of its changes of state."""
    steps = [str(e.get("Name", "")).split("%%") for e in history if e.get("HistoryType") == "StateUpdate"]
    return sum(len(step) > 2 and _is_closed(step[2], mapping) for step in steps)


def _is_closed(raw: str, mapping: CsdMapping) -> bool:
    known = mapping.status_in(raw)
    return known is TicketStatus.CLOSED or (known is None and raw.casefold().startswith(_CLOSED_TYPES))


def ref(found: dict[str, Any]) -> CsdRef:
    """The ids waver between number and text."""
    return CsdRef(backend=BACKEND, number=str(found.get("TicketNumber", "")), id=str(found.get("TicketID", "")))


def dynamic(found: dict[str, Any]) -> dict[str, str]:
    """The dynamic fields by name."""
    fields = [one for one in found.get("DynamicField") or [] if isinstance(one, dict)]
    return {str(one.get("Name")): str(one["Value"]) for one in fields if one.get("Value") not in (None, "")}


def correlation(found: dict[str, Any], field: str) -> UUID | None:
    """The case id in the ticket's field, None when it is empty or none."""
    try:
        return UUID(dynamic(found).get(field, ""))
    except ValueError:
        return None


def moment(text: object, zone: tzinfo) -> datetime:
    """Znuny's `2026-11-23 21:25:00`, in UTC. Raises PermanentError for anything else."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone).astimezone(UTC)
    except ValueError:
        raise PermanentError("Znuny gave a time that cannot be read: is it Znuny 6 or later?") from None


def notified(request: WebhookRequest, secret: str) -> tuple[CsdRef, ...]:
    """The tickets that an invoker tells of, in their order: `TicketID` at the top, or in `Ticket`, `Event` or a list `Tickets`."""
    given = request.headers.get("x-okienko-secret", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
        raise ForgedNoticeError("the webhook of Znuny came without the right X-Okienko-Secret: nothing was believed")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise PermanentError("the webhook of Znuny is no JSON: see docs/csd-znuny.md for the invoker") from None
    body = body if isinstance(body, dict) else {}
    several = body.get("Tickets")
    places = several if isinstance(several, list) else [body, body.get("Ticket"), body.get("Event")]
    told = [ref(one) for one in places if isinstance(one, dict) and is_id(str(one.get("TicketID", "")))]
    if not told:
        raise PermanentError("the webhook of Znuny names no TicketID: see docs/csd-znuny.md for the invoker")
    return tuple(told) if isinstance(several, list) else (told[0],)


def is_id(text: str) -> bool:
    """Whether it can be an id or a number of Znuny: several are asked for by one address, so that nothing else may stand in it."""
    return text.isascii() and text.isdigit()


def title_of(text: str) -> str:
    """A title as Znuny takes it."""
    return subject_line(text, _TITLE)


def _number(value: object) -> int:
    text = str(value)
    return int(text) if is_id(text) else 0
