"""In-memory doubles of the ports that do I/O; MemoryCsd and MemoryIdentity have modules of their own.

They keep the ports' promises and pass the conformance checks.

Each has `failures`: an error put there is raised by the next call instead of its work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from uuid import UUID, uuid4

from pydantic import ValidationError

from okienko.plugins.errors import UnreadableError
from okienko.plugins.ports import Finding, Intake, RawItem, Severity
from okienko.plugins.raw import RawContent
from okienko.plugins.testing.csd import MemoryCsd as MemoryCsd  # for those who look for it beside the others
from okienko.schemas import ChannelName, Envelope, InboundMessage, OutboundMessage


class FixedClock:
    """A clock that stands still until it is told to move: pass it as `PluginContext.now`."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def advance(self, step: timedelta) -> datetime:
        """Move the clock by `step` and return the new time."""
        self._now += step
        return self._now


class _Failing:
    """What the doubles share: errors that a test has ordered."""

    def __init__(self) -> None:
        self.failures: deque[Exception] = deque()

    def _fail_if_ordered(self) -> None:
        if self.failures:
            raise self.failures.popleft()


class MemoryIntake(_Failing):
    """See Intake. What was accepted is in `items`, by envelope id, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[UUID, RawItem] = {}
        self._by_external: dict[tuple[str, str], UUID] = {}

    async def accept(self, item: RawItem) -> UUID:
        """See Intake."""
        self._fail_if_ordered()
        fresh = uuid4()
        if item.external_id is not None:
            known = self._by_external.setdefault((item.source, item.external_id), fresh)
            if known != fresh:
                return known
        self.items[fresh] = item
        return fresh


class MemoryChannel(_Failing):
    """See Channel. It takes in `inbound` (each one InboundMessage) and keeps what it sends in `sent`."""

    def __init__(self, name: str = "memory", channel: ChannelName = ChannelName.PORTAL) -> None:
        super().__init__()
        self.name = name
        self.channel = channel
        self.inbound: deque[InboundMessage] = deque()
        self.sent: list[OutboundMessage] = []

    async def run(self, intake: Intake) -> None:
        """See Channel."""
        self._fail_if_ordered()
        while self.inbound:
            raw = RawContent(self.inbound[0].model_dump_json().encode())
            await intake.accept(RawItem(channel=self.channel, connector=self.name, source=self.name, raw=raw))
            self.inbound.popleft()
        await asyncio.Event().wait()

    def parse(self, envelope: Envelope, raw: RawContent) -> InboundMessage:
        """The bytes are the JSON of an InboundMessage. Raises UnreadableError for any others."""
        try:
            return InboundMessage.model_validate_json(raw.read())
        except ValidationError:
            raise UnreadableError(f"envelope {envelope.id} holds no InboundMessage in JSON") from None

    def open_attachment(self, envelope: Envelope, raw: RawContent, index: int) -> BinaryIO:
        """Always IndexError: the JSON carries no attachment's bytes."""
        del envelope, raw
        raise IndexError(index)

    async def send(self, message: OutboundMessage) -> None:
        """See Channel."""
        self._fail_if_ordered()
        self.sent.append(message)

    async def check(self) -> list[Finding]:
        """See Channel."""
        return [Finding(self.name, Severity.OK, "in memory")]
