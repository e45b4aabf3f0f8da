"""The other side of MemoryCsd, for the conformance kit."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.testing import Fault, FixedClock, MemoryCsd
from okienko.plugins.testing.conformance import CsdWorkshop
from okienko.plugins.testing.csdsystem import STATES
from okienko.schemas import CsdRef

WRITES = ("create", "comment", "attach", "change", "close", "reopen", "link", "erase")


class Hands(CsdWorkshop):
    states = STATES
    signs_body = True

    def __init__(self, csd: MemoryCsd, clock: FixedClock | None = None) -> None:
        self.csd = csd
        self.system = csd.system
        self.clock = clock

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        self.system.edit(ref, change)

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        self.system.note(ref, text, public=public)

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        self.system.attach(ref, filename, content)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        self.system.set_state(ref, raw)

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        self.system.merge(ref, into)

    async def remove(self, ref: CsdRef) -> None:
        self.system.remove(ref)

    async def copy(self, ref: CsdRef) -> CsdRef:
        return self.system.copy(ref)

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        return self.system.tickets_of(correlation_id)

    async def order(self, fault: Fault) -> None:
        self.csd.faults.order(fault, *WRITES)

    async def ignore_filter(self) -> None:
        self.system.ignores_filter = True

    async def ignore_state(self) -> None:
        self.system.ignored_states = 1

    async def tick(self) -> None:
        if self.clock is not None:
            self.clock.advance(timedelta(seconds=1))

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        return self.system.webhook(refs)

    async def signed(self, body: bytes) -> WebhookRequest:
        return self.system.signed(body)
