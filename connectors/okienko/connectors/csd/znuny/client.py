"""The CSD backend behind Znuny's Generic Interface."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from okienko.connectors.csd.znuny import mapping as words
from okienko.connectors.csd.znuny.checks import check
from okienko.connectors.csd.znuny.settings import ZnunyCsdSettings
from okienko.connectors.csd.znuny.wire import ZnunyRefusedError, ZnunyWire
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
    TicketGoneError,
    WebhookRequest,
    digest_of,
)
from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.csdlook import Look
from okienko.plugins.csdmapping import load_mapping, matter
from okienko.plugins.csdnotes import has_note
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.csdtexts import file_name
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.findings import Finding
from okienko.plugins.httpapi import Credentials, HttpApi, Limits
from okienko.plugins.pace import Pace
from okienko.schemas import CsdRef, TicketStatus

T = TypeVar("T")
R = TypeVar("R")
_FOUND = 50
"""Tickets that a search for one case may give. As many mean that the search does not filter at all."""
_MOST = 10_000
"""More ids than this Znuny's search gives only when its own limit is raised."""
_LARGEST = 64 << 20


class ZnunyCsd(CsdBase):
    """See CsdBackend. Znuny keeps neither links nor versions behind this interface, and no article can be changed."""

    name = words.BACKEND

    def __init__(
        self, settings: ZnunyCsdSettings, pace: Pace | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        assert settings.url is not None and settings.mapping is not None  # noqa: S101, PT018  the settings see to it
        self._settings = settings
        self._file = load_mapping(settings.mapping)
        self._mapping = self._file.mapping
        self._zone = ZoneInfo(settings.time_zone)
        self._pace = pace
        self._now = now
        self._open: ZnunyWire | None = None
        self._gate = asyncio.Semaphore(settings.connections)
        self._locks = TicketLocks()
        self._once = OnceOnly(self.find, self._create, at_once=settings.connections)
        c = Capability
        always = {c.PUBLIC_NOTES, c.ATTACHMENTS, c.SUBJECT, c.QUEUE, c.ASSIGNEE, c.CHANGES, c.REMOVAL, c.PREVIEW}
        self.capabilities = self._mapping.declared(always, webhook=settings.webhook_secret is not None)

    @property
    def _wire(self) -> ZnunyWire:
        if self._open is None:
            s = self._settings
            assert s.url is not None and s.user is not None and s.password is not None  # noqa: S101, PT018  as above
            api = HttpApi(
                s.url,
                Credentials(),
                ca_file=s.ca_file,
                limits=Limits(connect=s.connect_timeout, total=s.timeout, max_body=_LARGEST),
                pace=self._pace,
            )
            self._open = ZnunyWire(api, s.user, s.password, self._now)
        return self._open

    async def start(self) -> None:
        """See CsdBackend. Nothing is to be made, and a Znuny that is away must not hold up the service."""

    async def stop(self) -> None:
        """See CsdBackend."""
        wire, self._open = self._open, None
        if wire is not None:
            await wire.close()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend. Raises MisconfiguredError when the search does not know the correlation field."""
        found = await self._each(list(dict.fromkeys(correlation_ids)), self._find)
        return {key: ref for key, ref in found if ref is not None}

    async def _find(self, key: UUID) -> tuple[UUID, CsdRef | None]:
        field = self._mapping.correlation
        ids = await self._wire.search({f"DynamicField_{field}": {"Equals": str(key)}, "Limit": _FOUND})
        if not ids:
            return key, None
        ours = [one for one in await self._wire.get(ids) if words.correlation(one, field) == key]
        if ours:
            return key, words.ref(min(ours, key=lambda one: int(one["TicketID"])))
        if len(ids) >= _FOUND:
            # Znuny ignores a field that it does not know and lists everything. Fewer than the limit are all there are, and were read.
            raise MisconfiguredError(
                f"the search for {field} gives any tickets: see that the dynamic field {field!r} of the mapping "
                f"({self._file.where('correlation')}) exists in Znuny and is valid"
            )
        return key, None

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return await self._once.create(registrations)

    async def _create(self, registration: Registration) -> CsdRef:
        self._file.queue_of(registration)
        try:
            return words.ref(await self._wire.create(words.new_ticket(registration, self._mapping)))
        except ZnunyRefusedError as refused:
            if refused.reason in ("InvalidParameter", "AccessDenied") and "Article" not in refused.text:
                raise MisconfiguredError(
                    f"{refused} ({self._where(refused, registration)}): `okienko check csd` tries the whole mapping"
                ) from None
            raise

    def _where(self, refused: ZnunyRefusedError, registration: Registration) -> str:
        """The line of the mapping that Znuny's words are about."""
        if "DynamicField" in refused.text:
            return self._file.where("fields", 0) if self._mapping.fields else self._file.where("correlation")
        if "State" in refused.text:
            return self._file.where("states", "write", TicketStatus.OPEN.value)
        if "Priority" in refused.text:
            return self._file.where("priorities", registration.priority.value)
        table = "types" if "Type" in refused.text else "queues"
        known = self._mapping.types if table == "types" else self._mapping.queues
        return self._file.where(table, matter(known, registration))

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        return words.preview_of(registration, self._file)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend. A ticket that our agent may not see is not there either: Znuny answers both alike."""
        found = await self._read(ref)
        if found is None:
            return None
        into = words.merged_into(await self._wire.history(str(found["TicketID"]))) if words.is_merged(found) else None
        return words.ticket(found, self._mapping, self._zone, (await self._wire.session()).user_id, into)

    async def _read(self, ref: CsdRef, *, contents: bool = False) -> dict[str, Any] | None:
        ticket_id = ref.id
        if not ticket_id and words.is_id(ref.number):
            known = await self._wire.search({"TicketNumber": ref.number, "Limit": 2})
            ticket_id = known[0] if len(known) == 1 else ""
        if not words.is_id(ticket_id):
            return None
        found = await self._wire.get([ticket_id], articles=True, contents=contents)
        # An id of another installation, or a search that did not look at the number, gives another ticket.
        return found[0] if found and (not ref.number or words.ref(found[0]).number == ref.number) else None

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            if not has_note(ticket.notes, key):
                await self._write(ticket.ref, {"Article": words.note(text, key, subject="Notatka", public=public)})

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend. The file goes in base64 in one request: larger ones than 32 MB are refused here."""
        if file.size > _LARGEST // 2:
            raise PermanentError(f"the file has {file.size} octets: more than Znuny takes in one request")
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            content = await asyncio.to_thread(_content, file)
            key, article, attachment = await asyncio.to_thread(words.file_note, file, content)
            if not has_note(ticket.notes, key) and not await self._has_same(ticket, file):
                await self._write(ticket.ref, {"Article": article, "Attachment": [attachment]})

    async def _has_same(self, ticket: Ticket, file: NewFile) -> bool:
        """Whether somebody attached the same already. Znuny keeps no hash, so that those of its name and size are read."""
        name = file_name(file.filename)
        alike = {f.id for f in ticket.files if (f.filename, f.size, f.sha256) == (name, file.size, None)}
        if not alike:
            return False
        found = await self._read(ticket.ref, contents=True)
        stored = [
            str(attachment.get("Content") or "")
            for article in (found or {}).get("Article") or []
            for attachment in article.get("Attachment") or []
            if f"{article.get('ArticleID')}:{attachment.get('FileID')}" in alike
        ]
        return file.sha256 in [await asyncio.to_thread(_digest, one) for one in stored]

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. There are no versions to compare."""
        del version
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            fields = self._wanted(change, ticket)
            if not fields:
                return
            await self._write(ticket.ref, {"Ticket": fields})
            after = await self._there(ticket.ref)
            self._done(fields, after)

    def _wanted(self, change: TicketChange, ticket: Ticket) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if change.status is not None and change.status is not ticket.status:
            fields |= self._state(change.status)
        if change.subject is not None:
            fields["Title"] = words.title_of(change.subject)
        if change.priority is not None:
            fields["Priority"] = self._mapping.priority_out(change.priority)
            if fields["Priority"] is None:
                raise MisconfiguredError(f"{self._file.where('priorities')}: no priority for {change.priority.value}")
        if change.queue is not None:
            fields["Queue"] = change.queue
        if change.assignee is not None:
            fields["Owner"] = change.assignee
        return fields

    def _done(self, fields: dict[str, Any], after: Ticket) -> None:
        priority = self._mapping.priority_out(after.priority) if after.priority else None
        got = {
            "State": after.raw_status, "Title": after.subject, "Queue": after.queue, "Owner": after.assignee, "Priority": priority,
        }  # fmt: skip
        same = {name for name, value in fields.items() if str(got.get(name, value)).casefold() == str(value).casefold()}
        if ignored := sorted(set(fields) - same):
            raise PermanentError(
                f"Znuny took the change of {', '.join(ignored)} of {after.ref.number} and did not make it: look at its rules (ACL)"
            )

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend. The solution is a note; SOLUTION_PUBLIC says whether the customer sees it in Znuny too."""
        public = self._settings.solution_public
        await self._move(ref, TicketStatus.CLOSED, solution, subject=words.SOLUTION, public=public)

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend."""
        await self._move(ref, TicketStatus.OPEN, reason, subject="Ponownie otwarte", public=False)

    async def _move(self, ref: CsdRef, status: TicketStatus, text: str, *, subject: str, public: bool) -> None:
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            if (ticket.status is TicketStatus.CLOSED) is (status is TicketStatus.CLOSED):
                return
            # A ticket may be closed with the same words again; what was interrupted is gone on with. The note comes first:
            # TicketUpdate sets the state before it writes an article, so that a failure between would lose the text.
            turn = words.times_closed(await self._wire.history(ticket.ref.id), self._mapping)
            key = f"{status.value} {turn}"
            if not has_note(ticket.notes, key):
                await self._write(ticket.ref, {"Article": words.note(text, key, subject=subject, public=public)})
            fields = self._state(status)
            await self._write(ticket.ref, {"Ticket": fields})
            self._done(fields, await self._there(ticket.ref))

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend, and `okienko.plugins.csdlook`. Deleted tickets are not told: Znuny's search does not know them."""
        if cursor is None:
            await self._wire.search({"Limit": 1})
            return Changes((), Look(self._clock()).text())
        look = Look.parse(cursor)
        start = look.start
        query = {
            "TicketLastChangeTimeNewerDate": f"{start.astimezone(self._zone):%Y-%m-%d %H:%M:%S}",
            # The search cannot go on from a place: all that was told since is asked for again, and one more than is wanted.
            "SortBy": "Changed", "OrderBy": "Up", "Limit": min(limit + len(look.told) + 1, _MOST),
        }  # fmt: skip
        ids = await self._wire.search(query)
        clock = self._clock()
        look = look.begin(clock)
        read = [(words.moment(one.get("Changed"), self._zone), one) for one in await self._wire.get(ids)]
        refs: list[CsdRef] = []
        for changed, one in sorted(read, key=lambda pair: pair[0]):
            ref = words.ref(one)
            if look.is_told(ref.number, changed):
                continue
            if len(refs) == limit:
                return Changes(tuple(refs), look.text(), more=True)
            refs.append(ref)
            look = look.tell(ref.number, changed, clock)
        if len(ids) >= query["Limit"]:  # type: ignore[operator]  # a number among words
            return self._full(refs, look)
        return Changes(tuple(refs), look.end().text())

    def _full(self, refs: list[CsdRef], look: Look) -> Changes:
        if not refs:
            raise PermanentError(
                f"more than {_MOST} tickets of Znuny have one time of change, so that none can be told apart: "
                "begin with a new cursor and compare the open cases"
            )
        return Changes(tuple(refs), look.text(), more=True)

    def _clock(self) -> datetime:
        return self._wire.clock or self._now()

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        if self._settings.webhook_secret is None:
            return super().notified(request)
        return words.notified(request, self._settings.webhook_secret.get_secret_value())

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return await check(self._wire, self._file, self._zone)

    def _state(self, status: TicketStatus) -> dict[str, Any]:
        fields: dict[str, Any] = {"State": self._mapping.status_out(status)}
        if status is TicketStatus.PENDING and status in self._mapping.states.write:
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
            if refused.reason == "InvalidParameter" and "Ticket->State" in refused.text:
                where = self._file.where("states", "write")
                raise MisconfiguredError(f"{refused} ({where}): `okienko check csd` tries the whole mapping") from None
            raise

    async def _each(self, things: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
        async def one(thing: T) -> R:
            async with self._gate:
                return await work(thing)

        return list(await asyncio.gather(*map(one, things)))


def _content(file: NewFile) -> bytes:
    with file.open() as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


def _digest(encoded: str) -> str:
    try:
        return digest_of(base64.b64decode(encoded))
    except (ValueError, binascii.Error):
        return ""
