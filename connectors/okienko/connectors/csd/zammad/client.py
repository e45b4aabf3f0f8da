"""The CSD backend behind Zammad's REST API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from okienko.connectors.csd.zammad import mapping as words
from okienko.connectors.csd.zammad.checks import check
from okienko.connectors.csd.zammad.settings import ZammadCsdSettings
from okienko.connectors.csd.zammad.wire import PAGE, Record, ZammadRefusedError, ZammadWire
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

_TOGETHER = 50
"""Cases that one search asks for."""
_LARGEST = 64 << 20


class ZammadCsd(CsdBase):
    """See CsdBackend. Zammad compares no versions, and its articles cannot be changed."""

    name = words.BACKEND

    def __init__(
        self, settings: ZammadCsdSettings, pace: Pace | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        assert settings.url is not None and settings.mapping is not None  # noqa: S101, PT018  the settings see to it
        self._settings = settings
        self._file = load_mapping(settings.mapping)
        self._mapping = self._file.mapping
        self._pace = pace
        self._now = now
        self._open: ZammadWire | None = None
        self._locks = TicketLocks()
        self._once = OnceOnly(self.find, self._create, at_once=settings.connections)
        c = Capability
        always = {
            c.PUBLIC_NOTES,
            c.ATTACHMENTS,
            c.LINKS,
            c.SUBJECT,
            c.QUEUE,
            c.ASSIGNEE,
            c.CHANGES,
            c.REMOVAL,
            c.PREVIEW,
        }
        self.capabilities = self._mapping.declared(always, webhook=settings.webhook_secret is not None)

    @property
    def _wire(self) -> ZammadWire:
        if self._open is None:
            s = self._settings
            api = HttpApi(
                f"{s.url}/api/v1",
                Credentials(s.token, scheme="Token token="),
                ca_file=s.ca_file,
                limits=Limits(connect=s.connect_timeout, total=s.timeout, max_body=_LARGEST),
                headers={"Accept": "application/json"},
                pace=self._pace,
            )
            self._open = ZammadWire(api, self._now)
        return self._open

    async def start(self) -> None:
        """See CsdBackend. Nothing is to be made, and a Zammad that is away must not hold up the service."""

    async def stop(self) -> None:
        """See CsdBackend."""
        wire, self._open = self._open, None
        if wire is not None:
            await wire.close()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend. Asks the database, not the search index, which lags behind."""
        wanted = list(dict.fromkeys(correlation_ids))
        field = self._mapping.correlation
        found: dict[UUID, Record] = {}
        for at in range(0, len(wanted), _TOGETHER):
            keys = {str(key): key for key in wanted[at : at + _TOGETHER]}
            for one in await self._with_ids(field, list(keys)):
                key = keys.get(str(words.correlation(one, field)))
                if key is not None and (key not in found or int(one["id"]) < int(found[key]["id"])):
                    found[key] = one
        return {key: words.ref(found[key]) for key in wanted if key in found}

    async def _with_ids(self, field: str, keys: list[str]) -> list[Record]:
        try:
            rows = await self._wire.search({f"ticket.{field}": {"operator": "is", "value": keys}})
        except ZammadRefusedError as refused:
            if refused.status != 422:
                raise
            raise MisconfiguredError(
                f"Zammad cannot search by {field!r} ({refused.text}): see that the ticket attribute of the mapping "
                f"({self._file.where('correlation')}) exists and that the database was migrated after it was added"
            ) from None
        strange = [one for one in rows if str(words.correlation(one, field)) not in keys]
        if strange and len(rows) >= PAGE:
            # A condition that Zammad cannot read is left out. Fewer than a page are all there are, and were read.
            raise MisconfiguredError(
                f"Zammad's search by {field!r} gives any tickets: see that the ticket attribute of the mapping "
                f"({self._file.where('correlation')}) is a text field"
            )
        return rows

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return await self._once.create(registrations)

    async def _create(self, registration: Registration) -> CsdRef:
        self._file.queue_of(registration, "group")
        try:
            made = await self._wire.write("POST", "/tickets", words.new_ticket(registration, self._mapping))
        except ZammadRefusedError as refused:
            line = self._where(refused, registration)
            if line is None:
                raise
            raise MisconfiguredError(f"{refused} ({line}): `okienko check csd` tries the whole mapping") from None
        ref = words.ref(made)
        if words.correlation(made, self._mapping.correlation) != registration.correlation_id:
            # Zammad drops what it does not know, and would get another ticket of this case at the next try.
            raise MisconfiguredError(
                f"Zammad made the ticket {ref.number} without {self._mapping.correlation!r} "
                f"({self._file.where('correlation')}): add the ticket attribute, and close that ticket by hand"
            )
        return ref

    def _where(self, refused: ZammadRefusedError, registration: Registration) -> str | None:
        """The line of the mapping that Zammad's words are about; None when it is about something else."""
        if refused.status == 403 or "'group'" in refused.text or "group_id" in refused.text:
            return self._file.where("queues", matter(self._mapping.queues, registration))
        if "'state'" in refused.text:
            return self._file.where("states", "write", TicketStatus.OPEN.value)
        if "'priority'" in refused.text:
            return self._file.where("priorities", registration.priority.value)
        return None

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        return words.preview_of(registration, self._file)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend. Raises PermanentError for a ticket that was moved to where our agent may not read."""
        found = await self._read(ref)
        if found is None:
            return None
        ticket_id = str(found["id"])
        into = words.merged_into(*await self._wire.links(ticket_id)) if words.is_merged(found) else None
        me = str((await self._wire.me())["id"])
        return words.ticket(found, await self._wire.articles(ticket_id), self._mapping, me, into)

    async def _read(self, ref: CsdRef) -> Record | None:
        found: Record | None = None
        if words.is_id(ref.id):
            found = await self._wire.ticket(ref.id)
        elif not ref.id and ref.number:
            rows = await self._wire.search({"ticket.number": {"operator": "is", "value": ref.number}}, limit=2)
            found = next((one for one in rows if str(one.get("number")) == ref.number), None)
        # An id of another installation gives another ticket.
        return found if found is not None and (not ref.number or words.ref(found).number == ref.number) else None

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend. A public note is seen in the customer's portal and mailed to nobody."""
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            if not has_note(ticket.notes, key):
                await self._say(ticket.ref, words.note(text, key, subject="Notatka", public=public))

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend. The file goes in base64 in one request: larger ones than 32 MB are refused here."""
        if file.size > _LARGEST // 2:
            raise PermanentError(f"the file has {file.size} octets: more than Zammad takes in one request")
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            if has_note(ticket.notes, words.file_key(file)) or await self._has_same(ticket, file):
                return
            content = await asyncio.to_thread(_content, file)
            await self._say(ticket.ref, await asyncio.to_thread(words.file_note, file, content))

    async def _has_same(self, ticket: Ticket, file: NewFile) -> bool:
        """Whether somebody attached the same already. Zammad tells no hash, so that those of its name and size are read."""
        name = file_name(file.filename)
        for one in ticket.files:
            if (one.filename, one.size, one.sha256) == (name, file.size, None):
                article_id, _, attachment_id = one.id.partition(":")
                if digest_of(await self._wire.content(ticket.ref.id, article_id, attachment_id)) == file.sha256:
                    return True
        return False

    async def _say(self, ref: CsdRef, article: dict[str, Any]) -> None:
        try:
            await self._wire.write("POST", "/ticket_articles", {"ticket_id": int(ref.id), **article})
        except ZammadRefusedError as refused:
            raise self._about(ref, refused) from None

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. There are no versions to compare. An assignee is a login or an address; "" is nobody."""
        del version
        async with self._locks.held(ref.number or ref.id):
            ticket = await self._there(ref)
            fields = self._wanted(change, ticket)
            if fields:
                await self._put(ticket.ref, fields)

    def _wanted(self, change: TicketChange, ticket: Ticket) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if change.status is not None and change.status is not ticket.status:
            fields |= self._state(change.status)
        if change.subject is not None:
            fields["title"] = words.title_of(change.subject)
        if change.priority is not None:
            fields["priority"] = self._mapping.priority_out(change.priority)
            if fields["priority"] is None:
                raise MisconfiguredError(f"{self._file.where('priorities')}: no priority for {change.priority.value}")
        if change.queue is not None:
            fields["group"] = change.queue
        if change.assignee is not None:
            fields["owner"] = change.assignee or words.NOBODY
        return fields

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend. State and note are one transaction; SOLUTION_PUBLIC says whether the customer sees the note."""
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
            key = f"{status.value} {words.written(ticket.updated_at)}"
            article = words.note(text, key, subject=subject, public=public)
            await self._put(ticket.ref, self._state(status), article)

    async def _put(self, ref: CsdRef, fields: dict[str, Any], article: dict[str, Any] | None = None) -> None:
        try:
            await self._wire.write("PUT", f"/tickets/{ref.id}", fields | ({"article": article} if article else {}))
        except ZammadRefusedError as refused:
            raise self._about(ref, refused) from None
        after = await self._wire.ticket(ref.id)
        if after is None:
            raise TicketGoneError(f"the ticket {ref.number} vanished from Zammad while it was changed")
        # Core workflows, and rights on the new group, may have it otherwise.
        names = [name for name in fields if name != "pending_time"]
        if ignored := [n for n in names if str(after.get(n)).casefold() != str(fields[n]).casefold()]:
            raise PermanentError(
                f"Zammad took the change of {', '.join(ignored)} of {ref.number} and did not make it: look at its core workflows, "
                "and at the owner's rights on the group"
            )

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend."""
        one, two = await self._read(ref), await self._read(other)
        if one is None or two is None:
            gone = ref if one is None else other
            raise TicketGoneError(f"Zammad has no ticket {gone.number or gone.id}")
        if one["id"] == two["id"]:
            return
        links, _ = await self._wire.links(str(one["id"]))
        if any(str(link.get("link_object_value")) == str(two["id"]) for link in links):
            return
        body = {
            "link_type": "normal", "link_object_target": "Ticket", "link_object_target_value": one["id"],
            "link_object_source": "Ticket", "link_object_source_number": two["number"],
        }  # fmt: skip
        try:
            await self._wire.write("POST", "/links/add", body)
        except ZammadRefusedError as refused:
            if "already exists" not in refused.text:
                raise self._about(ref, refused) from None

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend, and `okienko.plugins.csdlook`. Deleted tickets are not told: Zammad's search does not know them."""
        if cursor is None:
            await self._wire.search({"ticket.id": {"operator": "is", "value": 0}}, limit=1)
            return Changes((), Look(self._clock()).text())
        look = Look.parse(cursor)
        bound, page, clock = look.start, 1, None
        refs: list[CsdRef] = []
        while True:
            # Some versions leave out the moment itself.
            after = words.written(bound - timedelta(milliseconds=1))
            condition = {"ticket.updated_at": {"operator": "after (absolute)", "value": after}}
            rows = await self._wire.search(condition, page=page, by="updated_at")
            if clock is None:
                clock = self._clock()
                look = look.begin(clock)
            changed = bound
            for one in rows:
                changed, ref = words.moment(one.get("updated_at")), words.ref(one)
                if look.is_told(ref.id, changed):
                    continue
                if len(refs) == limit:
                    return Changes(tuple(refs), look.text(), more=True)
                refs.append(ref)
                look = look.tell(ref.id, changed, clock)
            if len(rows) < PAGE:
                return Changes(tuple(refs), look.end().text())
            # From a time on rather than by pages: what changes meanwhile moves to the end, and a row would slip through.
            bound, page = (changed, 1) if changed > bound else (bound, page + 1)

    def _clock(self) -> datetime:
        return self._wire.clock or self._now()

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        if self._settings.webhook_secret is None:
            return super().notified(request)
        return words.notified(request, self._settings.webhook_secret.get_secret_value())

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return await check(self._wire, self._file)

    def _state(self, status: TicketStatus) -> dict[str, Any]:
        fields: dict[str, Any] = {"state": self._mapping.status_out(status)}
        if status is TicketStatus.PENDING and status in self._mapping.states.write:
            fields["pending_time"] = words.written(self._now() + timedelta(days=self._settings.pending_days))
        return fields

    async def _there(self, ref: CsdRef) -> Ticket:
        ticket = await self.get(ref)
        if ticket is None:
            raise TicketGoneError(f"Zammad has no ticket {ref.number or ref.id}")
        return ticket

    def _about(self, ref: CsdRef, refused: ZammadRefusedError) -> Exception:
        if refused.status == 404:
            return TicketGoneError(f"the ticket {ref.number} vanished from Zammad while it was changed")
        if refused.status == 403:
            return PermanentError(
                f"Zammad does not let our agent change the ticket {ref.number}: give its role read, create and change on the group"
            )
        if "'state'" in refused.text:
            return MisconfiguredError(f"{refused} ({self._file.where('states', 'write')})")
        if "'priority'" in refused.text:
            return MisconfiguredError(f"{refused} ({self._file.where('priorities')})")
        return refused


def _content(file: NewFile) -> bytes:
    with file.open() as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))
