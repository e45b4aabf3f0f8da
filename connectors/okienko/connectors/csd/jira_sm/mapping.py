"""From okienko's words to Jira's and back. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from okienko.connectors.csd.jira_sm.texts import from_adf, from_wiki, to_adf, to_wiki
from okienko.plugins.csd import ForgedNoticeError, Note, RawTicket, Registration, RemoteFile, Ticket, WebhookRequest
from okienko.plugins.csdmapping import CsdMapping, MappingFile
from okienko.plugins.csdnotes import key_in, unmarked
from okienko.plugins.csdtexts import clean, subject_line
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.schemas import CsdRef, TicketStatus

BACKEND = "jira_sm"
SIGNATURE = "x-hub-signature"
SUMMARY = 255
Record = Mapping[str, Any]
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[0-9]+")
_CUSTOM = re.compile(r"customfield_([0-9]+)")
_READ = (
    "summary",
    "status",
    "issuetype",
    "priority",
    "assignee",
    "project",
    "created",
    "updated",
    "attachment",
    "issuelinks",
)


def fields_for(mapping: CsdMapping) -> list[str]:
    """What is read of an issue."""
    return list(dict.fromkeys([*_READ, mapping.correlation, *(one.name for one in mapping.fields)]))


def field_in_jql(name: str) -> str:
    """`customfield_10100` is `cf[10100]` there. Raises MisconfiguredError for anything else."""
    found = _CUSTOM.fullmatch(name)
    if not found:
        raise MisconfiguredError(
            f"the correlation {name!r} is no custom field: write its id, such as customfield_10100"
        )
    return f"cf[{found[1]}]"


def body_text(text: str, *, cloud: bool, ending: str = "") -> object:
    """Plain text as a body of API 3 or 2, which takes 32767 characters; what is cut off is never the ending."""
    whole, markup = clean(text), ""
    for length in (32_000, 16_000, 6_000):
        cut = whole if len(whole) <= length else f"{whole[:length]} […]"
        if cloud:
            return to_adf(cut + ending)
        markup = to_wiki(cut + ending)
        if len(markup) <= 32_767:
            break
    return markup


def plain(body: object) -> str:
    """The plain text of a body of either API."""
    return from_wiki(body) if isinstance(body, str) else from_adf(body)


def new_issue(registration: Registration, mapping: CsdMapping, schemas: Record, *, cloud: bool) -> dict[str, Any]:
    """The body of POST /issue. `schemas`: of each field, by id."""
    fields: dict[str, Any] = {
        "project": {"key": mapping.queue_for(registration) or ""},
        "issuetype": {"name": mapping.type_for(registration) or ""},
        "summary": subject_line(registration.subject, SUMMARY),
        "description": body_text(registration.description, cloud=cloud),
        mapping.correlation: str(registration.correlation_id),
    }
    if (priority := mapping.priority_out(registration.priority)) is not None:
        fields["priority"] = {"name": priority}
    times = {one.name for one in mapping.fields if one.source == "opened_at"}
    for name, text in mapping.values_for(registration).items():
        value = registration.opened_at.strftime("%Y-%m-%dT%H:%M:%S.000+0000") if name in times else clean(text)
        fields[name] = shaped(value, schemas.get(name))
    # Lasting, and not to be changed by hand: tells a person with the REST API where an issue comes from.
    marker = {"key": "okienko", "value": {"case": str(registration.correlation_id), "number": registration.number}}
    return {"fields": fields, "properties": [marker]}


def matter_of(registration: Registration, file: MappingFile) -> tuple[str, str]:
    """Project and issue type of a new issue, neither of which may be missing. Raises MappingError."""
    return file.queue_of(registration, "project"), file.type_of(registration, "issue type")


def preview_of(registration: Registration, file: MappingFile) -> RawTicket:
    """The body of POST /issue under the mapping's heads. Raises MappingError. Jira's workflow gives the first state."""
    project, kind = matter_of(registration, file)
    fields: dict[str, Any] = new_issue(registration, file.mapping, {}, cloud=False)["fields"]
    own = [file.mapping.correlation, *file.mapping.values_for(registration)]
    return RawTicket(
        subject=fields["summary"], queue=project, type=kind,
        priority=fields["priority"]["name"] if "priority" in fields else None, fields={name: str(fields[name]) for name in own},
    )  # fmt: skip


def raw_of(issue: Record, mapping: CsdMapping) -> RawTicket:
    """An issue as Jira tells it. Times have another form there than when they are written: they are not told."""
    fields = fields_of(issue)
    project = fields.get("project")
    own = [mapping.correlation, *(one.name for one in mapping.fields if one.source != "opened_at")]
    return RawTicket(
        subject=str(fields.get("summary") or ""),
        queue=str(project.get("key")) if isinstance(project, Mapping) else None,
        type=text_of(fields.get("issuetype")) or None,
        status=text_of(fields.get("status")),
        priority=text_of(fields.get("priority")),
        fields={name: text_of(fields.get(name)) for name in own},
    )


def shaped(value: str, schema: object) -> Any:
    """A value as its field's type wants it (https://developer.atlassian.com/server/jira/platform/jira-rest-api-examples/)."""
    kind = schema.get("type") if isinstance(schema, Mapping) else "string"
    if kind == "array":
        inner = schema.get("items") if isinstance(schema, Mapping) else None
        return [shaped(value, {"type": inner})]
    if kind == "option":
        return {"value": value}
    if kind in ("priority", "version", "component", "group", "securitylevel", "issuetype"):
        return {"name": value}
    if kind == "number":
        try:
            return float(value)
        except ValueError:
            raise MisconfiguredError(
                f"a field of numbers is to be filled with {value!r}: correct the mapping"
            ) from None
    return value


def text_of(value: object) -> str:
    """A field's value as text."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(text_of, value)))
    if isinstance(value, Mapping):
        return str(value.get("value") or value.get("name") or value.get("displayName") or "")
    return str(value) if value is not None else ""


def fields_of(issue: Record) -> Record:
    """The issue's fields."""
    found = issue.get("fields")
    return found if isinstance(found, Mapping) else {}


def correlation(issue: Record, field: str) -> UUID | None:
    """The case id in the issue's field; None when it is empty or something else."""
    try:
        return UUID(text_of(fields_of(issue).get(field)))
    except ValueError:
        return None


def ref_of(issue: Record) -> CsdRef:
    """Key and id: the key changes when the issue is moved to another project, the id lasts."""
    return CsdRef(backend=BACKEND, number=str(issue.get("key", "")), id=str(issue.get("id", "")))


def address(ref: CsdRef) -> str | None:
    """What an issue is asked for by; None for what Jira never gave."""
    if ref.id.isascii() and ref.id.isdigit():
        return ref.id
    return ref.number if _KEY.fullmatch(ref.number) else None


def moment(text: object) -> datetime:
    """Jira's `2026-11-25T01:00:00.123+0100`, in UTC. Raises TransientError for anything else."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(UTC)
    except ValueError:
        raise TransientError("Jira sent an issue without its times") from None


def status_of(issue: Record, mapping: CsdMapping) -> TicketStatus:
    """What a state means. Raises PermanentError with the line that the mapping lacks."""
    raw = text_of(fields_of(issue).get("status"))
    status = mapping.status_in(raw)
    if status is None:
        raise PermanentError(
            f"issue {issue.get('key')} is in state {raw!r}, which the mapping does not know: add it to states.read"
        )
    return status


def assignee_of(issue: Record) -> str | None:
    """accountId (Cloud) or login (Data Center)."""
    who = fields_of(issue).get("assignee")
    return (str(who.get("accountId") or who.get("name") or "") or None) if isinstance(who, Mapping) else None


def ticket_of(issue: Record, mapping: CsdMapping, notes: tuple[Note, ...]) -> Ticket:
    """An issue with its comments and files."""
    fields = fields_of(issue)
    project = fields.get("project")
    files = [one for one in fields.get("attachment") or () if isinstance(one, Mapping)]
    return Ticket(
        ref=ref_of(issue),
        correlation_id=correlation(issue, mapping.correlation),
        status=status_of(issue, mapping),
        raw_status=text_of(fields.get("status")),
        subject=str(fields.get("summary") or ""),
        created_at=moment(fields.get("created")),
        updated_at=moment(fields.get("updated")),
        queue=str(project.get("key")) if isinstance(project, Mapping) else None,
        priority=mapping.priority_in(text_of(fields.get("priority"))),
        assignee=assignee_of(issue),
        version=str(fields.get("updated")),
        notes=notes,
        files=tuple(
            RemoteFile(str(one.get("id")), str(one.get("filename", "")), int(one.get("size") or 0))
            for one in sorted(files, key=lambda one: int(one.get("id") or 0))
        ),
        fields={one.source: text for one in mapping.fields if (text := text_of(fields.get(one.name)))},
        raw=raw_of(issue, mapping),
    )


def notes_of(comments: Sequence[Record], account: str) -> tuple[Note, ...]:
    """Comments, oldest first. A mark makes a note ours when `account` wrote it and no earlier one has the mark."""
    found: list[Note] = []
    marks: set[str] = set()
    for one in sorted(comments, key=lambda comment: int(comment.get("id") or 0)):
        text, author = plain(one.get("body")), one.get("author")
        who = author if isinstance(author, Mapping) else {}
        key = key_in(text) if account in (who.get("accountId"), who.get("name"), who.get("key")) else None
        if key in marks:
            key = None
        if key is not None:
            marks.add(key)
        found.append(
            Note(
                id=str(one.get("id")), text=unmarked(text) if key else text, at=moment(one.get("created")),
                public=is_public(one), author=str(who.get("displayName") or who.get("name") or ""), key=key,
            )
        )  # fmt: skip
    return tuple(found)


def is_public(comment: Record) -> bool:
    """What the customer sees: `jsdPublic` (Cloud), else the property; a comment for a role or group is internal."""
    if comment.get("visibility"):
        return False
    for one in comment.get("properties") or ():
        if isinstance(one, Mapping) and one.get("key") == "sd.public.comment":
            value = one.get("value")
            return not (isinstance(value, Mapping) and str(value.get("internal")).casefold() == "true")
    public = comment.get("jsdPublic")
    return public if isinstance(public, bool) else True


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def notified(request: WebhookRequest, secret: str) -> tuple[CsdRef, ...]:
    """The issue of Jira's webhook (`issue`), or those of an automation rule's (`issues`).

    Raises ForgedNoticeError when X-Hub-Signature is not `sha256=` and the body's HMAC-SHA-256 in hex, PermanentError for a body
    that names no issue.
    """
    expected = "sha256=" + hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), request.headers.get(SIGNATURE, "").encode("utf-8", "replace")):
        raise ForgedNoticeError("a webhook of Jira has no right X-Hub-Signature: compare WEBHOOK_SECRET with Jira's")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    body = body if isinstance(body, dict) else {}
    told = body.get("issues", [body.get("issue")])
    refs = [_told(one) for one in told] if isinstance(told, list) else []
    found = tuple(ref for ref in refs if ref is not None)
    if not found or len(found) != len(refs):
        raise PermanentError(
            "a webhook of Jira names no issue: send only events of issues and comments (docs/csd-jira-sm.md)"
        )
    return found


def _told(one: object) -> CsdRef | None:
    if not isinstance(one, dict):
        return None
    number, key = str(one.get("id") or ""), str(one.get("key") or "")
    ok = _KEY.fullmatch(key) and number.isascii() and number.isdigit()
    return CsdRef(backend=BACKEND, number=key, id=number) if ok else None
