"""CSD backends that are each wrong in one way, as connectors in the field are, with the check of the kit that has to find it."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar
from uuid import UUID

from okienko.plugins.csd import (
    Capability,
    Changes,
    NewFile,
    RawTicket,
    Registration,
    Ticket,
    TicketChange,
    TicketGoneError,
    WebhookRequest,
)
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.ports import Finding, Severity
from okienko.plugins.testing import MemoryCsd
from okienko.schemas import CsdRef, Priority, TicketStatus

FAULTY: list[type[Faulty]] = []


class Faulty(MemoryCsd):
    """Everything right, on a system without uniqueness."""

    found_by: ClassVar[str]
    cannot: ClassVar[frozenset[Capability]] = frozenset({Capability.UNIQUE})

    def __init__(self, **given: Any) -> None:
        super().__init__(capabilities=frozenset(Capability) - self.cannot, **given)

    def __init_subclass__(cls) -> None:
        FAULTY.append(cls)


class RetriesBlindly(Faulty):
    """A time-out after the commit is tried again without a look."""

    found_by = "test_create_survives[lost_answer]"

    async def _create_one(self, registration: Registration) -> CsdRef:
        try:
            return await super()._create_one(registration)
        except TransientError:
            return await super()._create_one(registration)


class NeverLooks(Faulty):
    found_by = "test_create_twice"

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        return {r.correlation_id: await self._create_one(r) for r in registrations}


class LooksWithoutLock(Faulty):
    found_by = "test_created_at_once"

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        known = await self.find([r.correlation_id for r in registrations])
        for r in registrations:
            if r.correlation_id not in known:
                known[r.correlation_id] = await self._create_one(r)
        return known


class GivesOnlyNewNumbers(Faulty):
    found_by = "test_batch"

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        known = await self.find([r.correlation_id for r in registrations])
        return await super().create([r for r in registrations if r.correlation_id not in known])


class BelievesTheSearch(Faulty):
    """The filter that the system does not know is ignored, and every ticket is taken for the one."""

    found_by = "test_filter_ignored"

    async def _search(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        found = {}
        for key in correlation_ids:
            if hits := self.system.search([key]):
                found[key] = hits[0][1]
        return found


class TakesTheNewestDouble(Faulty):
    found_by = "test_doubles"

    async def _search(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        return {key: refs[-1] for key in correlation_ids if (refs := self.system.tickets_of(key))}


class ForgetsAtStart(Faulty):
    found_by = "test_start_and_stop_twice"

    async def start(self) -> None:
        self.system.tickets.clear()


class ChokesOnNul(Faulty):
    found_by = "test_odd_texts"

    async def _create_one(self, registration: Registration) -> CsdRef:
        if "\x00" in registration.subject:
            raise ValueError("A string literal cannot contain NUL (0x00) characters.")
        return await super()._create_one(registration)


class ClosesWhatIsNotThere(Faulty):
    found_by = "test_unknown_ticket"

    async def close(self, ref: CsdRef, solution: str) -> None:
        try:
            await super().close(ref, solution)
        except TicketGoneError:
            return


class NoteTwice(Faulty):
    found_by = "test_comment_twice"

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        await self._existing(ref)
        self.system.add_note(ref.number, text, public=public, author="okienko", key=mark_of(key))


class NoteTwiceAfterALostAnswer(Faulty):
    found_by = "test_comment_survives[lost_answer]"

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        try:
            await super().comment(ref, key, text, public=public)
        except TransientError:
            self.system.add_note(ref.number, text, public=public, author="okienko", key=mark_of(key))


class RemembersNotesInMemory(Faulty):
    """A restart forgets what was written, and writes it again."""

    found_by = "test_another_process"

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        self.written: set[tuple[str, str]] = getattr(self, "written", set())
        await self._existing(ref)
        if (ref.number, key) not in self.written:
            self.written.add((ref.number, key))
            self.system.add_note(ref.number, text, public=public, author="okienko", key=mark_of(key))


class OnlySaysUnique(Faulty):
    """Its lock is its own process's."""

    found_by = "test_unique"
    cannot = frozenset()

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.system.unique = False


class NotesAtOnce(Faulty):
    found_by = "test_comment_at_once"

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        ticket = await self._existing(ref)
        if mark_of(key) not in {note.key for note in ticket.notes}:
            await self._request("comment", lambda: self.system.add_note(
                ref.number, text, public=public, author="okienko", key=mark_of(key)))  # fmt: skip


class ForgetsKeys(Faulty):
    found_by = "test_comment"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        return ticket and replace(ticket, notes=tuple(replace(note, key=None) for note in ticket.notes))


class NewestNoteFirst(Faulty):
    found_by = "test_comment"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        return ticket and replace(ticket, notes=ticket.notes[::-1])


class TakesQuotedMarksForOurs(Faulty):
    found_by = "test_foreign_note"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        if ticket is None:
            return None
        marks = [re.search(r"\[okienko:([0-9a-f]{16})\]", note.text) for note in ticket.notes]
        notes = zip(ticket.notes, marks, strict=True)
        return replace(ticket, notes=tuple(replace(n, key=n.key or (m[1] if m else None)) for n, m in notes))


class AllNotesPublic(Faulty):
    """What was meant for colleagues reaches the requester."""

    found_by = "test_public_and_internal"

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        await super().comment(ref, key, text, public=True)


class NaiveTimes(Faulty):
    found_by = "test_get"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        return ticket and replace(ticket, updated_at=ticket.updated_at.replace(tzinfo=None))


class LocalTimes(Faulty):
    found_by = "test_get"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        return ticket and replace(ticket, created_at=ticket.created_at.astimezone(timezone(timedelta(hours=1))))


class SwallowsErrors(Faulty):
    found_by = "test_close_and_reopen_survive[timeout]"

    async def close(self, ref: CsdRef, solution: str) -> None:
        try:
            await super().close(ref, solution)
        except TransientError:
            return


class BelievesTheState(Faulty):
    """The system answers with success and leaves the ticket open."""

    found_by = "test_ignored_state"

    async def _read_back(self, ref: CsdRef, status: TicketStatus) -> None:
        return


class ClosesAgain(Faulty):
    found_by = "test_close_and_reopen"

    async def close(self, ref: CsdRef, solution: str) -> None:
        await self._existing(ref)
        self.system.close(ref.number, solution)


class RefusesToReopenWhatIsOpen(Faulty):
    found_by = "test_close_and_reopen"

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        if (await self._existing(ref)).status is not TicketStatus.CLOSED:
            raise PermanentError("no such transition")
        await super().reopen(ref, reason)


class LosesTheSolution(Faulty):
    found_by = "test_close_and_reopen"

    async def close(self, ref: CsdRef, solution: str) -> None:
        await super().close(ref, "")


class CallsEveryStateOpen(Faulty):
    found_by = "test_foreign_states"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        waits = ticket is not None and ticket.status is TicketStatus.PENDING
        return replace(ticket, status=TicketStatus.OPEN) if ticket and waits else ticket


class ReadsRemoved(Faulty):
    found_by = "test_removed"
    seen: dict[str, Ticket]

    async def get(self, ref: CsdRef) -> Ticket | None:
        self.seen = getattr(self, "seen", {})
        if ticket := await super().get(ref):
            self.seen[ref.number] = ticket
        return self.seen.get(ref.number)


class FindsRemoved(Faulty):
    found_by = "test_removed"

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        self.told = getattr(self, "told", {}) | await super().create(registrations)
        return {r.correlation_id: self.told[r.correlation_id] for r in registrations}

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        return {key: ref for key, ref in getattr(self, "told", {}).items() if key in correlation_ids}


class MergesUnseen(Faulty):
    found_by = "test_merged"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        return ticket and replace(ticket, merged_into=None)


class AttachesTwice(Faulty):
    found_by = "test_attach_twice"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        await self._existing(ref)
        self.system.add_file(ref.number, file.filename, file.size, file.sha256)


class AttachesEachNameOnce(Faulty):
    """A second file of the same name is taken for the first and lost."""

    found_by = "test_attach_twice"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        if file.filename not in {known.filename for known in (await self._existing(ref)).files}:
            await super().attach(ref, file)


class ComparesSizesOnly(Faulty):
    found_by = "test_attach_twice"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        known = {(known.filename, known.size) for known in (await self._existing(ref)).files}
        if (file.filename, file.size) not in known:
            await super().attach(ref, file)


class DropsEmptyFiles(Faulty):
    found_by = "test_attach_nothing"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        if file.size:
            await super().attach(ref, file)


class AsciiNames(Faulty):
    found_by = "test_attach"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        await super().attach(ref, replace(file, filename=file.filename.encode("ascii", "ignore").decode()))


class FirstPieceOnly(Faulty):
    found_by = "test_attach_large"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        with file.open() as stream:
            piece = stream.read(1 << 20)
        digest = hashlib.sha256(piece).hexdigest()
        if digest not in {known.sha256 for known in (await self._existing(ref)).files}:
            self.system.add_file(ref.number, file.filename, len(piece), digest)


class LeavesStreamsOpen(Faulty):
    found_by = "test_attach_large"

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        content = file.open().read(-1)
        digest = hashlib.sha256(content).hexdigest()
        if digest not in {known.sha256 for known in (await self._existing(ref)).files}:
            self.system.add_file(ref.number, file.filename, len(content), digest)


class IgnoresVersions(Faulty):
    found_by = "test_versions"

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        await super().change(ref, change)


class ChangesMoreThanAsked(Faulty):
    found_by = "test_change_subject"

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        await super().change(ref, replace(change, priority=change.priority or Priority.LOW), version=version)


class ErasesWithoutNotes(Faulty):
    found_by = "test_erase"

    async def erase(self, ref: CsdRef) -> None:
        notes = list(self.system.by_number[ref.number].notes)
        await super().erase(ref)
        self.system.by_number[ref.number].notes = notes


class ErasesWithoutFiles(Faulty):
    found_by = "test_erase"

    async def erase(self, ref: CsdRef) -> None:
        files = list(self.system.by_number[ref.number].files)
        await super().erase(ref)
        self.system.by_number[ref.number].files = files


class SaysThatItDid(Faulty):
    """It cannot take files, and takes them without a word."""

    found_by = "test_unsupported"
    cannot = frozenset({Capability.ATTACHMENTS})

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        return


class CursorOfWholeSeconds(Faulty):
    """What changed in the second that was told last is never told."""

    found_by = "test_changes_of_the_same_second"
    later = "__gt__"

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        tickets = sorted(self.system.by_number.values(), key=lambda t: t.updated_at)
        if cursor is None:
            return Changes((), (tickets[-1].updated_at if tickets else self.system._now()).isoformat())
        since = datetime.fromisoformat(cursor)
        newer = [t for t in tickets if getattr(t.updated_at, self.later)(since)]
        told = newer[:limit]
        end = told[-1].updated_at.isoformat() if told else cursor
        return Changes(tuple(t.ref for t in told), end, len(newer) > limit)


class CursorThatStandsStill(CursorOfWholeSeconds):
    """A page full of tickets of one second is told again and again."""

    found_by = "test_changes_in_pages"
    later = "__ge__"


class CursorThatRepeatsForEver(CursorOfWholeSeconds):
    found_by = "test_changes_end"
    later = "__ge__"


class SkipsAPage(Faulty):
    found_by = "test_changes_in_pages"

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        told = await super().changes(cursor, limit=limit)
        return replace(told, more=False, cursor=str(self.system.sequence))


class NewestChangeFirst(Faulty):
    found_by = "test_changes_in_order"

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        told = await super().changes(cursor, limit=limit)
        return replace(told, refs=told.refs[::-1])


class BelievesEveryWebhook(Faulty):
    found_by = "test_webhook_forged"

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        return super().notified(self.system.signed(request.body))


class BelievesAnEmptySignature(Faulty):
    found_by = "test_webhook_forged"

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        return super().notified(request if any(request.headers.values()) else self.system.signed(request.body))


class CrashesOnABrokenBody(Faulty):
    found_by = "test_webhook_broken[1]"

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        json.loads(request.body)
        return super().notified(request)


class ChecksNothing(Faulty):
    found_by = "test_check"

    async def check(self) -> list[Finding]:
        return []


class KnowsNoCure(Faulty):
    found_by = "test_check"

    async def check(self) -> list[Finding]:
        return [Finding("x", Severity.ERROR, "broken")]


class ForetellsTheUsual(Faulty):
    """The preview leaves out what the case brings."""

    found_by = "test_preview_is_what_is_created"

    def preview(self, registration: Registration) -> RawTicket:
        return replace(super().preview(registration), priority=Priority.NORMAL.value)


class AsksToForetell(Faulty):
    found_by = "test_preview_asks_nothing"

    def preview(self, registration: Registration) -> RawTicket:
        socket.socket().close()
        return super().preview(registration)


class MakesItToForetell(Faulty):
    found_by = "test_preview_asks_nothing"

    def preview(self, registration: Registration) -> RawTicket:
        self.system.create(registration)
        return super().preview(registration)


class TellsNothingRaw(Faulty):
    found_by = "test_preview_is_what_is_created"

    async def get(self, ref: CsdRef) -> Ticket | None:
        ticket = await super().get(ref)
        return replace(ticket, raw=None) if ticket is not None else None
