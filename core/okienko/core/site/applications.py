"""Signed applications that wait to be typed, as the pages and the API read them: a list, one of them, and its pictures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.actions.approvals import Actor
from okienko.core.applications import SignedApplication, fetch
from okienko.core.audit.vault import Erased, Vault
from okienko.core.database import raw_connection, transaction
from okienko.core.documents import signed_beside
from okienko.core.picturing import NoPictureError, Picturing, Seen
from okienko.core.site.documents import Documents, Download
from okienko.core.site.queue import decode_cursor, encode_cursor, names_of
from okienko.core.typing_in import Refusal, TypingIn, refusal
from okienko.core.verifying import Checked, Verifying
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.signatures import Application
from okienko.schemas import Attachment, Case

MOST_OCTETS = 20 << 20
"""Of a document that is shown; assessing looks at none that is larger."""
_AT_ONCE = 2
"""Documents that are held in memory to be looked at."""
_MOST_WAITING = 64


class Pile(StrEnum):
    """Applications that belong together for people."""

    UNREAD = "unread"
    """Nobody has typed them yet."""
    TYPED = "typed"
    """Somebody has, and nobody has decided yet: a mistake can still be mended."""


_STATES: Mapping[Pile, tuple[str, ...]] = {Pile.UNREAD: ("unread",), Pile.TYPED: ("typed", "assessed")}
_OPEN = """
FROM signed_application s JOIN cases c ON c.id = s.case_id
WHERE s.state = ANY($1::text[]) AND c.state IN ('registered', 'human_review', 'reopened')
AND NOT EXISTS (
    SELECT FROM reset_action a WHERE a.case_id = s.case_id AND a.state NOT IN ('waiting', 'superseded', 'expired'))
"""
_LIST = f"""
SELECT s.case_id, c.csd_number, s.noted_at, s.missing, s.state, s.typed_at, s.typed_by {_OPEN}
AND ($2::timestamptz IS NULL OR (s.noted_at, s.case_id) > ($2, $3::uuid)) ORDER BY s.noted_at, s.case_id LIMIT $4
"""
_COUNT = f"SELECT s.state, count(*) AS n {_OPEN} GROUP BY s.state"
UNREAD = "SELECT count(*) " + _OPEN.replace("ANY($1::text[])", "'unread'")
"""How many applications nobody has typed yet."""
_ACTIONS = "SELECT id, state FROM reset_action WHERE case_id = $1 ORDER BY created_at, id"


@dataclass(frozen=True, slots=True)
class Line:
    """One application in a list."""

    case_id: UUID
    number: str | None
    noted_at: datetime
    missing: tuple[str, ...]
    state: str
    typed_at: datetime | None
    typed_by: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, and the cursor of those that follow."""

    lines: tuple[Line, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Whole:
    """One application with its case."""

    case: Case
    application: SignedApplication
    typed: Application
    """What was typed; empty before, and after the person was erased."""
    action_id: UUID | None
    """The newest reset action of the case."""
    closed_for: Refusal | None
    """Why nobody can type (any more), or None."""
    names: Mapping[str, str]
    """Names for people, by lasting name."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the document itself shows. All of it comes from signed octets."""

    read: Application
    parts: tuple[Seen, ...]
    valid: bool
    """Whether the signature still counts."""


class Applications:
    """Reads lists and documents, and passes on what people type."""

    def __init__(
        self, engine: AsyncEngine, now: Callable[[], datetime], *, vault: Vault, typing: TypingIn, documents: Documents,
        verifying: Verifying | None, pictures: Picturing,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._now = now
        self._vault = vault
        self._typing = typing
        self._documents = documents
        self._verifying = verifying
        self._pictures = pictures
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def page(self, pile: Pile, *, limit: int, cursor: str | None = None) -> Page:
        """At most `limit` applications, oldest first. Raises BadCursorError."""
        at, after = decode_cursor(cursor) if cursor else (None, None)
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(_LIST, list(_STATES[pile]), at, after, limit + 1)
        lines = tuple(_line(row) for row in rows[:limit])
        return Page(lines, encode_cursor(lines[-1].noted_at, lines[-1].case_id) if len(rows) > limit else None)

    async def counts(self) -> dict[Pile, int]:
        """How many there are in each pile."""
        everything = [state for states in _STATES.values() for state in states]
        async with transaction(self._engine) as connection:
            rows = await (await raw_connection(connection)).fetch(_COUNT, everything)
        by_state = {row["state"]: row["n"] for row in rows}
        return {pile: sum(by_state.get(state, 0) for state in states) for pile, states in _STATES.items()}

    async def whole(self, case_id: UUID) -> Whole:
        """One application. Raises PermanentError when the case has none that could not be read."""
        async with transaction(self._engine, snapshot=True) as connection:
            raw = await raw_connection(connection)
            application = await fetch(raw, case_id)
            if application is None:
                raise PermanentError(f"the case {case_id} has no application to be typed")
            row = (await cases.fetch(raw, [case_id]))[case_id]
            typed = await application.typed(raw, self._vault)
            actions = await raw.fetch(_ACTIONS, case_id)
            names = await names_of(raw, [application.typed_by or ""])
        return Whole(
            case=cases.to_case(row),
            application=application,
            typed=Application() if isinstance(typed, Erased) else typed,
            action_id=actions[-1]["id"] if actions else None,
            closed_for=refusal(row["state"], [a["state"] for a in actions]),
            names=names,
        )

    async def look(self, whole: Whole) -> Look | None:
        """What the document shows; None when it cannot be shown (any more). Raises TransientError when too many look."""
        async with self._turn():
            try:
                checked, files = await self._signed(whole)
            except PermanentError:
                return None
            try:
                parts = await self._pictures.parts(files) if files else ()
            except NoPictureError:
                parts = ()
        return Look(checked.application, parts, checked.verification.report.valid)

    async def picture(self, whole: Whole, part: int, page: int) -> bytes:
        """One page of one part as a PNG. Raises NoPictureError (and other PermanentErrors), TransientError."""
        async with self._turn():
            _, files = await self._signed(whole)
            return await self._pictures.page(files, part, page)

    async def document(self, whole: Whole) -> Download:
        """The document as it came. Raises PermanentError when it was erased."""
        return await self._documents.open(whole.application.envelope_id, whole.application.attachment)

    async def type(self, case_id: UUID, actor: Actor, *, sha256: str, revision: int, values: Mapping[str, str]) -> None:
        """Pass on what a person typed; see TypingIn.type."""
        await self._typing.type(case_id, actor, sha256=sha256, revision=revision, values=values)

    async def _signed(self, whole: Whole) -> tuple[Checked, Sequence[bytes]]:
        """The octets that the signature covers, and nothing else: an unsigned layer is never shown as the application."""
        if self._verifying is None:
            raise PermanentError("no signature verifier is configured: documents cannot be shown")
        download = await self.document(whole)
        octets = await _octets(download)
        if hashlib.sha256(octets).hexdigest() != whole.application.sha256:
            raise PermanentError("the document is not the one that was assessed")
        checked = await self._verifying.verify(octets, download.attachment.filename, self._now())
        if missing := checked.verification.missing:
            envelope_id = whole.application.envelope_id

            async def read(attachment: Attachment) -> bytes:
                return await _octets(await self._documents.open(envelope_id, attachment.index))

            attachments = await self._documents.attachments(envelope_id)
            content = await signed_beside(attachments, read, missing, beside=download.attachment)
            if content is not None:
                filename = download.attachment.filename
                checked = await self._verifying.verify(octets, filename, self._now(), detached=content)
        return checked, [file.content for file in checked.verification.signed]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= _MOST_WAITING:
            raise TransientError("too many documents are looked at: try again in a moment")
        self._waiting += 1
        try:
            async with self._gate:
                yield
        finally:
            self._waiting -= 1


async def _octets(download: Download) -> bytes:
    octets = bytearray()
    async with aclosing(download.chunks) as chunks:
        async for piece in chunks:
            octets += piece
            if len(octets) > MOST_OCTETS:
                raise NoPictureError("the document is too large to be shown")
    return bytes(octets)


def _line(row: Any) -> Line:
    return Line(
        row["case_id"], row["csd_number"], row["noted_at"], tuple(row["missing"]), row["state"], row["typed_at"], row["typed_by"]
    )  # fmt: skip
