"""The CSD backend behind Request Tracker 5."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, BinaryIO, TypeVar, cast
from uuid import UUID

from okienko.connectors.csd.rt import mapping as rt
from okienko.connectors.csd.rt.checks import check
from okienko.connectors.csd.rt.cursor import Cursor
from okienko.connectors.csd.rt.preview import preview_of, raw_of
from okienko.connectors.csd.rt.registering import Registering
from okienko.connectors.csd.rt.settings import RtCsdSettings, SolutionAs
from okienko.connectors.csd.rt.wire import Record, RtWire
from okienko.plugins.context import utc_now
from okienko.plugins.csd import (
    Capability,
    Changes,
    CsdBase,
    NewFile,
    RawTicket,
    Registration,
    Ticket,
    TicketChange,
    TicketChangedError,
    TicketGoneError,
    WebhookRequest,
)
from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.csdnotes import mark_of, marked
from okienko.plugins.csdparts import BothPaces
from okienko.plugins.csdtexts import clean
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.findings import Finding
from okienko.plugins.httpapi import Credentials, HttpApi, Limits
from okienko.plugins.pace import Pace
from okienko.schemas import CsdRef, TicketStatus

Key = TypeVar("Key")
_LARGEST_COMPARED = 20 * 1024 * 1024
"""A file of the same name and size is fetched to compare it up to this size; a larger one is attached again rather than missed."""
_TEXTS = ({"field": "ContentType", "operator": "STARTSWITH", "value": "text/"},)
_FILES = ({"field": "Filename", "operator": "!=", "value": ""},)
_HISTORY = tuple({"field": "Type", "value": kind} for kind in (*rt.NOTE_TYPES, "Status"))
_ROW = "Subject,Status,Queue,Owner,Priority,CustomFields,Created,LastUpdated,EffectiveId"


class RtCsd(CsdBase):
    """See CsdBackend. Several processes may create the same case at once: each then sees all its tickets, and the oldest wins."""

    name = rt.BACKEND

    def __init__(
        self, settings: RtCsdSettings, pace: Pace | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        assert settings.url is not None  # noqa: S101  the plugin registers nothing without an address
        assert settings.mapping is not None  # noqa: S101  RtCsdSettings demands it with the address
        self._settings = settings
        self._file = load_mapping(settings.mapping)
        self._mapping = self._file.mapping
        self._pace = BothPaces(pace, settings.requests_per_hour) if settings.requests_per_hour else pace
        self._now = now
        self._open: RtWire | None = None
        self._me: str | None = None
        self._locks = TicketLocks()
        self._registering = Registering(settings, self._file, lambda: self._wire, self.find)
        c = Capability
        always = {
            c.PUBLIC_NOTES, c.ATTACHMENTS, c.LINKS, c.SUBJECT, c.QUEUE, c.ASSIGNEE, c.VERSIONS, c.CHANGES, c.REMOVAL, c.PREVIEW,
        }  # fmt: skip
        self.capabilities = self._mapping.declared(always, webhook=settings.webhook_secret is not None)

    @property
    def _wire(self) -> RtWire:
        if self._open is None:
            settings = self._settings
            api = HttpApi(
                f"{settings.url}/REST/2.0",
                Credentials(settings.token, scheme="token"),
                ca_file=settings.ca_file,
                # Starman, under which RT often runs, ends an idle connection after a second.
                limits=Limits(
                    connect=settings.connect_timeout, total=settings.timeout, max_body=32 * 1024 * 1024, keepalive=0.5
                ),
                # RT speaks the language of its user or of this header; a browser's name would get a login page.
                headers={"Accept-Language": "en", "User-Agent": "okienko"},
                pace=self._pace,
            )
            self._open = RtWire(api)
        return self._open

    async def start(self) -> None:
        """See CsdBackend. An RT that does not answer now keeps nothing from starting."""
        try:
            await self._wire.version()
        except TransientError:
            return

    async def stop(self) -> None:
        """See CsdBackend."""
        wire, self._open = self._open, None
        if wire is not None:
            await wire.close()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend. Deleted tickets are not found, merged ones are."""
        found: dict[UUID, int] = {}
        wanted = set(correlation_ids)
        for chunk in _chunks(list(dict.fromkeys(correlation_ids)), 50):
            query = rt.search_for(self._mapping.correlation, chunk)
            async for record, _ in self._wire.tickets(query, "CustomFields,Status"):
                key, number = rt.correlation_of(record, self._mapping.correlation), int(record["id"])
                if key in wanted and not rt.is_gone(record):
                    found[key] = min(number, found.get(key, number))
        return {key: rt.ref_of(number) for key, number in found.items()}

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        wanted: dict[UUID, Registration] = {}
        for registration in registrations:
            wanted.setdefault(registration.correlation_id, registration)
        async with self._locks.held(*wanted):
            return await self._registering.create(wanted)

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        return preview_of(registration, self._file)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend. None for a deleted ticket, which RT still shows."""
        number = rt.number_in(ref)
        found = await self._wire.ticket(number) if number is not None else None
        if number is None or found is None:
            return None
        record, version = found
        effective = int(record["id"])
        if effective != number:
            return await self._merged(number, effective)
        if rt.is_gone(record):
            return None
        history, texts = await self._history(number), await self._texts(number)
        files = await self._wire.listing(
            f"/ticket/{number}/attachments", "Filename,ContentLength,TransactionId", _FILES
        )
        return rt.ticket_of(
            record,
            self._mapping,
            number=number,
            version=version,
            notes=rt.notes_of(history, texts, await self._myself()),
            files=rt.files_of(files, texts),
            solution_field=self._settings.solution_field,
            raw=raw_of(record, self._mapping),
        )

    async def _myself(self) -> str | None:
        """Our login in RT, asked for once."""
        if self._me is None and self._settings.token is not None:
            number = rt.user_in(self._settings.token.get_secret_value())
            user = await self._wire.resource(f"/user/{number}") if number else None
            self._me = str(user["Name"]) if user is not None and user.get("Name") else None
        return self._me

    async def _merged(self, number: int, effective: int) -> Ticket | None:
        """RT answers for the ticket into which it was merged; a search that speaks of EffectiveId finds the merged one."""
        async for record, _ in self._wire.tickets(f"id = {number} AND EffectiveId > 0", f"{_ROW}", most=1):
            if int(record["id"]) == number:
                return rt.ticket_of(record, self._mapping, number=number, version=None, merged_into=effective)
        return None

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend. A public note to a closed ticket, which RT's own scrip opens again, leaves it closed."""
        async with self._locks.held(ref.number):
            record, _ = await self._there(ref)
            number, raw = int(record["id"]), str(record["Status"])
            if mark_of(key) in rt.keys_in(await self._texts(number)):
                return
            body = {"Content": marked(clean(text), key), "ContentType": "text/plain"}
            await self._wire.message(number, "correspond" if public else "comment", body)
            if public and rt.status_of(raw, self._mapping, number) is not TicketStatus.OPEN:
                after, _ = await self._there(ref)
                if rt.differences(after, {"Status": raw}):
                    await self._written(number, {"Status": raw}, await self._wire.update(number, {"Status": raw}))

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend. The file comes with an internal comment that holds its digest."""
        async with self._locks.held(ref.number):
            record, _ = await self._there(ref)
            number, name = int(record["id"]), rt.filename_of(file.filename)
            key = f"file {file.filename} {file.sha256}"
            if mark_of(key) in rt.keys_in(await self._texts(number)) or await self._has(number, name, file):
                return
            body: dict[str, Any] = {"Content": marked(rt.file_note(file.sha256), key), "ContentType": "text/plain"}
            if file.size == 0:
                # RT takes no empty file by its first look; a space is one after decoding.
                body["Attachments"] = [{"FileName": name, "FileType": _binary(file.media_type), "FileContent": " "}]
                await self._wire.message(number, "comment", body)
                return
            with closing(file.open()) as stream:
                # What reads in pieces may give less than was asked for, which httpx takes for the end.
                whole = io.BufferedReader(cast("io.RawIOBase", _Raw(stream)), 1 << 16)
                await self._wire.message(
                    number, "comment", body, (name, cast("BinaryIO", whole), _binary(file.media_type))
                )

    async def _has(self, number: int, name: str, file: NewFile) -> bool:
        """Whether somebody attached the same already."""
        rows = await self._wire.listing(f"/ticket/{number}/attachments", "Filename,ContentLength", _FILES)
        alike = [r for r in rows if r.get("Filename") == name and int(r.get("ContentLength") or 0) == file.size]
        if not alike or file.size > _LARGEST_COMPARED:
            return False
        for row in alike:
            attachment = await self._wire.resource(f"/attachment/{row['id']}")
            if attachment is not None and rt.content_digest(attachment) == file.sha256:
                return True
        return False

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. Queue and assignee are RT's own names; an assignee of "" is nobody."""
        async with self._locks.held(ref.number):
            record, current = await self._there(ref)
            number = int(record["id"])
            if version is not None and version != current:
                raise TicketChangedError(f"ticket {number} was changed in RT since it was read; nothing was written")
            wanted = self._wanted(change, record, number)
            missing = rt.differences(record, wanted)
            if not missing:
                return
            told = await self._wire.update(number, {name: wanted[name] for name in missing}, version)
            await self._written(number, wanted, told)

    def _wanted(self, change: TicketChange, record: Record, number: int) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "Subject": rt.subject_of(change.subject) if change.subject is not None else None,
            "Queue": change.queue,
            "Owner": (change.assignee or "Nobody") if change.assignee is not None else None,
        }
        if change.priority is not None:
            raw = self._mapping.priority_out(change.priority)
            if raw is None:
                raise PermanentError(f"the mapping has no priority for {change.priority.value}: add it to priorities")
            wanted["Priority"] = rt.number_of(raw)
        if change.status is not None and change.status is not rt.status_of(
            str(record["Status"]), self._mapping, number
        ):
            wanted["Status"] = self._mapping.status_out(change.status)
        return {name: value for name, value in wanted.items() if value is not None}

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend. The solution is a note, and a custom field too where SOLUTION_FIELD names one."""
        public = self._settings.solution_as is SolutionAs.CORRESPOND
        field = self._settings.solution_field
        fields = {field: clean(solution)} if field else {}
        await self._move(ref, TicketStatus.CLOSED, solution, "correspond" if public else "comment", fields)

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. The reason is an internal comment."""
        await self._move(ref, TicketStatus.OPEN, reason, "comment", {})

    async def _move(self, ref: CsdRef, status: TicketStatus, text: str, kind: str, fields: dict[str, str]) -> None:
        async with self._locks.held(ref.number):
            record, _ = await self._there(ref)
            number = int(record["id"])
            is_closed = rt.status_of(str(record["Status"]), self._mapping, number) is TicketStatus.CLOSED
            if is_closed is (status is TicketStatus.CLOSED):
                return
            raw = self._mapping.status_out(status)
            # A ticket may be closed with the same words again; what was interrupted is gone on with.
            turn = rt.times_closed(await self._history(number), self._mapping)
            key = f"{status.value} {turn}"
            if mark_of(key) not in rt.keys_in(await self._texts(number)):
                # Alone: where RT's answer to a note speaks of a field or state in other letters than English ones, it breaks off.
                await self._wire.message(
                    number, kind, {"Content": marked(clean(text), key), "ContentType": "text/plain"}
                )
            told = await self._wire.update(number, {"Status": raw} | ({"CustomFields": fields} if fields else {}))
            await self._written(number, {"Status": raw}, told)

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend. The first RefersTo the other."""
        record, _ = await self._there(ref)
        target, _ = await self._there(other)
        number, to = int(record["id"]), int(target["id"])
        if number == to or _refers(record, to):
            return
        told = await self._wire.update(number, {"AddRefersTo": [to]})
        after, _ = await self._there(ref)
        if not _refers(after, to):
            raise PermanentError(f"RT did not relate ticket {number} to {to}: {told}")

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend, and cursor.py for how nothing is left out. Deletions are told after the other changes."""
        clock = await self._clock()
        if cursor is None:
            head = await self._head()
            return Changes((), Cursor(clock, head, head).text())
        place = Cursor.parse(cursor).begin(clock)
        refs: list[CsdRef] = []
        ago = max(0, int((clock - place.start).total_seconds())) + 2
        # RT reads a time in its user's zone, even one that ends in Z; a distance from now has no zone.
        query = f"LastUpdated >= '{ago} seconds ago' AND EffectiveId > 0"
        async for record, _ in self._wire.tickets(query, "LastUpdated", orderby=("LastUpdated", "id")):
            number, updated = int(record["id"]), rt.moment(record.get("LastUpdated"))
            if updated is None or place.is_told(number, updated):
                continue
            if len(refs) == limit:
                return Changes(tuple(refs), place.text(), more=True)
            refs.append(rt.ref_of(number))
            place = place.tell(number, updated, clock)
        for number, transaction in await self._deleted(place.transaction):
            if len(refs) == limit:
                return Changes(tuple(refs), place.text(), more=True)
            refs.append(rt.ref_of(number))
            place = place.deleted(transaction)
        return Changes(tuple(refs), place.end(await self._head() if refs else None).text())

    async def _clock(self) -> datetime:
        """RT's time now, rather too early than too late."""
        before = self._now()
        at = await self._wire.date()
        # Its Date has whole seconds and was written after we asked.
        return at - (self._now() - before) if at is not None else before - timedelta(seconds=60)

    async def _head(self) -> int:
        newest = await self._wire.transactions("ObjectType = 'RT::Ticket' AND id > 0", "Created", newest=True)
        return int(newest[0]["id"]) if newest else 0

    async def _deleted(self, after: int) -> list[tuple[int, int]]:
        query = f"ObjectType = 'RT::Ticket' AND id > {after} AND Type = 'Status' AND NewValue = 'deleted'"
        rows = await self._wire.transactions(query, "ObjectId,NewValue")
        return [(int(row["ObjectId"]), int(row["id"])) for row in rows if row.get("NewValue") == "deleted"]

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        if self._settings.webhook_secret is None:
            return super().notified(request)
        return rt.notified(request, self._settings.webhook_secret.get_secret_value())

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self._wire, self._file, self._settings)

    async def _there(self, ref: CsdRef) -> tuple[Record, str | None]:
        """The ticket, or the one into which it was merged. Raises TicketGoneError."""
        number = rt.number_in(ref)
        found = await self._wire.ticket(number) if number is not None else None
        if found is None or rt.is_gone(found[0]):
            raise TicketGoneError(f"RT has no ticket {ref.number}: it was deleted, or another CSD made it")
        return found

    async def _texts(self, number: int) -> list[rt.Text]:
        fields = "TransactionId,ContentType,Filename,Content"
        return rt.texts_of(await self._wire.listing(f"/ticket/{number}/attachments", fields, _TEXTS))

    async def _history(self, number: int) -> list[Record]:
        return await self._wire.listing(f"/ticket/{number}/history", "Type,Created,Creator,NewValue", _HISTORY)

    async def _written(self, number: int, wanted: dict[str, Any], told: str) -> None:
        """Read back. RT answers 200 and says in words that it did nothing."""
        found = await self._wire.ticket(number)
        if found is None:
            raise TicketGoneError(f"ticket {number} vanished from RT while it was changed")
        if missing := rt.differences(found[0], wanted):
            raise PermanentError(f"RT did not set {', '.join(missing)} of ticket {number}: {told or 'no reason given'}")


class _Raw(io.RawIOBase):
    """A stream under a buffer that fills each read."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Whatever comes."""
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _binary(media_type: str) -> str:
    """RT converts text to its own character set, so that a text file would not stay what it is."""
    return "application/octet-stream" if media_type.startswith(("text/", "multipart/", "message/")) else media_type


def _refers(record: Record, to: int) -> bool:
    links = record.get("_hyperlinks") or ()
    return any(link.get("ref") == "refers-to" and str(link.get("id")) == str(to) for link in links)


def _chunks(items: Sequence[Key], size: int) -> list[Sequence[Key]]:
    return [items[at : at + size] for at in range(0, len(items), size)]
