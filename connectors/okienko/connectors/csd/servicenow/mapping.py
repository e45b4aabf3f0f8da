"""From okienko's words to ServiceNow's and back. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from okienko.plugins.csd import ForgedNoticeError, Note, RawTicket, Registration, RemoteFile, Ticket, WebhookRequest
from okienko.plugins.csdmapping import CsdMapping, MappingFile
from okienko.plugins.csdnotes import key_in, unmarked
from okienko.plugins.csdtexts import clean, subject_line
from okienko.plugins.errors import PermanentError, TransientError
from okienko.schemas import CsdRef, TicketStatus

BACKEND = "servicenow"
SIGNATURE = "x-okienko-signature"
SUBJECT = 160
"""task.short_description has 160 characters, task.description 4000."""
DESCRIPTION = 4000
_SYS_ID = re.compile(r"[0-9a-f]{32}")
_CODE = re.compile(r"\[(/?code)\]", re.IGNORECASE)
Record = Mapping[str, Any]


def fields_for(mapping: CsdMapping) -> str:
    """What is read of a ticket."""
    own = [
        "sys_id", "number", mapping.correlation, "short_description", "state", "priority", "impact", "urgency", "close_notes", "category",
        "assignment_group", "assignment_group.name", "assigned_to", "assigned_to.user_name", "sys_created_on", "sys_updated_on", "sys_mod_count",
    ]  # fmt: skip
    return ",".join(dict.fromkeys([*own, *(one.name for one in mapping.fields)]))


def value(record: Record, name: str) -> str:
    """A field's stored value, "" when it has none."""
    found = record.get(name)
    if isinstance(found, Mapping):
        found = found.get("value")
    return str(found) if found is not None else ""


def new_ticket(registration: Registration, mapping: CsdMapping) -> dict[str, str]:
    """The fields of a new ticket; references (group, caller) are still words."""
    values = {
        "short_description": subject_line(registration.subject, SUBJECT),
        "description": _cut(plain(registration.description)),
        mapping.correlation: str(registration.correlation_id),
        "state": mapping.status_out(TicketStatus.OPEN),
    }
    if group := mapping.queue_for(registration):
        values["assignment_group"] = group
    if category := mapping.type_for(registration):
        values["category"] = category
    if (priority := mapping.priority_out(registration.priority)) is not None:
        values |= priority_fields(priority)
    times = {one.name for one in mapping.fields if one.source == "opened_at"}
    for name, text in mapping.values_for(registration).items():
        values[name] = registration.opened_at.strftime("%Y-%m-%d %H:%M:%S") if name in times else plain(text)
    return values


_HEADS = frozenset(
    {"short_description", "description", "state", "assignment_group", "category", "priority", "impact", "urgency"}
)
_CALLER = "caller_id"
"""Written by an address, told by a sys_id."""


def preview_of(registration: Registration, file: MappingFile) -> RawTicket:
    """The fields of a new ticket under the mapping's heads; impact and urgency as `2/1`."""
    values = new_ticket(registration, file.mapping)
    own = {file.mapping.correlation, *(one.name for one in file.mapping.fields)}
    return RawTicket(
        subject=values["short_description"], queue=values.get("assignment_group"), type=values.get("category"),
        status=values["state"], priority=_priority(values, pair="impact" in values), requester=values.get(_CALLER),
        fields={name: value for name, value in values.items() if name in own or name not in _HEADS},
    )  # fmt: skip


def raw_of(record: Record, mapping: CsdMapping) -> RawTicket:
    """A ticket as ServiceNow tells it; a group by its sys_id where the mapping does so."""
    group = value(record, "assignment_group")
    names = [mapping.correlation, *(one.name for one in mapping.fields if one.name != _CALLER)]
    return RawTicket(
        subject=value(record, "short_description"),
        queue=group if group in mapping.queues.values() else value(record, "assignment_group.name"),
        type=value(record, "category"),
        status=value(record, "state"),
        priority=_priority(
            {name: value(record, name) for name in ("impact", "urgency", "priority")},
            pair=any("/" in name for name in mapping.priorities.values()),
        ),
        fields={name: value(record, name) for name in names},
    )


def _priority(values: Mapping[str, str], *, pair: bool) -> str | None:
    return f"{values['impact']}/{values['urgency']}" if pair else values.get("priority")


def _cut(text: str) -> str:
    return text if len(text) <= DESCRIPTION else f"{text[: DESCRIPTION - 4]} […]"


def plain(text: str) -> str:
    """Text as journals take it: what stands between [code] and [/code] they would show as HTML."""
    return _CODE.sub(r"[ \1]", clean(text))


def priority_fields(name: str) -> dict[str, str]:
    """`2/1` is impact and urgency, from which ServiceNow looks up the priority of an incident; `3` the priority itself."""
    impact, slash, urgency = name.partition("/")
    return {"impact": impact.strip(), "urgency": urgency.strip()} if slash else {"priority": name}


def correlation(record: Record, field: str) -> UUID | None:
    """The case id in the ticket's field; None when it is empty or something else."""
    try:
        return UUID(value(record, field))
    except ValueError:
        return None


def ref_of(record: Record) -> CsdRef:
    """Number and sys_id."""
    return CsdRef(backend=BACKEND, number=value(record, "number"), id=value(record, "sys_id"))


def is_sys_id(text: str) -> bool:
    """32 hex digits."""
    return bool(_SYS_ID.fullmatch(text))


def moment(text: str) -> datetime:
    """ServiceNow stores `2026-11-23 21:25:00` in UTC. Raises TransientError for anything else."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise TransientError("ServiceNow sent a ticket without its times: may our user read sys_updated_on?") from None


def status_of(record: Record, mapping: CsdMapping) -> TicketStatus:
    """What a state means. Raises PermanentError with the line that the mapping lacks."""
    raw = value(record, "state")
    status = mapping.status_in(raw)
    if status is None:
        raise PermanentError(
            f"ticket {value(record, 'number')} is in state {raw!r}, which the mapping does not know: add it to states.read"
        )
    return status


def ticket_of(record: Record, mapping: CsdMapping, notes: tuple[Note, ...], files: Sequence[Record]) -> Ticket:
    """A ticket with its notes and files."""
    status = status_of(record, mapping)
    pair = f"{value(record, 'impact')}/{value(record, 'urgency')}"
    names = {one.name: one.source for one in mapping.fields}
    return Ticket(
        ref=ref_of(record),
        correlation_id=correlation(record, mapping.correlation),
        status=status,
        raw_status=value(record, "state"),
        subject=value(record, "short_description"),
        created_at=moment(value(record, "sys_created_on")),
        updated_at=moment(value(record, "sys_updated_on")),
        queue=value(record, "assignment_group.name") or None,
        priority=mapping.priority_in(pair) or mapping.priority_in(value(record, "priority")),
        assignee=value(record, "assigned_to.user_name") or None,
        solution=(value(record, "close_notes") or None) if status is TicketStatus.CLOSED else None,
        version=value(record, "sys_mod_count") or None,
        notes=notes,
        files=tuple(
            RemoteFile(
                str(one.get("sys_id")), str(one.get("file_name", "")), int(one.get("size_bytes") or 0), digest_of(one)
            )
            for one in files
        ),
        fields={source: value(record, name) for name, source in names.items() if value(record, name)},
        raw=raw_of(record, mapping),
    )


def digest_of(attachment: Record) -> str | None:
    """`hash` is SHA-256 since Paris; older instances kept another."""
    found = str(attachment.get("hash") or "").lower()
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else None


def sha256(content: bytes) -> str:
    """Hex."""
    return hashlib.sha256(content).hexdigest()


def notes_of(journal: Sequence[Record], user: str | None) -> tuple[Note, ...]:
    """Entries of sys_journal_field, oldest first; those of one second stay as the table gives them.

    A mark makes a note ours when `user` wrote it (None: not known, with client credentials) and no earlier note has the mark:
    who quotes a note of ours comes after it.
    """
    found: list[Note] = []
    marks: set[str] = set()
    entries = [one for one in journal if value(one, "element") in ("comments", "work_notes")]
    for one in sorted(entries, key=lambda entry: value(entry, "sys_created_on")):
        text, author = value(one, "value"), value(one, "sys_created_by")
        key = key_in(text) if user is None or author.casefold() == user.casefold() else None
        if key in marks:
            key = None
        if key is not None:
            marks.add(key)
        found.append(
            Note(
                id=value(one, "sys_id"),
                text=unmarked(text.replace("\r\n", "\n")) if key else text.replace("\r\n", "\n"),
                at=moment(value(one, "sys_created_on")),
                public=value(one, "element") == "comments",
                author=author,
                key=key,
            )
        )
    return tuple(found)


def notified(request: WebhookRequest, secret: str) -> tuple[CsdRef, ...]:
    """The tickets of a webhook's body, `{"tickets": [{"number", "sys_id"}]}`; see docs/csd-servicenow.md for the business rule.

    Raises ForgedNoticeError when X-Okienko-Signature is not the body's HMAC-SHA-256 in Base64, PermanentError for a body that
    does not say which tickets.
    """
    expected = base64.b64encode(hmac.new(secret.encode(), request.body, hashlib.sha256).digest())
    given = request.headers.get(SIGNATURE, "").encode("utf-8", "replace")
    if not hmac.compare_digest(expected, given):
        raise ForgedNoticeError(
            "a webhook of ServiceNow has no right signature: compare WEBHOOK_SECRET with the property okienko.webhook.secret"
        )
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    told = body.get("tickets") if isinstance(body, dict) else None
    refs = [_told(one) for one in told] if isinstance(told, list) else []
    found = tuple(ref for ref in refs if ref is not None)
    if not found or len(found) != len(refs):
        raise PermanentError("a webhook of ServiceNow does not say which tickets: install its business rule again")
    return found


def _told(one: object) -> CsdRef | None:
    if not isinstance(one, dict):
        return None
    number, sys_id = str(one.get("number") or ""), str(one.get("sys_id") or "")
    return CsdRef(backend=BACKEND, number=number, id=sys_id) if number and is_sys_id(sys_id) else None
