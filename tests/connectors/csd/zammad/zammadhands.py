"""The other side of the fake Zammad for the kit."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from okienko.connectors.csd.zammad.client import ZammadCsd
from okienko.connectors.csd.zammad.settings import ZammadCsdSettings
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus
from rigs.zammad import URL, FakeZammad

SECRET = "sekret-webhooka-zammad"
MAPPING = """\
correlation = "okienko_id"

[queues]
default = "Okienko"
recovery = "Konta"

[states.write]
open = "open"
pending = "pending reminder"
closed = "closed"

[states.read]
new = "open"
"pending close" = "pending"

[priorities]
low = "1 low"
normal = "2 normal"
high = "3 high"
critical = "4 urgent"

[[fields]]
name = "okienko_channel"
from = "channel"
values = { email = "poczta", phone = "telefon" }
default = "inny"
"""


def connector(folder: Path, mapping: str = MAPPING, **changes: str) -> ZammadCsd:
    """The connector before the fake."""
    (folder / "zammad.toml").write_text(mapping, encoding="utf-8")
    values = {
        "URL": URL, "TOKEN": "sekret-tokenu", "MAPPING": str(folder / "zammad.toml"), "WEBHOOK_SECRET": SECRET,
    } | changes  # fmt: skip
    return ZammadCsd(load_settings(ZammadCsdSettings, {f"OKIENKO_CSD_ZAMMAD_{k}": v for k, v in values.items()}))


class ZammadHands(CsdWorkshop):
    """See CsdWorkshop."""

    states: ClassVar = {
        "new": TicketStatus.OPEN, "open": TicketStatus.OPEN, "pending reminder": TicketStatus.PENDING,
        "pending close": TicketStatus.PENDING, "closed": TicketStatus.CLOSED,
    }  # fmt: skip
    signs_body = True

    def __init__(self, zammad: FakeZammad, mapping: Path) -> None:
        self._zammad = zammad
        self._mapping = load_mapping(mapping).mapping

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        priority = self._mapping.priority_out(change.priority) if change.priority else None
        values = {"title": change.subject, "priority": priority, "group": change.queue, "owner": change.assignee}
        self._zammad.set(int(ref.id), {name: value for name, value in values.items() if value is not None})

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        self._zammad.say(int(ref.id), text, public=public)

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        self._zammad.say(int(ref.id), "plik", file=(filename, content))

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        self._zammad.set(int(ref.id), {"state": raw})

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        self._zammad.merge(int(ref.id), int(into.id))

    async def remove(self, ref: CsdRef) -> None:
        del self._zammad.tickets[int(ref.id)]

    async def copy(self, ref: CsdRef) -> CsdRef:
        one = self._zammad.tickets[int(ref.id)]
        made = self._zammad.add({name: one[name] for name in ("title", "group", "okienko_id")})
        return CsdRef(backend="zammad", number=made["number"], id=str(made["id"]))

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        return [
            CsdRef(backend="zammad", number=one["number"], id=str(made))
            for made, one in self._zammad.tickets.items() if one.get("okienko_id") == str(correlation_id)
        ]  # fmt: skip

    async def order(self, fault: Fault) -> None:
        self._zammad.fault = fault

    async def ignore_filter(self) -> None:
        self._zammad.ignores_filter = True

    async def ignore_state(self) -> None:
        self._zammad.ignored_states = 1

    async def tick(self) -> None:
        self._zammad.tick()

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        tickets = [{"id": int(ref.id), "number": ref.number} for ref in refs]
        body = {"ticket": tickets[0], "article": {"id": 1}} if len(tickets) == 1 else {"tickets": tickets}
        return await self.signed(json.dumps(body).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        mac = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
        return WebhookRequest({"x-hub-signature": f"sha1={mac}"}, body)
