"""The other side of the fake Znuny for the kit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from okienko.connectors.csd.znuny.client import ZnunyCsd
from okienko.connectors.csd.znuny.settings import ZnunyCsdSettings
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus
from rigs.znuny import URL, FakeZnuny

SECRET = "sekret-webhooka-znuny"
MAPPING = """\
correlation = "OkienkoID"

[queues]
default = "Okienko"
recovery = "Konta"

[types]
default = "Unclassified"

[states.write]
open = "open"
pending = "pending reminder"
closed = "closed successful"

[states.read]
new = "open"
"closed unsuccessful" = "closed"

[priorities]
low = "2 low"
normal = "3 normal"
high = "4 high"
critical = "5 very high"

[[fields]]
name = "OkienkoChannel"
from = "channel"
values = { email = "poczta", phone = "telefon" }
default = "inny"
"""


def connector(folder: Path, mapping: str = MAPPING, **changes: str) -> ZnunyCsd:
    """The connector before the fake."""
    (folder / "znuny.toml").write_text(mapping, encoding="utf-8")
    values = {
        "URL": URL, "USER": "okienko", "PASSWORD": "sekret", "MAPPING": str(folder / "znuny.toml"), "WEBHOOK_SECRET": SECRET,
    } | changes  # fmt: skip
    return ZnunyCsd(load_settings(ZnunyCsdSettings, {f"OKIENKO_CSD_ZNUNY_{k}": v for k, v in values.items()}))


class ZnunyHands(CsdWorkshop):
    """See CsdWorkshop."""

    states: ClassVar = {
        "new": TicketStatus.OPEN, "open": TicketStatus.OPEN, "pending reminder": TicketStatus.PENDING,
        "closed unsuccessful": TicketStatus.CLOSED, "closed successful": TicketStatus.CLOSED,
    }  # fmt: skip

    def __init__(self, znuny: FakeZnuny, mapping: Path) -> None:
        self._znuny = znuny
        self._mapping = load_mapping(mapping).mapping

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        priority = self._mapping.priority_out(change.priority) if change.priority else None
        values = {"Title": change.subject, "Priority": priority, "Queue": change.queue, "Owner": change.assignee}
        self._znuny.set(int(ref.id), {name: value for name, value in values.items() if value is not None})

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        article = {"Subject": "Notatka", "Body": text, "ContentType": "text/plain; charset=utf8"}
        self._znuny.article(int(ref.id), article | {"IsVisibleForCustomer": int(public)}, by=3)

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        article = {"Subject": "Plik", "Body": "plik", "ContentType": "text/plain; charset=utf8"}
        self._znuny.article(int(ref.id), article, [(filename, "application/octet-stream", content)], by=3)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        self._znuny.set(int(ref.id), {"State": raw})

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        self._znuny.merge(int(ref.id), int(into.id))

    async def remove(self, ref: CsdRef) -> None:
        del self._znuny.tickets[int(ref.id)]

    async def copy(self, ref: CsdRef) -> CsdRef:
        one = self._znuny.tickets[int(ref.id)]
        ticket = {name: one[name] for name in ("Title", "Queue", "State", "Priority")} | {"CustomerUser": "jan"}
        article = {"Subject": "kopia", "Body": "kopia", "ContentType": "text/plain; charset=utf8"}
        made = self._znuny.add(ticket, article, one["Fields"], [])
        return CsdRef(backend="znuny", number=self._znuny.tickets[made]["TicketNumber"], id=str(made))

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        return [
            CsdRef(backend="znuny", number=one["TicketNumber"], id=str(made))
            for made, one in self._znuny.tickets.items() if one["Fields"].get("OkienkoID") == str(correlation_id)
        ]  # fmt: skip

    async def order(self, fault: Fault) -> None:
        self._znuny.fault = fault

    async def ignore_filter(self) -> None:
        self._znuny.ignores_filter = True

    async def ignore_state(self) -> None:
        self._znuny.ignored_states = 1

    async def tick(self) -> None:
        self._znuny.tick()

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        tickets = [{"TicketID": int(ref.id), "TicketNumber": ref.number} for ref in refs]
        return await self.signed(json.dumps(tickets[0] if len(tickets) == 1 else {"Tickets": tickets}).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        return WebhookRequest({"x-okienko-secret": SECRET}, body)
