"""A described API as a TicketSystem."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from okienko.connectors.csd.rest import reading
from okienko.connectors.csd.rest.checks import check
from okienko.connectors.csd.rest.description import DescriptionFile, RequestName
from okienko.connectors.csd.rest.settings import RestCsdSettings
from okienko.connectors.csd.rest.templates import names_in
from okienko.connectors.csd.rest.wire import RestWire, arguments_of
from okienko.plugins.context import utc_now
from okienko.plugins.csd import (
    RAW_HEADS,
    Capability,
    NewFile,
    RawTicket,
    Registration,
    RemoteFile,
    Ticket,
    TicketChange,
    TicketGoneError,
    WebhookRequest,
    digest_of,
)
from okienko.plugins.csdsystem import Row, by_time
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.findings import Finding
from okienko.plugins.pace import Pace
from okienko.schemas import CsdRef, TicketStatus


class RestSystem:
    """See TicketSystem."""

    def __init__(self, settings: RestCsdSettings, file: DescriptionFile, pace: Pace | None) -> None:
        self._file = file
        self._d = file.description
        self._zone = ZoneInfo(self._d.time_zone)
        self._secret = settings.webhook_secret
        self._wire = RestWire(settings, file, pace)
        can = set(self._d.capabilities)
        if TicketStatus.PENDING not in self._d.states.write:
            can.discard(Capability.PENDING)
        if self._secret is None:
            can.discard(Capability.WEBHOOK)
        self.capabilities = frozenset(can | {Capability.PREVIEW})

    async def stop(self) -> None:
        """See TicketSystem."""
        await self._wire.stop()

    async def search(self, correlation_id: UUID) -> AsyncGenerator[Ticket, None]:
        """See TicketSystem."""
        async for row in self._wire.rows("search", {"correlation_id": str(correlation_id)}):
            ticket = reading.ticket_of(self._d, self._zone, row)
            if ticket is not None:
                yield ticket

    async def create(self, registration: Registration) -> CsdRef:
        """See TicketSystem."""
        body = await self._wire.json("create", registration_values(self._file, registration))
        return reading.ref_of(self._d.answers.created, body, ("answers", "created"))

    def preview(self, registration: Registration) -> RawTicket:
        """See TicketSystem. Raises MappingError too for a template of [requests.create] that does not work with these values."""
        values = registration_values(self._file, registration)
        try:
            arguments_of(self._d.requests["create"], values)
        except MisconfiguredError as error:
            raise self._file.refusal(str(error), "correct the template", "requests", "create") from None
        told = {name: values[name] for name in RAW_HEADS if name != "subject" and name in self._created_of}
        fields = values["fields"] if "fields" in self._created_of else {}
        return RawTicket(subject=registration.subject, **told, fields=fields)

    @cached_property
    def _created_of(self) -> set[str]:
        """The names that the templates of [requests.create] use."""
        request = self._d.requests["create"]
        return names_in([request.path, request.query, request.headers, request.form, request.body])

    async def read(self, ref: CsdRef) -> Ticket | None:
        """See TicketSystem."""
        values = {"id": ref.id or ref.number, "number": ref.number}
        try:
            body, notes, files = await asyncio.gather(
                self._wire.json("get", values), self._rows("notes", values), self._rows("files", values)
            )
        except TicketGoneError:
            return None
        return reading.ticket_of(self._d, self._zone, body, notes, files)

    async def _rows(self, name: RequestName, values: dict[str, Any]) -> list[Any] | None:
        return [row async for row in self._wire.rows(name, values)] if name in self._d.requests else None

    async def add_note(self, ticket: Ticket, text: str, *, public: bool) -> None:
        """See TicketSystem."""
        await self._wire.call("note", {**_values(ticket), "text": text, "public": public})

    async def solve(self, ticket: Ticket, text: str) -> None:
        """See TicketSystem. Without [requests.close] the solution is a note, public where there are public ones."""
        if "close" in self._d.requests:
            status = self._d.status_out(TicketStatus.CLOSED)
            await self._wire.call("close", {**_values(ticket), "text": text, "status": status})
        else:
            await self.add_note(ticket, text, public=Capability.PUBLIC_NOTES in self.capabilities)

    async def add_file(self, ticket: Ticket, file: NewFile, filename: str) -> None:
        """See TicketSystem; as a part of a form, or in base64 in the body."""
        with closing(file.open()) as stream:
            content = await asyncio.to_thread(stream.read)
        kind = file.media_type if "/" in file.media_type else "application/octet-stream"
        values = _values(ticket) | {
            "filename": filename, "media_type": kind, "size": len(content), "sha256": file.sha256, "content_base64": None,
        }  # fmt: skip
        if self._d.requests["file"].file is None:
            values["content_base64"] = base64.b64encode(content).decode()
        await self._wire.call("file", values, (filename, content, kind))

    async def digest(self, ticket: Ticket, file: RemoteFile) -> str | None:
        """See TicketSystem."""
        if "download" not in self._d.requests:
            return None
        answer = await self._wire.call("download", {**_values(ticket), "file_id": file.id})
        return digest_of(answer.content)

    async def update(self, ticket: Ticket, change: TicketChange) -> None:
        """See TicketSystem; what does not change is null and left out of the body."""
        values: dict[str, Any] = {
            "subject": change.subject, "queue": change.queue, "assignee": change.assignee, "priority": None, "status": None,
        }  # fmt: skip
        if change.priority is not None:
            values["priority"] = self._d.priority_out(change.priority)
        if change.status is not None:
            values["status"] = self._d.status_out(change.status)
        await self._wire.call("change", {**_values(ticket), **values})

    async def link(self, ticket: Ticket, other: Ticket) -> None:
        """See TicketSystem."""
        target = {"other_id": other.ref.id or other.ref.number, "other_number": other.ref.number}
        await self._wire.call("link", {**_values(ticket), **target})

    async def clock(self) -> datetime:
        """See TicketSystem: the Date of an answer; without one ours, a minute early to be safe."""
        if "clock" in self._d.requests:
            answer = await self._wire.call("clock", {})
        else:
            paging = self._d.paging
            place = {"page": paging.first if paging else 1, "offset": 0, "limit": 1, "next": None}
            answer = await self._wire.call("search", {"correlation_id": str(uuid4()), **place})
        try:
            return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return utc_now() - timedelta(seconds=60)

    async def changed(self, since: datetime) -> AsyncGenerator[tuple[CsdRef, datetime], None]:
        """See TicketSystem. `{{ since }}` is in the file's time zone, `{{ since_seconds }}` counts from 1970."""
        paging = self._d.paging
        if paging is None or paging.kind == "next":
            async for row in self._wire.rows("changes", since_values(since, self._zone)):
                for one in self._told([row], since):
                    yield one
            return

        async def page(at: datetime, start: int) -> tuple[list[Row], bool]:
            values = since_values(at, self._zone)
            rows, _ = await self._wire.page("changes", values, number=start, offset=start)
            return self._told(rows, at), bool(rows)

        async with aclosing(by_time(page, since, whole_pages=paging.kind == "page")) as rows:
            async for row in rows:
                yield row

    def _told(self, rows: list[Any], since: datetime) -> list[Row]:
        found = [reading.change_of(self._d, self._zone, row) for row in rows]
        if any(later[1] < earlier[1] for earlier, later in pairwise(found)):
            raise MisconfiguredError(
                f"{self._file.where('requests', 'changes')}: the changes do not come oldest first: add the order to the query"
            )
        if found and found[0][1] < since - timedelta(days=2):
            raise MisconfiguredError(
                f"{self._file.where('requests', 'changes')}: there are changes of long before {{{{ since }}}}: the system ignores it"
            )
        return found

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See TicketSystem."""
        assert self._d.webhook is not None  # noqa: S101  the description demands it with the capability
        assert self._secret is not None  # noqa: S101  without it there is no capability
        return reading.notified(self._d.webhook, self._secret.get_secret_value(), request)

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self._file, self._wire)


def _values(ticket: Ticket) -> dict[str, Any]:
    return {"id": ticket.ref.id or ticket.ref.number, "number": ticket.ref.number}


def since_values(since: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """The values of [requests.changes]."""
    return {"since": since.astimezone(zone).isoformat(timespec="seconds"), "since_seconds": int(since.timestamp())}


def registration_values(file: DescriptionFile, registration: Registration) -> dict[str, Any]:
    """The values of [requests.create]."""
    d = file.description
    return {
        "correlation_id": str(registration.correlation_id), "subject": registration.subject, "text": registration.description,
        "requester": registration.requester, "requester_name": registration.requester_name,
        "opened_at": registration.opened_at.isoformat(timespec="seconds"), "channel": registration.channel.value,
        "kind": registration.kind.value, "procedure": registration.procedure.value if registration.procedure else None,
        "case_number": registration.number, "queue": d.queue_for(registration), "type": d.type_for(registration),
        "priority": d.priority_out(registration.priority), "status": d.status_out(TicketStatus.OPEN),
        "fields": d.values_for(registration),
    }  # fmt: skip
