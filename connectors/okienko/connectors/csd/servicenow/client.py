"""The CSD backend behind a ServiceNow instance."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import SecretStr

from okienko.connectors.csd.servicenow import mapping as words
from okienko.connectors.csd.servicenow.checks import check
from okienko.connectors.csd.servicenow.finding import Finder
from okienko.connectors.csd.servicenow.settings import ServiceNowCsdSettings
from okienko.connectors.csd.servicenow.wire import PAGE, Record, ServiceNowWire
from okienko.plugins.context import utc_now
from okienko.plugins.csd import (
    Capability,
    Changes,
    CsdBase,
    NewFile,
    Note,
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
from okienko.plugins.csdnotes import has_note, marked
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.csdparts import BothPaces, date_of
from okienko.plugins.csdstamps import ChangeCursor
from okienko.plugins.csdtexts import file_name, one_line
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.findings import Finding
from okienko.plugins.httpapi import Credentials, HttpApi, Limits
from okienko.plugins.pace import Pace
from okienko.schemas import CsdRef, TicketStatus

OVERLAP = timedelta(minutes=5)
"""Longer than a transaction of ServiceNow takes to commit; the platform cancels it sooner."""
_LARGEST_COMPARED = 20 * 1024 * 1024
_JOURNAL = "sys_id,element,value,sys_created_on,sys_created_by"


class ServiceNowCsd(CsdBase):
    """See CsdBackend. Versions are compared but not declared: ServiceNow has no conditional write, so that two may still cross."""

    name = words.BACKEND

    def __init__(
        self, settings: ServiceNowCsdSettings, pace: Pace | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        assert settings.url is not None and settings.mapping is not None  # noqa: S101, PT018  the settings see to it
        self._settings = settings
        self._file = load_mapping(settings.mapping)
        self._mapping = self._file.mapping
        self._fields = words.fields_for(self._mapping)
        self._pace = BothPaces(pace, settings.requests_per_hour)
        self._now = now
        self._open: ServiceNowWire | None = None
        self._locks = TicketLocks()
        self._finder = Finder(settings.table, self._file, lambda: self._wire)
        self._once = OnceOnly(self.find, self._create, at_once=settings.connections)
        c = Capability
        always = {c.PUBLIC_NOTES, c.ATTACHMENTS, c.SUBJECT, c.QUEUE, c.ASSIGNEE, c.CHANGES, c.REMOVAL, c.PREVIEW}
        self.capabilities = self._mapping.declared(always, webhook=settings.webhook_secret is not None)

    @property
    def _wire(self) -> ServiceNowWire:
        if self._open is None:
            settings = self._settings
            api = HttpApi(
                str(settings.url),
                credentials(settings),
                ca_file=settings.ca_file,
                limits=Limits(
                    connect=settings.connect_timeout, total=settings.timeout, max_body=_LARGEST_COMPARED + (1 << 20)
                ),
                headers={"Accept": "application/json", "User-Agent": "okienko"},
                pace=self._pace,
            )
            self._open = ServiceNowWire(api)
        return self._open

    async def start(self) -> None:
        """See CsdBackend. Nothing is to be made, and an instance that is away must not hold up the service."""

    async def stop(self) -> None:
        """See CsdBackend."""
        wire, self._open = self._open, None
        if wire is not None:
            await wire.close()

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend, and finding.py."""
        return await self._finder.find(correlation_ids)

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return await self._once.create(registrations)

    async def _create(self, registration: Registration) -> CsdRef:
        await self._finder.see_field()
        values = words.new_ticket(registration, self._mapping)
        if "assignment_group" in values:
            values["assignment_group"] = await self._finder.group(values["assignment_group"])
        if "caller_id" in values and not words.is_sys_id(values["caller_id"]):
            caller = await self._finder.caller(values.pop("caller_id"))
            values |= {"caller_id": caller} if caller else {}
        made = await self._wire.create(self._settings.table, values, self._fields)
        ref = words.ref_of(made)
        if not ref.number or not ref.id:
            raise MisconfiguredError("ServiceNow made a ticket and does not show its number: our user may not read it")
        if words.correlation(made, self._mapping.correlation) != registration.correlation_id:
            raise MisconfiguredError(
                f"{self._file.where('correlation')}: ServiceNow made {ref.number} without its {self._mapping.correlation!r}, so "
                "that the case would not be found again: correct the field's name or the right to write it, and delete the ticket"
            )
        return ref

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        return words.preview_of(registration, self._file)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend. A ticket that our user may not see is not there either: ServiceNow answers both alike."""
        record = await self._finder.record(ref, self._fields)
        if record is None:
            return None
        sys_id = words.value(record, "sys_id")
        files = await self._wire.attachments(self._settings.table, sys_id)
        return words.ticket_of(record, self._mapping, await self._notes(sys_id), files)

    async def _notes(self, sys_id: str) -> tuple[Note, ...]:
        return words.notes_of(await self._journal(sys_id), self._settings.user)

    async def _journal(self, sys_id: str) -> list[Record]:
        found: list[Record] = []
        begin = f"element_id={sys_id}^elementINcomments,work_notes"
        order = "^ORDERBYsys_created_on"
        while True:
            rows, _ = await self._wire.rows("sys_journal_field", begin + order, f"{_JOURNAL},element_id")
            known = {words.value(one, "sys_id") for one in found}
            new = [
                one
                for one in rows
                if words.value(one, "element_id") == sys_id and words.value(one, "sys_id") not in known
            ]
            found += new
            if len(rows) < PAGE or not new:
                return found
            begin = f"element_id={sys_id}^elementINcomments,work_notes^sys_created_on>={words.value(rows[-1], 'sys_created_on')}"

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend. Raises MisconfiguredError when the note cannot be read back: repeated, it would be written again."""
        async with self._locks.held(ref.number):
            sys_id = words.value(await self._there(ref), "sys_id")
            if has_note(await self._notes(sys_id), key):
                return
            field = "comments" if public else "work_notes"
            await self._write(sys_id, {field: marked(words.plain(text), key)}, repeatable=False)
            if not has_note(await self._notes(sys_id), key):
                raise MisconfiguredError(
                    f"a note was written to {ref.number}, and sys_journal_field does not show it: give okienko's user the right "
                    f"to read that table, and to write {field} (docs/csd-servicenow.md)"
                )

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            sys_id = words.value(await self._there(ref), "sys_id")
            if not await self._holds(sys_id, file):
                await self._wire.attach(self._settings.table, sys_id, file)

    async def _holds(self, sys_id: str, file: NewFile) -> bool:
        name = file_name(file.filename)
        for one in await self._wire.attachments(self._settings.table, sys_id):
            if str(one.get("file_name")) != name or str(one.get("size_bytes")) != str(file.size):
                continue
            digest = words.digest_of(one)
            if digest is None and file.size <= _LARGEST_COMPARED:
                digest = words.sha256(await self._wire.content(str(one.get("sys_id"))))
            if digest == file.sha256:
                return True
        return False

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. `version` is sys_mod_count, compared just before the write; see the class."""
        async with self._locks.held(ref.number):
            record = await self._there(ref)
            if version is not None and version != words.value(record, "sys_mod_count"):
                raise TicketChangedError(
                    f"{ref.number} was changed in ServiceNow since it was read; nothing was written"
                )
            wanted = await self._wanted(change, record)
            wanted = {name: value for name, value in wanted.items() if words.value(record, name) != value}
            if wanted:
                await self._write(words.value(record, "sys_id"), wanted, repeatable=version is None)

    async def _wanted(self, change: TicketChange, record: Record) -> dict[str, str]:
        wanted: dict[str, str] = {}
        if change.subject is not None:
            wanted["short_description"] = one_line(change.subject, words.SUBJECT)
        if change.priority is not None:
            name = self._mapping.priority_out(change.priority)
            if name is None:
                raise MisconfiguredError(
                    f"{self._file.where('priorities')}: no priority for {change.priority.value}: add it"
                )
            wanted |= words.priority_fields(name)
        if change.queue is not None:
            wanted["assignment_group"] = await self._finder.group(change.queue)
        if change.assignee is not None:
            wanted["assigned_to"] = await self._finder.user(change.assignee) if change.assignee else ""
        if change.status is not None and change.status is not words.status_of(record, self._mapping):
            wanted["state"] = self._mapping.status_out(change.status)
            if change.status is TicketStatus.PENDING and self._settings.hold_reason:
                wanted["hold_reason"] = self._settings.hold_reason
        return wanted

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend. The solution is close_notes."""
        async with self._locks.held(ref.number):
            record = await self._there(ref)
            if words.status_of(record, self._mapping) is TicketStatus.CLOSED:
                return
            values = {
                "state": self._mapping.status_out(TicketStatus.CLOSED),
                "close_notes": words.plain(solution).strip() or "-",
            }
            if self._settings.close_code:
                values["close_code"] = self._settings.close_code
            await self._write(words.value(record, "sys_id"), values, repeatable=True)

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. State and reason, an internal work note, are one write."""
        async with self._locks.held(ref.number):
            record = await self._there(ref)
            if words.status_of(record, self._mapping) is not TicketStatus.CLOSED:
                return
            key = f"reopen {words.value(record, 'sys_mod_count')}"
            values = {
                "state": self._mapping.status_out(TicketStatus.OPEN), "work_notes": marked(words.plain(reason), key),
            }  # fmt: skip
            await self._write(words.value(record, "sys_id"), values, repeatable=False)

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend. sys_updated_on has whole seconds; sys_mod_count tells two changes of one second apart.

        Deleted tickets leave no trace here, and a file alone does not touch its ticket: docs/csd-servicenow.md.
        """
        if cursor is None:
            _, headers = await self._wire.rows(self._settings.table, f"sys_id={'0' * 32}", "sys_id", 1)
            return Changes((), ChangeCursor(date_of(headers) or self._now()).text(OVERLAP))
        place = ChangeCursor.parse(cursor, self.name)
        ours = f"^{self._mapping.correlation}ISNOTEMPTY"
        start = place.start(OVERLAP).replace(microsecond=0)
        query = f"sys_updated_on>={start:%Y-%m-%d %H:%M:%S}{ours}"
        fields = f"sys_id,number,sys_updated_on,sys_mod_count,{self._mapping.correlation}"
        refs: list[CsdRef] = []
        while True:
            rows, headers = await self._wire.rows(
                self._settings.table, f"{query}^ORDERBYsys_updated_on^ORDERBYsys_id", fields
            )
            place = place.begin(date_of(headers) or self._now())
            for row in rows:
                updated, sys_id = words.moment(words.value(row, "sys_updated_on")), words.value(row, "sys_id")
                stamp = f"{words.value(row, 'sys_updated_on')} {words.value(row, 'sys_mod_count')}"
                if updated < start or words.correlation(row, self._mapping.correlation) is None:
                    continue
                if place.is_told(sys_id, stamp):
                    continue
                if len(refs) == limit:
                    return Changes(tuple(refs), place.text(OVERLAP), more=True)
                refs.append(words.ref_of(row))
                place = place.tell(sys_id, updated, stamp)
            if len(rows) < PAGE:
                return Changes(tuple(refs), place.end(OVERLAP).text(OVERLAP))
            at, after = words.value(rows[-1], "sys_updated_on"), words.value(rows[-1], "sys_id")
            query = f"sys_updated_on={at}^sys_id>{after}{ours}^NQsys_updated_on>{at}{ours}"

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        if self._settings.webhook_secret is None:
            return super().notified(request)
        return words.notified(request, self._settings.webhook_secret.get_secret_value())

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self._wire, self._file, self._settings)

    async def _there(self, ref: CsdRef) -> Record:
        record = await self._finder.record(ref, self._fields)
        if record is None:
            raise TicketGoneError(
                f"ServiceNow has no {self._settings.table} {ref.number}, or does not show it to our user"
            )
        return record

    async def _write(self, sys_id: str, values: Mapping[str, str], *, repeatable: bool) -> None:
        """Write, and see that it was done: ServiceNow answers 200 for a field that a rule or a right kept as it was."""
        after = await self._wire.update(self._settings.table, sys_id, values, self._fields, repeatable=repeatable)
        shown = set(self._fields.split(","))
        ignored = [
            name
            for name, wanted in values.items()
            if name in shown and name != "close_notes" and words.value(after, name) != wanted
        ]
        if ignored:
            raise PermanentError(
                f"ServiceNow took the change of {', '.join(ignored)} of {words.value(after, 'number')} and did not make it: look at "
                "its business rules, its state model and the rights of okienko's user"
            )


def credentials(settings: ServiceNowCsdSettings) -> Credentials:
    """HTTP Basic, or OAuth with a client and perhaps a user's password (then the refresh token is used)."""
    password = settings.password.get_secret_value() if settings.password else ""
    if settings.client_id is None:
        token = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
        return Credentials(SecretStr(token), scheme="Basic")
    return Credentials(
        token_url=f"{settings.url}/oauth_token.do",
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        scope=settings.scope,
        user=settings.user,
        password=settings.password,
        secret_in_form=True,
    )
