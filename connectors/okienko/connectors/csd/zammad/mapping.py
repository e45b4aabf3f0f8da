"""From okienko's words to Zammad's and back. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
from datetime import UTC, datetime
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
from okienko.plugins.csdtexts import clean, file_name, subject_line
from okienko.plugins.errors import PermanentError
from okienko.schemas import CsdRef, TicketStatus

BACKEND = "zammad"
SOLUTION = "Rozwiązanie"
"""The subject of the note that holds a solution."""
NOBODY = "-"
"""Zammad's owner of a ticket that nobody has."""
_SHA256 = re.compile(r"^SHA-256: ([0-9a-f]{64})$", re.MULTILINE)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_TITLE = 250
_CLOSED = ("closed", "merged", "removed")
"""Beginnings of the names that Zammad is shipped with."""


def new_ticket(registration: Registration, mapping: CsdMapping) -> dict[str, Any]:
    """The body of POST /tickets. The customer is found or made by the address."""
    title = title_of(registration.subject)
    body: dict[str, Any] = {
        "title": title, "group": mapping.queue_for(registration) or "", "state": mapping.status_out(TicketStatus.OPEN),
        "article": {
            "subject": title, "body": clean(registration.description).strip() or "(bez treści)", "content_type": "text/plain",
            "type": "note", "sender": "Customer", "internal": False,
        },
        mapping.correlation: str(registration.correlation_id),
        **mapping.values_for(registration),
    }  # fmt: skip
    if registration.requester:
        body["customer_id"] = f"guess:{registration.requester}"
    if priority := mapping.priority_out(registration.priority):
        body["priority"] = priority
    if kind := mapping.type_for(registration):
        body["type"] = kind
    return body


def preview_of(registration: Registration, file: MappingFile) -> RawTicket:
    """The body of POST /tickets under the mapping's heads. Raises MappingError."""
    file.queue_of(registration, "group")
    body = new_ticket(registration, file.mapping)
    names = (file.mapping.correlation, *file.mapping.values_for(registration))
    return RawTicket(
        subject=body["title"], queue=body["group"], type=body.get("type"), status=body["state"], priority=body.get("priority"),
        requester=registration.requester, fields={name: str(body[name]) for name in names},
    )  # fmt: skip


def raw_of(found: dict[str, Any], mapping: CsdMapping) -> RawTicket:
    """A ticket as Zammad tells it. A customer's login that is no address says nothing of who was written."""
    names = (mapping.correlation, *(one.name for one in mapping.fields))
    told = {name: str(found[name]) for name in ("group", "type", "priority", "customer") if found.get(name)}
    return RawTicket(
        subject=str(found.get("title", "")), queue=told.get("group"), type=told.get("type"), status=str(found.get("state", "")),
        priority=told.get("priority"), requester=told["customer"] if "@" in told.get("customer", "") else None,
        fields={name: "" if found.get(name) is None else str(found[name]) for name in names},
    )  # fmt: skip


def note(text: str, key: str, *, subject: str, public: bool) -> dict[str, Any]:
    """An article that carries its key's mark. A note is mailed to nobody, also when it is public."""
    return {
        "subject": subject, "body": marked(clean(text), key), "content_type": "text/plain", "type": "note",
        "sender": "Agent", "internal": not public,
    }  # fmt: skip


def file_key(file: NewFile) -> str:
    """The key of the note that brings the file."""
    return f"file {file.sha256} {file_name(file.filename)}"


def file_note(file: NewFile, content: bytes) -> dict[str, Any]:
    """The article for a file; it tells the hash, which Zammad keeps to itself."""
    name = file_name(file.filename)
    article = note(f"{name} ({file.size} B)\nSHA-256: {file.sha256}", file_key(file), subject=name, public=False)
    kind = file.media_type if "/" in file.media_type else "application/octet-stream"
    attachment = {"filename": name, "data": base64.b64encode(content).decode(), "mime-type": kind}
    return article | {"attachments": [attachment]}


def ticket(
    found: dict[str, Any],
    articles: list[dict[str, Any]],
    mapping: CsdMapping,
    me: str,
    merged_into: CsdRef | None = None,
) -> Ticket:
    """A Ticket from a ticket with names and its articles. Only articles of the account `me` can be okienko's own.

    The first article is the description, unless it is a note of ours.
    """
    raw = str(found.get("state", ""))
    status = status_of(raw, mapping)
    notes: list[Note] = []
    files: list[RemoteFile] = []
    solutions: list[str] = []
    for place, article in enumerate(sorted(articles, key=lambda one: _number(one.get("id")))):
        body, article_id = text_of(article), str(article.get("id"))
        key = key_in(body) if str(article.get("created_by_id")) == me else None
        public = not article.get("internal")
        if place or key is not None:
            text = unmarked(body) if key else body
            notes.append(
                Note(
                    id=article_id, text=text, at=moment(article.get("created_at")), public=public,
                    author=str(article.get("from") or article.get("created_by") or ""), key=key,
                )
            )  # fmt: skip
            if key and article.get("subject") == SOLUTION:
                solutions.append(text)
        told = _SHA256.search(body) if key else None
        files += [
            RemoteFile(f"{article_id}:{a.get('id')}", str(a.get("filename", "")), _number(a.get("size")), told[1] if told else None)
            for a in article.get("attachments") or [] if isinstance(a, dict)
        ]  # fmt: skip
    solutions = solutions or [n.text for n in notes if n.public]
    owner = found.get("owner")
    return Ticket(
        ref=ref(found),
        correlation_id=correlation(found, mapping.correlation),
        status=status,
        raw_status=raw,
        subject=str(found.get("title", "")),
        created_at=moment(found.get("created_at")),
        updated_at=moment(found.get("updated_at")),
        queue=found.get("group"),
        priority=mapping.priority_in(found.get("priority")),
        assignee=str(owner) if owner and owner != NOBODY else None,
        solution=solutions[-1] if solutions and status is TicketStatus.CLOSED else None,
        merged_into=merged_into,
        notes=tuple(notes),
        files=tuple(files),
        fields={one.source: str(found[one.name]) for one in mapping.fields if found.get(one.name) not in (None, "")},
        raw=raw_of(found, mapping),
    )


def status_of(raw: str, mapping: CsdMapping) -> TicketStatus:
    """What a state means. One that the mapping does not know is judged by how Zammad's own are called."""
    known = mapping.status_in(raw)
    if known is not None:
        return known
    return TicketStatus.CLOSED if raw.casefold().startswith(_CLOSED) else TicketStatus.OPEN


def is_merged(found: dict[str, Any]) -> bool:
    """Whether its articles are in another ticket now."""
    return str(found.get("state", "")).casefold() == "merged"


def merged_into(links: list[dict[str, Any]], tickets: dict[str, Any]) -> CsdRef | None:
    """Into which ticket: merging makes it the parent, by the newest such link."""
    for link in reversed(links):
        if link.get("link_type") == "parent" and link.get("link_object") == "Ticket":
            into = tickets.get(str(link.get("link_object_value")))
            return ref(into) if isinstance(into, dict) else None
    return None


def text_of(article: dict[str, Any]) -> str:
    """An article's body as plain text."""
    body = str(article.get("body") or "")
    if "html" not in str(article.get("content_type", "")):
        return body
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", body))).strip()


def ref(found: dict[str, Any]) -> CsdRef:
    """Number and id."""
    return CsdRef(backend=BACKEND, number=str(found.get("number", "")), id=str(found.get("id", "")))


def correlation(found: dict[str, Any], field: str) -> UUID | None:
    """The case id in the ticket's field, None when it is empty or none."""
    try:
        return UUID(str(found.get(field) or ""))
    except ValueError:
        return None


def moment(text: object) -> datetime:
    """Zammad's `2026-11-23T21:25:00.123Z`. Raises PermanentError for anything else."""
    try:
        read = datetime.fromisoformat(str(text))
    except ValueError:
        raise PermanentError("Zammad gave a time that cannot be read") from None
    if read.tzinfo is None:
        raise PermanentError("Zammad gave a time without a zone")
    return read.astimezone(UTC)


def written(at: datetime) -> str:
    """A time as Zammad writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def notified(request: WebhookRequest, secret: str) -> tuple[CsdRef, ...]:
    """The ticket that a trigger tells of, or the tickets of a list `tickets`, in their order."""
    mac = hmac.new(secret.encode(), request.body, hashlib.sha1).hexdigest()
    given = request.headers.get("x-hub-signature", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), f"sha1={mac}".encode()):
        raise ForgedNoticeError("the webhook of Zammad came without the right X-Hub-Signature: nothing was believed")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise PermanentError("the webhook of Zammad is no JSON: see docs/csd-zammad.md") from None
    body = body if isinstance(body, dict) else {}
    several = body.get("tickets")
    places = several if isinstance(several, list) else [body.get("ticket")]
    told = [ref(one) for one in places if isinstance(one, dict) and is_id(str(one.get("id", ""))) and one.get("number")]
    if not told:
        raise PermanentError("the webhook of Zammad names no ticket: use the default payload, see docs/csd-zammad.md")
    return tuple(told)


def is_id(text: str) -> bool:
    """Whether it can be an id: nothing else may stand in an address."""
    return text.isascii() and text.isdigit()


def title_of(text: str) -> str:
    """A title as Zammad takes it."""
    return subject_line(text, _TITLE)


def _number(value: object) -> int:
    text = str(value)
    return int(text) if is_id(text) else 0
