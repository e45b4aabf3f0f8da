"""A CSD backend that writes lines to a file. For one process; a shared register needs a real lock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginContext, PluginSettings, hookimpl
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.ports import CsdBackend, Finding, Registration, Severity
from okienko.schemas import CsdRef


class PaperSettings(PluginSettings):
    """`OKIENKO_PAPER_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_PAPER_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    path: Path | None = Field(default=None, description="The file of tickets; unset: tickets.jsonl in okienko's home")


class PaperCsd:
    """See CsdBackend. Each line of the file is one thing that happened, in JSON."""

    name = "paper"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._numbers: dict[UUID, str] = {}
        self._notes: set[tuple[str, str]] = set()
        self._closed: set[str] = set()

    async def start(self) -> None:
        """See CsdBackend. Reads the file, so that a restart forgets nothing."""
        async with self._lock:
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
                {"did": "create", "id": str(key), "number": f"P{len(self._numbers) + place}", "subject": r.subject}
                for place, (key, r) in enumerate(fresh.items(), start=1)
            ]
            await self._write(lines)
        return await self.find([r.correlation_id for r in registrations])

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        async with self._lock:
            self._require(ref)
            if ref.number not in self._closed:
                await self._write([{"did": "close", "number": ref.number, "text": solution}])

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend."""
        async with self._lock:
            self._require(ref)
            if ref.number in self._closed:
                await self._write([{"did": "reopen", "number": ref.number, "text": reason}])

    async def comment(self, ref: CsdRef, key: str, text: str) -> None:
        """See CsdBackend."""
        async with self._lock:
            self._require(ref)
            if (ref.number, key) not in self._notes:
                await self._write([{"did": "comment", "number": ref.number, "key": key, "text": text}])

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return [Finding("paper", Severity.OK, f"{len(self._numbers)} tickets in {self._path}")]

    def _ref(self, number: str) -> CsdRef:
        return CsdRef(backend=self.name, number=number)

    def _require(self, ref: CsdRef) -> None:
        if ref.number not in self._numbers.values():
            raise PermanentError(f"{self._path} has no ticket {ref.number}")

    def _read(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []

    async def _write(self, lines: list[dict[str, Any]]) -> None:
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
        match line["did"]:
            case "create":
                self._numbers[UUID(line["id"])] = line["number"]
            case "close":
                self._closed.add(line["number"])
            case "reopen":
                self._closed.discard(line["number"])
            case "comment":
                self._notes.add((line["number"], line["key"]))


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `paper`."""
    return [PaperCsd(ctx.settings(PaperSettings).path or ctx.home / "tickets.jsonl")]
