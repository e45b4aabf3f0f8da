"""The people who work in the fake GLPI, and its connector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from okienko.connectors.csd.glpi.client import glpi_csd
from okienko.connectors.csd.glpi.mapping import PRIORITIES, STATES
from okienko.connectors.csd.glpi.settings import GlpiCsdSettings
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, Priority, TicketStatus
from rigs.glpi import APP_TOKEN, SECRET, URL, USER_TOKEN, ZOFIA, FakeGlpi

MAPPING = Path(__file__).parents[2] / "rigs" / "glpimapping.toml"
WORDS = {Priority.LOW: "low", Priority.NORMAL: "medium", Priority.HIGH: "high", Priority.CRITICAL: "very high"}


def connector(api: str, **changes: Any) -> SystemCsd:
    """The connector before the fake."""
    values: dict[str, Any] = {
        "url": URL, "api": api, "mapping": MAPPING, "time_zone": "Europe/Warsaw", "webhook_secret": SecretStr(SECRET),
    }  # fmt: skip
    if api == "10":
        values |= {"app_token": SecretStr(APP_TOKEN), "user_token": SecretStr(USER_TOKEN)}
    else:
        values |= {
            "client_id": "okienko", "client_secret": SecretStr("sekret"), "username": "okienko", "password": SecretStr("hasło"),
        }  # fmt: skip
    return glpi_csd(GlpiCsdSettings(**values | changes))


class GlpiHands(CsdWorkshop):
    """See CsdWorkshop."""

    states: ClassVar = {
        "new": TicketStatus.OPEN,
        "planned": TicketStatus.OPEN,
        "pending": TicketStatus.PENDING,
        "closed": TicketStatus.CLOSED,
    }
    signs_body = True

    def __init__(self, fake: FakeGlpi) -> None:
        self.fake = fake

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        values: dict[str, Any] = {}
        if change.subject is not None:
            values["name"] = change.subject
        if change.priority is not None:
            values["priority"] = PRIORITIES[WORDS[change.priority]]
        self.fake.update_ticket(int(ref.number), values)

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        html = (
            "<p>"
            + text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br />")
            + "</p>"
        )
        self.fake.add_entry("ITILFollowup", int(ref.number), html, user=ZOFIA, private=not public)

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        self.fake.add_document(int(ref.number), filename, content, user=ZOFIA)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        self.fake.update_ticket(int(ref.number), {"status": STATES[raw]})

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        one, two = int(ref.number), int(into.number)
        self.fake.insert("Ticket_Ticket", {"tickets_id_1": one, "tickets_id_2": two, "link": 2})
        self.fake.update_ticket(one, {"is_deleted": 1, "status": 6})
        self.fake.touch(two)

    async def remove(self, ref: CsdRef) -> None:
        self.fake.update_ticket(int(ref.number), {"is_deleted": 1})

    async def copy(self, ref: CsdRef) -> CsdRef:
        row = self.fake.table("Ticket")[int(ref.number)]
        return CsdRef(backend="glpi", number=str(self.fake.add_ticket({k: v for k, v in row.items() if k != "id"})))

    async def tickets_of(self, correlation_id: Any) -> list[CsdRef]:
        return [CsdRef(backend="glpi", number=str(number)) for number in self.fake.tickets_of(correlation_id)]

    async def order(self, fault: Fault) -> None:
        self.fake.faults.append(fault)

    async def ignore_filter(self) -> None:
        self.fake.ignore_filter = True

    async def ignore_state(self) -> None:
        self.fake.ignore_state = 5

    async def tick(self) -> None:
        self.fake.tick()

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        events = [{"event": "update", "item": {"id": int(ref.number)}} for ref in refs]
        return await self.signed(json.dumps(events if len(events) > 1 else events[0]).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        return WebhookRequest(self.fake.webhook(body), body)


class Hands11(GlpiHands):
    """GLPI 11's API tells no merging."""

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        self._cannot("merge that this API tells")
