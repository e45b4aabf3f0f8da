"""RT's records to tickets, and registrations to RT's fields. Pure: no I/O, no settings."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from selectolax.lexbor import LexborHTMLParser

from okienko.plugins.csd import ForgedNoticeError, Note, RawTicket, Registration, RemoteFile, Ticket, WebhookRequest
from okienko.plugins.csdmapping import CsdMapping
from okienko.plugins.csdnotes import key_in, unmarked
from okienko.plugins.csdtexts import clean, file_name, one_line
from okienko.plugins.errors import PermanentError, TransientError
from okienko.schemas import CsdRef, TicketStatus

Record = Mapping[str, Any]
BACKEND = "rt"
SUBJECT_LENGTH = 200
"""Tickets.Subject is varchar(200), and RT cuts it by octets."""
CORE_FIELDS = frozenset(
    {"AdminCc", "Cc", "Due", "FinalPriority", "InitialPriority", "SLA", "Started", "Starts", "TimeEstimated"}
)
"""Fields of RT itself that a mapping may fill; every other name is a custom field's. RT sets Created itself."""
NOTE_TYPES = ("Comment", "Correspond")
SIGNATURE = "x-okienko-signature"
_DELETED = "deleted"
_FILE = re.compile(r"\Asha256: ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Text:
    """A text part of a transaction."""

    transaction: str
    media_type: str
    text: str


def subject_of(text: str) -> str:
    """One line, no longer than RT keeps."""
    return one_line(text).encode()[:SUBJECT_LENGTH].decode(errors="ignore").rstrip()


def body_of(registration: Registration, mapping: CsdMapping, *, quiet: str | None) -> dict[str, Any]:
    """The JSON of a new ticket. `quiet` names the list on which the requester is put so that RT does not write to them."""
    body: dict[str, Any] = {
        "Queue": mapping.queue_for(registration) or "",
        "Subject": subject_of(registration.subject),
        "Content": clean(registration.description),
        "ContentType": "text/plain",
    }
    if registration.requester:
        body["Requestor"] = [address_of(registration.requester, registration.requester_name)]
        if quiet:
            # RT answers a list here in POST /ticket with nothing done; POST /tickets/bulk takes it.
            body[quiet] = [registration.requester]
    if (priority := mapping.priority_out(registration.priority)) is not None:
        body["Priority"] = number_of(priority)
    fields = {mapping.correlation: str(registration.correlation_id)}
    for name, value in mapping.values_for(registration).items():
        if name in CORE_FIELDS:
            body[name] = clean(value)
        else:
            fields[name] = clean(value)
    return body | {"CustomFields": fields}


def address_of(address: str, name: str | None) -> str:
    """`"Name" <address>` (RFC 5322), from which RT makes its user for a requester that it does not know."""
    plain = re.sub(r"[\"\\<>\n\t]", " ", clean(name or "")).strip()
    return f'"{plain}" <{address}>' if plain else address


def number_of(priority: str) -> int:
    """RT's priority, a number. Raises PermanentError for a word: RT takes words when a ticket is changed, not when it is made."""
    if not re.fullmatch(r"-?[0-9]{1,9}", priority):
        raise PermanentError(f"the priority {priority!r} of the mapping is no number: write RT's number, not its name")
    return int(priority)


def search_for(correlation: str, ids: Iterable[UUID]) -> str:
    """TicketSQL for tickets of these cases, merged ones too (RT leaves them out unless EffectiveId is spoken of)."""
    return f"({' OR '.join(f'{field_in_sql(correlation)} = {quoted(str(one))}' for one in ids)}) AND EffectiveId > 0"


def field_in_sql(name: str) -> str:
    """A custom field's name in TicketSQL."""
    return f"'CF.{{{name}}}'"


def quoted(value: str) -> str:
    """A string in TicketSQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def field_values(record: Record) -> dict[str, str]:
    """The first value of each custom field that has one, by name."""
    found: dict[str, str] = {}
    for one in record.get("CustomFields") or ():
        values = one.get("values") if isinstance(one, Mapping) else None
        if isinstance(values, list) and values and isinstance(values[0], str):
            found[str(one.get("name"))] = values[0]
    return found


def correlation_of(record: Record, field: str) -> UUID | None:
    """The case id in the field; None when it is empty or holds something else."""
    value = next((v for name, v in field_values(record).items() if name.casefold() == field.casefold()), "")
    try:
        return UUID(value)
    except ValueError:
        return None


def ref_of(number: int | str) -> CsdRef:
    """The reference of a ticket; RT's number is also its key."""
    return CsdRef(backend=BACKEND, number=str(number))


def number_in(ref: CsdRef) -> int | None:
    """RT's number of a reference, None for one that RT never gave."""
    return int(ref.number) if ref.number.isascii() and ref.number.isdigit() and len(ref.number) <= 18 else None


def moment(text: object) -> datetime | None:
    """RT's `2026-11-23T20:39:48Z`, or None for none: RT writes the year 1970 for what is not set."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo and found.year > 1970 else None


def is_gone(record: Record) -> bool:
    """RT keeps deleted tickets and answers for them; they are gone for people."""
    return str(record.get("Status", "")).casefold() == _DELETED


def ticket_of(
    record: Record,
    mapping: CsdMapping,
    *,
    number: int,
    version: str | None,
    notes: tuple[Note, ...] = (),
    files: tuple[RemoteFile, ...] = (),
    merged_into: int | None = None,
    solution_field: str | None = None,
    raw: RawTicket | None = None,
) -> Ticket:
    """A record of RT as a ticket. Raises PermanentError for a state that the mapping does not know."""
    state = str(record.get("Status", ""))
    fields = field_values(record)
    names = {one.name.casefold(): one.source for one in mapping.fields}
    updated = moment(record.get("LastUpdated"))
    created = moment(record.get("Created"))
    if created is None or updated is None:
        raise TransientError(f"RT sent ticket {number} without its times")
    return Ticket(
        ref=ref_of(number),
        correlation_id=correlation_of(record, mapping.correlation),
        status=status_of(state, mapping, number),
        raw_status=state,
        subject=str(record.get("Subject") or ""),
        created_at=created,
        updated_at=updated,
        queue=queue_of(record),
        priority=mapping.priority_in(str(record.get("Priority") or "0")),
        assignee=owner_of(record),
        solution=fields.get(solution_field) if solution_field else None,
        merged_into=ref_of(merged_into) if merged_into is not None else None,
        version=version,
        notes=notes,
        files=files,
        fields={names[n.casefold()]: value for n, value in fields.items() if n.casefold() in names},
        raw=raw,
    )


def status_of(raw: str, mapping: CsdMapping, number: int) -> TicketStatus:
    """What a state of RT means. Raises PermanentError with the line that the mapping lacks."""
    status = mapping.status_in(raw)
    if status is None:
        raise PermanentError(
            f"ticket {number} is in state {raw!r}, which the mapping does not know: add it to states.read"
        )
    return status


def queue_of(record: Record) -> str | None:
    """The queue's name, None for one that our user may not see."""
    queue = record.get("Queue")
    name = queue.get("Name") if isinstance(queue, Mapping) else None
    return str(name) if name else None


def owner_of(record: Record) -> str | None:
    """The owner's login; RT's Nobody is none."""
    owner = record.get("Owner")
    name = owner.get("id") if isinstance(owner, Mapping) else None
    return str(name) if name and name != "Nobody" else None


def texts_of(attachments: Sequence[Record]) -> list[Text]:
    """The texts that people wrote, of all text parts: one that has a file name is a file."""
    return [
        Text(str(one.get("TransactionId")), str(one.get("ContentType", "")), str(one.get("Content") or ""))
        for one in attachments
        if not one.get("Filename") and str(one.get("ContentType", "")).startswith("text/")
    ]


def keys_in(texts: Iterable[Text]) -> set[str]:
    """The marks of the notes that okienko wrote."""
    return {key for one in texts if (key := key_in(one.text))}


def notes_of(history: Sequence[Record], texts: Sequence[Text], me: str | None = None) -> tuple[Note, ...]:
    """Comments and correspondence, oldest first, without those that only carry a file of okienko's.

    `me` is okienko's login, where it is known: nobody else's note has a key, whatever it quotes.
    """
    plain: dict[str, str] = {}
    for text in sorted(texts, key=lambda one: one.media_type != "text/plain"):
        plain.setdefault(text.transaction, text.text if text.media_type == "text/plain" else without_html(text.text))
    notes = []
    for one in sorted(history, key=lambda record: int(record.get("id") or 0)):
        number, at = str(one.get("id")), moment(one.get("Created"))
        if one.get("Type") not in NOTE_TYPES or at is None:
            continue
        content = plain.get(number, "")
        if digest_in(content) is not None:
            continue
        creator = one.get("Creator")
        author = str(creator.get("id", "")) if isinstance(creator, Mapping) else ""
        notes.append(
            Note(
                id=number,
                text=unmarked(content),
                at=at,
                public=one.get("Type") == "Correspond",
                author=author,
                key=key_in(content) if me is None or author == me else None,
            )
        )
    return tuple(notes)


def without_html(text: str) -> str:
    """HTML as plain text: lines stay lines."""
    body = LexborHTMLParser(re.sub(r"(?i)<(br|/p|/div|/li|/tr)\b[^>]*>", "\n", text)).body
    return html.unescape(body.text() if body is not None else "").strip()


def file_note(sha256: str) -> str:
    """The text of the comment that carries a file: by it the file's digest is known without fetching the file."""
    return f"sha256: {sha256}"


def digest_in(text: str) -> str | None:
    """The digest in a comment that carries a file of okienko's, None for any other."""
    found = _FILE.match(text)
    return found[1] if found and key_in(text) else None


def files_of(attachments: Sequence[Record], texts: Sequence[Text]) -> tuple[RemoteFile, ...]:
    """What has a file name, in the order in which it came."""
    digests = {text.transaction: digest for text in texts if (digest := digest_in(text.text))}
    return tuple(
        RemoteFile(
            id=str(one.get("id")),
            filename=str(one["Filename"]),
            size=int(one.get("ContentLength") or 0),
            sha256=digests.get(str(one.get("TransactionId"))),
        )
        for one in attachments
        if one.get("Filename")
    )


def content_digest(attachment: Record) -> str | None:
    """SHA-256 of an attachment's content, which RT gives in Base64."""
    try:
        return hashlib.sha256(base64.b64decode(str(attachment.get("Content") or ""))).hexdigest()
    except ValueError:
        return None


def user_in(token: str) -> str | None:
    """The number of the user whose token it is: RT's tokens are `1-27-…`. None for a token of another form."""
    found = re.fullmatch(r"1-([0-9]{1,9})-\S+", token)
    return found[1] if found else None


def path_of(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def filename_of(name: str) -> str:
    """A name as RT takes it (varchar(255)); "0" is none for it."""
    return file_name(name, never=("0",))


def differences(record: Record, wanted: Mapping[str, Any]) -> list[str]:
    """The names of the fields that are not as they were to be."""
    return [name for name, value in wanted.items() if value is not None and _differs(record, name, value)]


def _differs(record: Record, name: str, value: Any) -> bool:
    if name == "Queue":
        return (queue_of(record) or "").casefold() != str(value).casefold()
    if name == "Owner":
        return (owner_of(record) or "Nobody").casefold() != str(value).casefold()
    return str(record.get(name) or ("0" if name == "Priority" else "")).casefold() != str(value).casefold()


def times_closed(history: Sequence[Record], mapping: CsdMapping) -> int:
    """How often the ticket went to a closed state: the solution's mark counts them, since a ticket may be closed again."""
    return sum(
        one.get("Type") == "Status" and mapping.status_in(str(one.get("NewValue"))) is TicketStatus.CLOSED
        for one in history
    )


def notified(request: WebhookRequest, secret: str) -> tuple[CsdRef, ...]:
    """The tickets of a webhook's body. See docs/csd-rt.md for the scrip that posts it.

    Raises ForgedNoticeError when the HMAC-SHA-256 of the body is not that in X-Okienko-Signature, PermanentError for a body
    that does not say which ticket.
    """
    expected = "sha256=" + hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), request.headers.get(SIGNATURE, "").encode("utf-8", "replace")):
        raise ForgedNoticeError(
            "a webhook of RT has no right signature: compare OKIENKO_CSD_RT_WEBHOOK_SECRET with RT's OkienkoWebhookSecret"
        )
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    told = body.get("tickets", [body.get("ticket")]) if isinstance(body, dict) else None
    if not isinstance(told, list) or not told or not all(type(one) is int and one > 0 for one in told):
        raise PermanentError("a webhook of RT does not say which ticket: install the scrip of docs/csd-rt.md again")
    return tuple(ref_of(one) for one in told)
