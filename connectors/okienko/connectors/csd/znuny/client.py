"""The CSD backend behind Znuny's Generic Interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from okienko.connectors.csd.znuny import mapping as words
from okienko.connectors.csd.znuny.checks import check
from okienko.connectors.csd.znuny.settings import ZnunyCsdSettings
from okienko.connectors.csd.znuny.wire import ZnunyRefusedError, ZnunyWire
from okienko.plugins.csd import (
    Capability,
    Changes,
    CsdBase,
    NewFile,
    Registration,
    Ticket,
    TicketChange,
    TicketGoneError,
    WebhookRequest,
)
from okienko.plugins.csdmapping import MappingFile, load_mapping
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.httpapi import Credentials, HttpApi, Limits
from okienko.plugins.pace import Pace
from okienko.plugins.ports import Finding
from okienko.schemas import CsdRef, TicketStatus

T = TypeVar("T")
R = TypeVar("R")
_FOUND = 50
"""Tickets that a search for one case may give. More means that the search does not filter at all."""
_OVERLAP = timedelta(seconds=1)
"""Znuny's times have whole seconds: what was changed in the second of the cursor is told again."""
_MOST = 10_000
_LARGEST = 64 << 20


class ZnunyCsd(CsdBase):
    """See CsdBackend. Znuny keeps neither links nor versions behind this interface, and no article can be changed."""

    name = "znuny"

    def __init__(self, settings: ZnunyCsdSettings, pace: Pace | None = None) -> None:
        assert settings.url is not None and settings.mapping is not None  # noqa: S101, PT018  the settings see to it
        assert settings.user is not None and settings.password is not None  # noqa: S101, PT018  as above
        self._settings = settings
        self._file: MappingFile = load_mapping(settings.mapping)
        self._zone = ZoneInfo(settings.time_zone)
        api = HttpApi(
            settings.url,
            Credentials(),
            ca_file=settings.ca_file,
            limits=Limits(connect=settings.connect_timeout, total=settings.timeout, max_body=_LARGEST),
            pace=pace,
        )
        self._wire = ZnunyWire(api, settings.user, settings.password)
        self._gate = asyncio.Semaphore(settings.connections)
        self._once = OnceOnly(self.find, self._create, at_once=settings.connections)
        c = Capability
        can = {c.PUBLIC_NOTES, c.ATTACHMENTS, c.SUBJECT, c.PRIORITY, c.QUEUE, c.ASSIGNEE, c.CHANGES, c.REMOVAL}
        if TicketStatus.PENDING in self._file.mapping.states.write:
            can.add(c.PENDING)
        if settings.webhook_secret is not None:
            can.add(c.WEBHOOK)
        self.capabilities = frozenset(can)

    async def start(self) -> None:
        """See CsdBackend. Nothing is to be made, and a Znuny that is away must not hold up the service."""

    async def stop(self) -> None:
        """See CsdBackend."""
        await self._wire.stop()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend. Raises MisconfiguredError when the search does not know the correlation field."""
        found = await self._each(list(dict.fromkeys(correlation_ids)), self._find)
        return {key: ref for key, ref in found if ref is not None}

    async def _find(self, key: UUID) -> tuple[UUID, CsdRef | None]:
        field = self._file.mapping.correlation
        ids = await self._wire.search({f"DynamicField_{field}": {"Equals": str(key)}, "Limit": _FOUND})
        if not ids:
            return key, None
        tickets = await self._wire.get(ids, articles=False)
        ours = [one for one in tickets if words.correlation(one, field) == key]
        if len(ours) < len(ids):
            # Znuny ignores a field that it does not know and lists everything; "not found" would be a second ticket then.
            raise MisconfiguredError(
                f"the search for {field} gave tickets without it: see that the dynamic field {field!r} of the mapping "
                f"{self._file.where('correlation')} exists, is valid, and that the agent may read every queue of the mapping"
            )
        return key, words.ref(min(ours, key=lambda one: int(one["TicketID"])), self.name)

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return await self._once.create(registrations)

    async def _create(self, registration: Registration) -> CsdRef:
        mapping = self._file.mapping
        if mapping.queue_for(registration) is None:
            raise MisconfiguredError(
                f"{self._file.where('queues')}: no queue for {registration.kind.value}: add it, or default"
            )
        try:
            return words.ref(await self._wire.create(words.new_ticket(registration, mapping)), self.name)
        except ZnunyRefusedError as refused:
            if refused.reason in ("InvalidParameter", "AccessDenied") and "Article" not in refused.text:
                raise MisconfiguredError(f"{refused}: `okienko check csd` names the line of the mapping") from None
            raise

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend. A ticket that our agent may not see is not there either: Znuny answers both alike."""
        ticket_id = await self._id(ref)
        found = await self._wire.get([ticket_id], articles=True) if ticket_id else []
        return words.ticket(found[0], self.name, self._file.mapping, self._zone) if found else None

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        ticket = await self._there(ref)
        if not _has(ticket, key):
            await self._write(ticket.ref, {"Article": words.note(text, key, subject="Notatka", public=public)})

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend. The file goes in base64 in one request: larger ones than 32 MB are refused here."""
        if file.size > _LARGEST // 2:
            raise PermanentError(f"the file has {file.size} octets: more than Znuny takes in one request")
        ticket = await self._there(ref)
        content = await asyncio.to_thread(_read, file)
        key, article, attachment = await asyncio.to_thread(words.file_note, file, content)
        if not _has(ticket, key):
            await self._write(ticket.ref, {"Article": article, "Attachment": [attachment]})

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. There are no versions to compare."""
        del version
        mapping, fields = self._file.mapping, dict[str, Any]()
        if change.status is not None:
            fields |= self._state(change.status)
        if change.subject is not None:
            fields["Title"] = words.one_line(change.subject)
        if change.priority is not None:
            fields["Priority"] = mapping.priority_out(change.priority)
            if fields["Priority"] is None:
                raise MisconfiguredError(f"{self._file.where('priorities')}: no priority for {change.priority.value}")
        if change.queue is not None:
            fields["Queue"] = change.queue
        if change.assignee is not None:
            fields["Owner"] = change.assignee
        ticket = await self._there(ref)
        if not fields:
            return
        await self._write(ticket.ref, {"Ticket": fields})
        after = await self._there(ticket.ref)
        got = {"State": after.raw_status, "Title": after.subject, "Queue": after.queue, "Owner": after.assignee}
        ignored = [
            name for name, value in fields.items() if name in got and str(got[name]).casefold() != str(value).casefold()
        ]
        if ignored:
            raise PermanentError(
                f"Znuny took the change of {', '.join(ignored)} and did not make it: look at its rules (ACL)"
            )

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        ticket = await self._there(ref)
        if ticket.status is not TicketStatus.CLOSED:
            article = words.note(solution, f"solution {solution}", subject="Rozwiązanie", public=True)
            await self._write(ticket.ref, {"Ticket": self._state(TicketStatus.CLOSED), "Article": article})

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend."""
        ticket = await self._there(ref)
        if ticket.status is TicketStatus.CLOSED:
            key = f"reopened {ticket.updated_at:%Y-%m-%dT%H:%M:%S}"
            article = words.note(reason, key, subject="Ponownie otwarte", public=False)
            await self._write(ticket.ref, {"Ticket": self._state(TicketStatus.OPEN), "Article": article})

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend. The cursor holds the time of the newest change that was told."""
        if cursor is None:
            newest = await self._wire.search({"SortBy": "Changed", "OrderBy": "Down", "Limit": 1})
            read = await self._wire.get(newest, articles=False) if newest else []
            return Changes((), _cursor(words.moment(read[0]["Changed"], self._zone) if read else None))
        since = json.loads(cursor)["at"]
        after = datetime.fromisoformat(since) if since else None
        while True:
            query: dict[str, Any] = {"SortBy": "Changed", "OrderBy": "Up", "Limit": limit}
            if after is not None:
                query["TicketLastChangeTimeNewerDate"] = (
                    f"{(after - _OVERLAP).astimezone(self._zone):%Y-%m-%d %H:%M:%S}"
                )
            ids = await self._wire.search(query)
            if not ids:
                return Changes((), cursor)
            told = [
                (words.moment(one["Changed"], self._zone), one) for one in await self._wire.get(ids, articles=False)
            ]
            told.sort(key=lambda pair: pair[0])
            newest_at = told[-1][0] if told else after
            full = len(ids) >= limit
            # More changes in one second than fit in one answer: a larger one, for otherwise it would never go on.
            if full and newest_at == after and limit < _MOST:
                limit *= 2
                continue
            return Changes(tuple(words.ref(one, self.name) for _, one in told), _cursor(newest_at), more=full)

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        secret = self._settings.webhook_secret
        if secret is None:
            raise self._cannot("post webhooks: WEBHOOK_SECRET is not set")
        return words.notified(request, secret.get_secret_value(), self.name)

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return await check(self._wire, self._file)

    def _state(self, status: TicketStatus) -> dict[str, Any]:
        fields: dict[str, Any] = {"State": self._file.mapping.status_out(status)}
        if status is TicketStatus.PENDING:
            fields["PendingTime"] = {"Diff": self._settings.pending_days * 24 * 60}
        return fields

    async def _there(self, ref: CsdRef) -> Ticket:
        ticket = await self.get(ref)
        if ticket is None:
            raise TicketGoneError(f"Znuny has no ticket {ref.number or ref.id}, or does not show it to our agent")
        return ticket

    async def _write(self, ref: CsdRef, body: dict[str, Any]) -> None:
        try:
            await self._wire.update(ref.id, body)
        except ZnunyRefusedError as refused:
            if refused.reason == "AccessDenied":
                raise MisconfiguredError(
                    f"Znuny does not let our agent change the ticket {ref.number}: give its role the right rw on the queue"
                ) from None
            raise

    async def _id(self, ref: CsdRef) -> str:
        if ref.id:
            return ref.id
        found = await self._wire.search({"TicketNumber": ref.number, "Limit": 2})
        return found[0] if len(found) == 1 else ""

    async def _each(self, things: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
        async def one(thing: T) -> R:
            async with self._gate:
                return await work(thing)

        return list(await asyncio.gather(*map(one, things)))


def _has(ticket: Ticket, key: str) -> bool:
    mark = mark_of(key)
    return any(note.key == mark for note in ticket.notes)


def _read(file: NewFile) -> bytes:
    with file.open() as stream:
        return stream.read()


def _cursor(at: datetime | None) -> str:
    return json.dumps({"at": at.isoformat() if at else None})
