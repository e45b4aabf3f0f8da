"""The CSD backend behind Jira Service Management."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from okienko.connectors.csd.jira_sm import mapping as words
from okienko.connectors.csd.jira_sm.checks import check
from okienko.connectors.csd.jira_sm.finding import Finder
from okienko.connectors.csd.jira_sm.moving import Mover
from okienko.connectors.csd.jira_sm.settings import Flavour, JiraSmCsdSettings
from okienko.connectors.csd.jira_sm.wire import JiraRefusedError, JiraWire, Record
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
from okienko.plugins.csdmapping import load_mapping, matter
from okienko.plugins.csdnotes import has_note, marked, unmarked
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.csdparts import BothPaces
from okienko.plugins.csdstamps import ChangeCursor
from okienko.plugins.csdtexts import file_name, subject_line
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.findings import Finding
from okienko.plugins.httpapi import Credentials, HttpApi, Limits
from okienko.plugins.pace import Pace
from okienko.schemas import CsdRef, TicketStatus

_LARGEST_COMPARED = 20 * 1024 * 1024
"""A file of the same name and size is fetched to compare it up to this size; a larger one is attached again rather than missed."""


class JiraSmCsd(CsdBase):
    """See CsdBackend. Versions are compared but not declared: Jira has no conditional write, so that two may still cross."""

    name = words.BACKEND

    def __init__(
        self, settings: JiraSmCsdSettings, pace: Pace | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        assert settings.url is not None and settings.mapping is not None  # noqa: S101, PT018  the settings see to it
        self._settings = settings
        self._file = load_mapping(settings.mapping)
        self._mapping = self._file.mapping
        words.field_in_jql(self._mapping.correlation)
        self._cloud = settings.flavour is Flavour.CLOUD
        self._fields = words.fields_for(self._mapping)
        self._overlap = timedelta(minutes=settings.settle_minutes)
        self._pace = BothPaces(pace, settings.requests_per_hour)
        self._now = now
        self._open: JiraWire | None = None
        self._locks = TicketLocks()
        self._finder = Finder(self._file, lambda: self._wire, cloud=self._cloud, settle_minutes=settings.settle_minutes)
        self._mover = Mover(self._file, lambda: self._wire, settings.resolution)
        self._once = OnceOnly(self.find, self._create, at_once=settings.connections)
        c = Capability
        always = {c.PUBLIC_NOTES, c.ATTACHMENTS, c.LINKS, c.SUBJECT, c.ASSIGNEE, c.CHANGES, c.REMOVAL, c.PREVIEW}
        self.capabilities = self._mapping.declared(always, webhook=settings.webhook_secret is not None)

    @property
    def _wire(self) -> JiraWire:
        if self._open is None:
            settings = self._settings
            api = HttpApi(
                str(settings.url),
                credentials(settings),
                ca_file=settings.ca_file,
                limits=Limits(
                    connect=settings.connect_timeout, total=settings.timeout, max_body=_LARGEST_COMPARED + (1 << 20)
                ),
                headers={"Accept": "application/json", "User-Agent": "okienko", "Accept-Language": "en"},
                pace=self._pace,
            )
            self._open = JiraWire(api, cloud=self._cloud, pace=self._pace)
        return self._open

    async def start(self) -> None:
        """See CsdBackend. Nothing is to be made, and a Jira that is away must not hold up the service."""

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
        mapping, where = self._mapping, self._file.where
        words.matter_of(registration, self._file)
        body = words.new_issue(registration, mapping, await self._finder.schemas(), cloud=self._cloud)
        try:
            return words.ref_of(await self._wire.create(body))
        except JiraRefusedError as refused:
            ours: dict[str, tuple[str | int, ...]] = {
                "project": ("queues", matter(mapping.queues, registration)),
                "issuetype": ("types", matter(mapping.types, registration)),
                "priority": ("priorities", registration.priority.value),
                mapping.correlation: ("correlation",),
            }
            ours |= {one.name: ("fields", place, "name") for place, one in enumerate(mapping.fields)}
            line = next((where(*ours[name]) for name in refused.fields if name in ours), None)
            if line is None and set(refused.fields) & {"summary", "description"}:
                raise
            raise MisconfiguredError(
                f"{line or self._file.path.name}: {refused}; `okienko check csd` says more"
            ) from None

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        return words.preview_of(registration, self._file)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend. The id lasts when an issue is moved; an issue that our account may not see is not there either."""
        issue = await self._issue(ref)
        return words.ticket_of(issue, self._mapping, await self._notes(str(issue["id"]))) if issue is not None else None

    async def _issue(self, ref: CsdRef) -> Record | None:
        key = words.address(ref)
        return await self._wire.issue(key, self._fields) if key else None

    async def _there(self, ref: CsdRef) -> Record:
        issue = await self._issue(ref)
        if issue is None:
            raise TicketGoneError(f"Jira has no issue {ref.number}, or does not show it to our account")
        return issue

    async def _notes(self, issue: str) -> tuple[Note, ...]:
        return words.notes_of(await self._wire.comments(issue), await self._finder.account())

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            await self._note(str((await self._there(ref))["id"]), key, text, public=public)

    async def _note(self, issue: str, key: str, text: str, *, public: bool) -> None:
        if not has_note(await self._notes(issue), key):
            body = words.body_text(unmarked(text), cloud=self._cloud, ending=marked("", key))
            await self._wire.comment(issue, body, public=public)

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend."""
        async with self._locks.held(ref.number):
            issue = await self._there(ref)
            name = file_name(file.filename)
            if not await self._holds(issue, name, file):
                await self._wire.attach(str(issue["id"]), name, file)

    async def _holds(self, issue: Record, name: str, file: NewFile) -> bool:
        for one in words.fields_of(issue).get("attachment") or ():
            if one.get("filename") != name or one.get("size") != file.size or file.size > _LARGEST_COMPARED:
                continue
            content = await self._wire.content(one)
            if content is not None and words.digest(content) == file.sha256:
                return True
        return False

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. `version` is the time of the last change, compared just before the write; see the class.

        An assignee is an accountId (Cloud) or a login (Data Center); "" is nobody.
        """
        if change.queue is not None:
            raise self._cannot("move an issue to another project")
        async with self._locks.held(ref.number):
            issue = await self._there(ref)
            if version is not None and version != words.fields_of(issue).get("updated"):
                raise TicketChangedError(f"{ref.number} was changed in Jira since it was read; nothing was written")
            fields = self._wanted(change)
            number = str(issue["id"])
            if fields and self._ignored(issue, fields):
                await self._wire.update(number, fields, repeatable=version is None)
                if ignored := self._ignored(await self._there(ref), fields):
                    raise PermanentError(
                        f"Jira took the change of {', '.join(ignored)} of {ref.number} and did not make it: look at its automation"
                    )
            if change.status is not None:
                await self._mover.move(issue, change.status)

    def _wanted(self, change: TicketChange) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if change.subject is not None:
            fields["summary"] = subject_line(change.subject, words.SUMMARY)
        if change.priority is not None:
            name = self._mapping.priority_out(change.priority)
            if name is None:
                raise MisconfiguredError(
                    f"{self._file.where('priorities')}: no priority for {change.priority.value}: add it"
                )
            fields["priority"] = {"name": name}
        if change.assignee is not None:
            key = "accountId" if self._cloud else "name"
            fields["assignee"] = {key: change.assignee} if change.assignee else None
        return fields

    @staticmethod
    def _ignored(issue: Record, fields: dict[str, Any]) -> list[str]:
        has = {
            "summary": words.fields_of(issue).get("summary"),
            "priority": words.text_of(words.fields_of(issue).get("priority")).casefold(),
            "assignee": words.assignee_of(issue),
        }
        want = {name: next(iter(one.values())) if isinstance(one, dict) else one for name, one in fields.items()}
        if "priority" in want:
            want["priority"] = str(want["priority"]).casefold()
        return [name for name, value in want.items() if has[name] != value]

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend. The solution is a comment, public by SOLUTION_PUBLIC; then a transition leads to the closed state."""
        await self._move(ref, TicketStatus.CLOSED, solution, public=self._settings.solution_public)

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. The reason is an internal comment."""
        await self._move(ref, TicketStatus.OPEN, reason, public=False)

    async def _move(self, ref: CsdRef, status: TicketStatus, text: str, *, public: bool) -> None:
        async with self._locks.held(ref.number):
            issue = await self._there(ref)
            closed = words.status_of(issue, self._mapping) is TicketStatus.CLOSED
            if closed is (status is TicketStatus.CLOSED):
                return
            # Asked before the text is written: a state that cannot be reached leaves no word of it.
            await self._mover.way(issue, status)
            # An issue may be closed with the same words again; what was interrupted is gone on with.
            turn = await self._mover.times_closed(str(issue["id"]))
            await self._note(str(issue["id"]), f"{status.value} {turn}", text, public=public)
            await self._mover.move(issue, status)

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend."""
        issue, target = await self._there(ref), await self._there(other)
        one, to = str(issue["id"]), str(target["id"])
        if one == to or self._linked(issue, to):
            return
        try:
            await self._wire.link(self._settings.link_type, one, to)
        except TicketGoneError:
            # Both were there a moment ago.
            raise MisconfiguredError(
                f"Jira makes no link of the type {self._settings.link_type!r}: correct LINK_TYPE, give the permission Link Issues, or "
                "switch issue linking on; `okienko check csd` says which types there are"
            ) from None
        if not self._linked(await self._there(ref), to):
            raise PermanentError(
                f"Jira did not link {ref.number} with {other.number}: see LINK_TYPE and `okienko check csd`"
            )

    def _linked(self, issue: Record, to: str) -> bool:
        wanted = self._settings.link_type.casefold()
        for link in words.fields_of(issue).get("issuelinks") or ():
            ends = [end for name in ("inwardIssue", "outwardIssue") if isinstance(end := link.get(name), dict)]
            if any(str(end.get("id")) == to for end in ends) and words.text_of(link.get("type")).casefold() == wanted:
                return True
        return False

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend. Deleted issues leave no trace in a search; the webhook tells of them.

        JQL knows minutes, and reads a time of day in our account's zone: so minutes before now are asked for.
        """
        clock = await self._wire.clock() or self._now()
        if cursor is None:
            return Changes((), ChangeCursor(clock).text(self._overlap))
        place = ChangeCursor.parse(cursor, self.name).begin(clock)
        start = place.start(self._overlap)
        minutes = max(1, math.ceil((clock - start).total_seconds() / 60) + 1)
        field = self._mapping.correlation
        jql = f'updated >= "-{minutes}m" AND {words.field_in_jql(field)} is not EMPTY ORDER BY updated ASC, key ASC'
        refs: list[CsdRef] = []
        async for issue in self._wire.search(jql, ["updated", field]):
            stamp = str(words.fields_of(issue).get("updated"))
            updated, ref = words.moment(stamp), words.ref_of(issue)
            if updated < start or place.is_told(ref.id, stamp) or words.correlation(issue, field) is None:
                continue
            if len(refs) == limit:
                return Changes(tuple(refs), place.text(self._overlap), more=True)
            refs.append(ref)
            place = place.tell(ref.id, updated, stamp)
        return Changes(tuple(refs), place.end(self._overlap).text(self._overlap))

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See CsdBackend."""
        if self._settings.webhook_secret is None:
            return super().notified(request)
        return words.notified(request, self._settings.webhook_secret.get_secret_value())

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self._wire, self._file, self._settings)


def credentials(settings: JiraSmCsdSettings) -> Credentials:
    """Basic with e-mail and API token, Bearer with a personal access token, or OAuth client credentials."""
    if settings.token is None:
        return Credentials(
            token_url=settings.token_url, client_id=settings.client_id, client_secret=settings.client_secret,
            scope=settings.scope, secret_in_form=True,
        )  # fmt: skip
    if settings.user is None:
        return Credentials(settings.token)
    pair = f"{settings.user}:{settings.token.get_secret_value()}"
    return Credentials(SecretStr(base64.b64encode(pair.encode()).decode()), scheme="Basic")
