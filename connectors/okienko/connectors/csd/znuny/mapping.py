"""From okienko's words to Znuny's and back. Pure."""

from __future__ import annotations

import base64
import hmac
import json
import re
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import UUID

from okienko.plugins.csd import ForgedNoticeError, NewFile, Note, Registration, RemoteFile, Ticket, WebhookRequest
from okienko.plugins.csdmapping import CsdMapping
from okienko.plugins.csdnotes import key_in, marked, unmarked
from okienko.plugins.errors import PermanentError
from okienko.schemas import CsdRef, TicketStatus

TEXT = "text/plain; charset=utf8"
_SHA256 = re.compile(r"^SHA-256: ([0-9a-f]{64})$", re.MULTILINE)
_TITLE = 255
_CLOSED_TYPES = ("closed", "merged", "removed")


def new_ticket(registration: Registration, mapping: CsdMapping) -> dict[str, Any]:
    """The body of TicketCreate."""
    title = one_line(registration.subject)[:_TITLE] or "(bez tematu)"
    sender = registration.requester or "nieznany"
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
            "CommunicationChannel": "Internal", "SenderType": "customer", "IsVisibleForCustomer": 1, "From": sender,
            "Subject": title, "Body": sendable(registration.description) or "(bez treści)", "ContentType": TEXT,
            # Mail 1 is okienko's to send.
            "NoAgentNotify": 1, "AutoResponseType": "",
        },
        "DynamicField": [{"Name": name, "Value": value} for name, value in fields.items()],
    }  # fmt: skip


def note(text: str, key: str, *, subject: str, public: bool) -> dict[str, Any]:
    """An article that carries its key's mark."""
    return {
        "CommunicationChannel": "Internal", "SenderType": "agent", "IsVisibleForCustomer": int(public),
        "Subject": subject, "Body": sendable(marked(text, key)), "ContentType": TEXT, "NoAgentNotify": 1,
    }  # fmt: skip


def file_note(file: NewFile, content: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Key, article and attachment for a file; the article tells its hash, which Znuny does not keep."""
    name = one_line(file.filename) or "plik"
    key = f"file {file.sha256} {name}"
    article = note(f"{name} ({file.size} B)\nSHA-256: {file.sha256}", key, subject=name[:_TITLE], public=False)
    kind = file.media_type if "/" in file.media_type else "application/octet-stream"
    attachment = {"Content": base64.b64encode(content).decode(), "ContentType": kind, "Filename": name}
    return key, article, attachment


def ticket(found: dict[str, Any], backend: str, mapping: CsdMapping, zone: tzinfo) -> Ticket:
    """A Ticket from TicketGet with dynamic fields, articles and attachments."""
    raw = str(found.get("State", ""))
    closed = str(found.get("StateType", "")).casefold() in _CLOSED_TYPES
    status = mapping.status_in(raw) or (TicketStatus.CLOSED if closed else TicketStatus.OPEN)
    articles = [one for one in found.get("Article") or [] if isinstance(one, dict)]
    articles.sort(key=lambda one: int(one.get("ArticleNumber") or one.get("ArticleID") or 0))
    notes: list[Note] = []
    files: list[RemoteFile] = []
    for place, article in enumerate(articles):
        body = str(article.get("Body", ""))
        if place:  # the first is the description
            notes.append(
                Note(
                    id=str(article.get("ArticleID")), text=body, at=moment(article.get("CreateTime"), zone),
                    public=bool(int(article.get("IsVisibleForCustomer") or 0)), author=str(article.get("From", "")), key=key_in(body),
                )
            )  # fmt: skip
        told = _SHA256.search(body) if key_in(body) else None
        files += [
            RemoteFile(
                f"{article.get('ArticleID')}:{a.get('FileID')}", str(a.get("Filename", "")), int(a.get("FilesizeRaw") or 0),
                told[1] if told else None,
            )
            for a in article.get("Attachment") or [] if isinstance(a, dict)
        ]  # fmt: skip
    public = [one for one in notes if one.public]
    fields = dynamic(found)
    return Ticket(
        ref=ref(found, backend),
        correlation_id=correlation(found, mapping.correlation),
        status=status,
        raw_status=raw,
        subject=str(found.get("Title", "")),
        created_at=moment(found.get("Created"), zone),
        updated_at=moment(found.get("Changed"), zone),
        queue=found.get("Queue"),
        priority=mapping.priority_in(found.get("Priority")),
        assignee=found.get("Owner") or None,
        solution=unmarked(public[-1].text) if public and status is TicketStatus.CLOSED else None,
        notes=tuple(notes),
        files=tuple(files),
        fields={one.source: fields[one.name] for one in mapping.fields if one.name in fields},
    )


def ref(found: dict[str, Any], backend: str) -> CsdRef:
    """The ids waver between number and text."""
    return CsdRef(backend=backend, number=str(found.get("TicketNumber", "")), id=str(found.get("TicketID", "")))


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


def notified(request: WebhookRequest, secret: str, backend: str) -> tuple[CsdRef, ...]:
    """The ticket that an invoker tells of: `TicketID` at the top, or under `Ticket` or `Event`."""
    given = request.headers.get("x-okienko-secret", "")
    if not hmac.compare_digest(given.encode(), secret.encode()):
        raise ForgedNoticeError("the webhook of Znuny came without the right X-Okienko-Secret: nothing was believed")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise PermanentError("the webhook of Znuny is no JSON: see docs/csd-znuny.md for the invoker") from None
    body = body if isinstance(body, dict) else {}
    for place in (body, body.get("Ticket"), body.get("Event")):
        if (
            isinstance(place, dict)
            and str(place.get("TicketID", "")).isascii()
            and str(place.get("TicketID", "")).isdigit()
        ):
            return (ref(place, backend),)
    raise PermanentError("the webhook of Znuny names no TicketID: see docs/csd-znuny.md for the invoker")


def sendable(text: str) -> str:
    """The text without what JSON over UTF-8 or Znuny's database cannot hold."""
    cleaned = text.encode("utf-8", "replace").decode()
    return "".join(c for c in cleaned if c >= " " or c in "\n\t").strip()


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(sendable(text).split())
