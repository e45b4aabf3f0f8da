"""A CSD backend that writes lines to a file. For one process; a shared register needs a real lock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginContext, PluginSettings, hookimpl
from okienko.plugins.context import utc_now
from okienko.plugins.csd import CsdBase, Note, Registration, Ticket, TicketGoneError
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.errors import TransientError
from okienko.plugins.ports import CsdBackend, Finding, Severity
from okienko.schemas import CsdRef, TicketStatus


class PaperSettings(PluginSettings):
    """`OKIENKO_PAPER_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_PAPER_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    path: Path | None = Field(default=None, description="The file of tickets; unset: tickets.jsonl in okienko's home")


@dataclass
class Sheet:
    """What the lines about one ticket come to."""

    id: UUID
    subject: str
    opened_at: datetime
    updated_at: datetime
    solution: str | None = None
    closed: bool = False
    notes: list[Note] = field(default_factory=list)


class PaperCsd(CsdBase):
    """See CsdBackend. Each line of the file is one thing that happened, in JSON; it can only what every backend can."""

    name = "paper"

    def __init__(self, path: Path, now: Callable[[], datetime] = utc_now) -> None:
        self._path = path
        self._now = now
        self._lock = asyncio.Lock()
        self._numbers: dict[UUID, str] = {}
        self._sheets: dict[str, Sheet] = {}

    async def start(self) -> None:
        """See CsdBackend. Reads the file, so that a restart forgets nothing."""
        async with self._lock:
            self._numbers, self._sheets = {}, {}
            for line in await asyncio.to_thread(self._read):
                self._apply(json.loads(line))

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return {key: self._ref(self._numbers[key]) for key in correlation_ids if key in self._numbers}

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        async with self._lock:
            fresh = {r.correlation_id: r for r in registrations if r.correlation_id not in self._numbers}
            lines = [
                {"did": "create", "id": str(key), "number": f"P{len(self._numbers) + place}", "text": r.subject,
                 "opened_at": r.opened_at.isoformat()}
                for place, (key, r) in enumerate(fresh.items(), start=1)
            ]  # fmt: skip
            await self._write(lines)
        return await self.find([r.correlation_id for r in registrations])

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        sheet = self._sheets.get(ref.number)
        if sheet is None:
            return None
        status = TicketStatus.CLOSED if sheet.closed else TicketStatus.OPEN
        return Ticket(
            ref=self._ref(ref.number), correlation_id=sheet.id, status=status, raw_status=status.value,
            subject=sheet.subject, created_at=sheet.opened_at, updated_at=sheet.updated_at, solution=sheet.solution,
            notes=tuple(sheet.notes),
        )  # fmt: skip

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        async with self._lock:
            if not self._sheet(ref).closed:
                await self._write([{"did": "close", "number": ref.number, "text": solution}])

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend."""
        async with self._lock:
            if self._sheet(ref).closed:
                await self._write([{"did": "reopen", "number": ref.number, "text": reason}])

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend. Nobody but its readers looks into the file, so that every note is internal."""
        del public
        async with self._lock:
            if mark_of(key) not in {note.key for note in self._sheet(ref).notes}:
                await self._write([{"did": "comment", "number": ref.number, "key": mark_of(key), "text": text}])

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return [Finding("paper", Severity.OK, f"{len(self._numbers)} tickets in {self._path}")]

    def _ref(self, number: str) -> CsdRef:
        return CsdRef(backend=self.name, number=number)

    def _sheet(self, ref: CsdRef) -> Sheet:
        if ref.number not in self._sheets:
            raise TicketGoneError(f"{self._path} has no ticket {ref.number}")
        return self._sheets[ref.number]

    def _read(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []

    async def _write(self, lines: list[dict[str, Any]]) -> None:
        lines = [line | {"at": self._now().isoformat()} for line in lines]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            await asyncio.to_thread(self._append, text)
        except OSError as error:
            raise TransientError(f"{self._path} cannot be written: {error.strerror}") from error
        for line in lines:
            self._apply(line)

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _apply(self, line: dict[str, Any]) -> None:
        number, text, at = line["number"], line["text"], datetime.fromisoformat(line["at"])
        if line["did"] == "create":
            opened_at = datetime.fromisoformat(line["opened_at"])
            sheet = Sheet(UUID(line["id"]), text, opened_at, opened_at)
            self._numbers[sheet.id], self._sheets[number] = number, sheet
        sheet = self._sheets[number]
        sheet.updated_at = max(sheet.updated_at, at)
        match line["did"]:
            case "close":
                sheet.closed, sheet.solution = True, text
            case "reopen":
                sheet.closed = False
                sheet.notes.append(Note(str(len(sheet.notes)), text, at))
            case "comment":
                sheet.notes.append(Note(str(len(sheet.notes)), text, at, key=line["key"]))


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `paper`."""
    return [PaperCsd(ctx.settings(PaperSettings).path or ctx.home / "tickets.jsonl", ctx.now)]
