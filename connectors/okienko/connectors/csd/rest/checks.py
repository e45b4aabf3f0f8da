"""`okienko check` of the declarative connector: the file against its recorded answers, then against the system itself.

Nothing is created: of the live system only the search for a case that there is not is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx

from okienko.connectors.csd.rest import reading
from okienko.connectors.csd.rest.description import DescriptionFile, Recording, RequestName
from okienko.connectors.csd.rest.wire import RestWire, arguments_of
from okienko.plugins.csd import Capability
from okienko.plugins.errors import MisconfiguredError, OkienkoError
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.httpapi import Answer

_PAGE = {"page": 1, "offset": 0, "limit": 100, "next": None}
_TICKET = {"id": "1", "number": "1"}
_TRIAL: dict[str, dict[str, Any]] = {
    "search": {"correlation_id": str(UUID(int=0)), **_PAGE},
    "create": {
        "correlation_id": str(UUID(int=0)), "subject": "Temat", "text": "Treść", "requester": "a@example.invalid",
        "requester_name": "A", "opened_at": "2026-01-05T08:30:00+00:00", "channel": "email", "kind": "recovery",
        "procedure": None, "case_number": "1", "queue": None, "type": None, "priority": None, "status": "open", "fields": {},
    },
    "get": _TICKET, "notes": {**_TICKET, **_PAGE}, "files": {**_TICKET, **_PAGE},
    "note": {**_TICKET, "text": "Treść", "public": False},
    "file": {
        **_TICKET, "filename": "a.txt", "media_type": "text/plain", "size": 1, "sha256": "0" * 64, "content_base64": None,
    },
    "download": {**_TICKET, "file_id": "1"},
    "change": {**_TICKET, "subject": None, "queue": None, "assignee": None, "priority": None, "status": None},
    "close": {**_TICKET, "text": "Treść", "status": "closed"},
    "link": {**_TICKET, "other_id": "2", "other_number": "2"},
    "changes": {"since": "2026-01-05T08:30:00+00:00", "since_seconds": 1767601800, **_PAGE},
    "clock": {},
}  # fmt: skip
"""The names that each request's templates may use, with trial values."""


async def check(file: DescriptionFile, wire: RestWire) -> list[Finding]:
    """Everything that can be tried."""
    findings = [*templates(file), *recordings(file, wire)]
    if not any(finding.severity is Severity.ERROR for finding in findings):
        findings.append(Finding(file.path.name, Severity.OK, "the description fits its recorded answers"))
    return [*findings, await live(file, wire)]


def templates(file: DescriptionFile) -> Iterator[Finding]:
    """Each template with trial values: a name that there is not is found here."""
    for name, request in file.description.requests.items():
        parts: list[tuple[tuple[str, ...], dict[str, Any]]] = [
            (("path",), {"path": request.path}),
            *((("query", key), {"query": {key: text}}) for key, text in request.query.items()),
            *((("headers", key), {"headers": {key: text}}) for key, text in request.headers.items()),
            *((("form", key), {"form": {key: text}}) for key, text in request.form.items()),
            *_bodies(request.body),
        ]
        for place, part in parts:
            one = request.model_copy(update={"path": "/", "query": {}, "headers": {}, "form": {}, "body": None} | part)
            try:
                arguments_of(one, _TRIAL[name])
            except MisconfiguredError as error:
                known = ", ".join(sorted(_TRIAL[name])) or "none"
                yield Finding(
                    file.where("requests", name, *place),
                    Severity.ERROR,
                    str(error),
                    f"names of [requests.{name}]: {known}",
                )


def _bodies(body: Any, place: tuple[str, ...] = ("body",)) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if isinstance(body, dict):
        for key, value in body.items():
            yield from _bodies(value, (*place, key))
    elif isinstance(body, list):
        for value in body:
            yield from _bodies(value, place)
    elif isinstance(body, str):
        yield place, {"body": body}


def recordings(file: DescriptionFile, wire: RestWire) -> Iterator[Finding]:
    """Each recorded answer read as if it came now."""
    d = file.description
    for place, recording in enumerate(d.recordings):
        where = file.where("recordings", place)
        try:
            content = (file.path.parent / recording.answer).read_bytes()
            body = json.loads(content) if content.strip() else None
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no JSON"
            yield Finding(where, Severity.ERROR, f"cannot read {recording.answer}: {reason}", "record the answer again")
            continue
        if recording.request not in d.requests:
            yield Finding(where, Severity.ERROR, f"there is no [requests.{recording.request}]", "correct the name")
        elif recording.status >= 400:
            yield from _refusal(wire, recording, content, where)
        else:
            yield from _try(file, recording, lambda body=body, name=recording.request: _read(file, name, body))  # type: ignore[misc]  # defaults bind the loop's values
    recorded = {recording.request for recording in d.recordings if recording.status < 400}
    wanted: list[RequestName] = ["search", "create", "get"]
    wanted += [name for name in ("notes", "files", "changes") if name in d.requests]
    for name in wanted:
        if name not in recorded:
            cure = f'add [[recordings]] with request = "{name}" and answer = "….json"'
            yield Finding(
                file.where("requests", name), Severity.WARNING, "no recorded answer: the file is untried here", cure
            )


def _try(file: DescriptionFile, recording: Recording, read: Callable[[], None]) -> Iterator[Finding]:
    try:
        read()
    except reading.UnreadError as error:
        cure = f"compare it with {recording.answer}"
        yield Finding(file.where(*error.place), Severity.ERROR, f"{'.'.join(error.place)}: {error.problem}", cure)


def _read(file: DescriptionFile, name: RequestName, body: Any) -> None:
    d = file.description
    zone = ZoneInfo(d.time_zone)
    request = d.requests[name]
    rows: list[Any] = []
    if request.items is not None:
        place = ("requests", name, "items")
        rows = reading.rows_of(request.items, body, place)
        if not rows:
            raise reading.UnreadError(place, f"{request.items} finds no row in the recorded answer")
    if name == "create":
        reading.ref_of(d.answers.created, body, ("answers", "created"))
    elif name in ("get", "search"):
        for row in rows or [body]:
            ticket = reading.ticket_of(d, zone, row, None if name == "get" else (), None if name == "get" else ())
            if ticket is not None and ticket.correlation_id is None:
                raise reading.UnreadError(
                    ("answers", "ticket", "correlation"),
                    f"{d.answers.ticket.correlation} finds no case id in the answer",
                )
            if ticket is not None and ticket.priority is None and Capability.PRIORITY in d.capabilities:
                raw = reading.value_of(d.answers.ticket.priority or "@", row, ("answers", "ticket", "priority"))
                raise reading.UnreadError(("priorities",), f"the priority {raw!r} is not in [priorities]")
    elif name == "notes" and d.answers.note is not None:
        for row in rows:
            reading.note_of(d.answers.note, zone, row)
    elif name == "files" and d.answers.file is not None:
        for row in rows:
            reading.file_of(d.answers.file, row)
    elif name == "changes":
        times = [reading.change_of(d, zone, row)[1] for row in rows]
        if times != sorted(times):
            raise reading.UnreadError(("requests", "changes"), "the changes do not come oldest first")


def _refusal(wire: RestWire, recording: Recording, content: bytes, where: str) -> Iterator[Finding]:
    answer = Answer(recording.status, httpx.Headers({"content-type": "application/json"}), content)
    try:
        error = wire.refusal(answer, f"[requests.{recording.request}]")
    except reading.UnreadError as unread:
        yield Finding(where, Severity.ERROR, f"{'.'.join(unread.place)}: {unread.problem}", "correct [[errors]]")
        return
    yield Finding(where, Severity.OK, f"{recording.answer} is taken for: {type(error).__name__}: {error}")


async def live(file: DescriptionFile, wire: RestWire) -> Finding:
    """The search for a case that there is not, at the system itself."""
    try:
        async for _ in wire.rows("search", {"correlation_id": str(uuid4())}):
            return Finding(
                file.where("requests", "search"), Severity.ERROR, "the search for a case that there is not finds a ticket",
                "the system ignores the query: correct its name or value, or make the field there",
            )  # fmt: skip
    except OkienkoError as error:
        return Finding("csd rest", Severity.ERROR, str(error), "check URL, the secrets, and what stands before the API")
    return Finding("csd rest", Severity.OK, "the system lets us in")
