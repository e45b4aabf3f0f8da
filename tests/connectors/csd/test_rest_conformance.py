"""The kit for CSD backends against Rejestr, a real HTTP server, by the example file of the documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from okienko.connectors.csd.rest.client import rest_csd
from okienko.connectors.csd.rest.settings import RestCsdSettings
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.testing.conformance import CsdConformance
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, Priority, TicketStatus
from rigs.rejestr import SECRET, TOKEN, Rejestr, rejestr

EXAMPLE = Path(__file__).parents[3] / "docs" / "csd-rest-example" / "rejestr.toml"
NUMBERS = {Priority.LOW: 1, Priority.NORMAL: 2, Priority.HIGH: 3, Priority.CRITICAL: 4}


def connector(url: str, **changes: Any) -> SystemCsd:
    """The connector before the server."""
    values: dict[str, Any] = {
        "url": url, "mapping": EXAMPLE, "token": SecretStr(TOKEN), "webhook_secret": SecretStr(SECRET),
    }  # fmt: skip
    return rest_csd(RestCsdSettings(**values | changes))


@pytest.fixture
def system() -> Iterator[Rejestr]:
    with rejestr() as running:
        yield running


class RejestrHands(CsdWorkshop):
    """See CsdWorkshop."""

    states: ClassVar = {
        "nowe": TicketStatus.OPEN, "w toku": TicketStatus.OPEN, "oczekuje": TicketStatus.PENDING,
        "odrzucone": TicketStatus.CLOSED, "zamknięte": TicketStatus.CLOSED,
    }  # fmt: skip
    signs_body = True

    def __init__(self, system: Rejestr) -> None:
        self.system = system

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        values: dict[str, Any] = {"temat": change.subject} if change.subject is not None else {}
        if change.priority is not None:
            values["waga"] = NUMBERS[change.priority]
        self.system.edit(ref.number, values)

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        self.system.note(ref.number, text, public=public, who="zofia")

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        self.system.file(ref.number, filename, content)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        self.system.edit(ref.number, {"stan": raw})

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        self.system.edit(ref.number, {"scalone_z": into.number, "stan": "zamknięte"})
        self.system.edit(into.number, {})

    async def remove(self, ref: CsdRef) -> None:
        self.system.edit(ref.number, {"usuniete": True})

    async def copy(self, ref: CsdRef) -> CsdRef:
        row = self.system.tickets[ref.number]
        return CsdRef(backend="rest", number=self.system.add({"temat": row["temat"], "sprawa": row["sprawa"]}))

    async def tickets_of(self, correlation_id: Any) -> list[CsdRef]:
        rows = self.system.tickets.values()
        return [CsdRef(backend="rest", number=row["nr"]) for row in rows if row.get("sprawa") == str(correlation_id)]

    async def order(self, fault: Fault) -> None:
        self.system.faults.append(fault)

    async def ignore_filter(self) -> None:
        self.system.ignore_filter = True

    async def ignore_state(self) -> None:
        self.system.ignore_state = True

    async def tick(self) -> None:
        self.system.tick()

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        return await self.signed(json.dumps({"zdarzenia": [{"nr": ref.number} for ref in refs]}).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        return WebhookRequest(self.system.sign(body), body)


class TestRest(CsdConformance):
    """Every check of the kit."""

    batch = 30

    @pytest.fixture
    def backend(self, system: Rejestr) -> SystemCsd:
        return connector(system.url)

    @pytest.fixture
    def other_backend(self, system: Rejestr) -> SystemCsd:
        return connector(system.url)

    @pytest.fixture
    def csd_workshop(self, system: Rejestr) -> RejestrHands:
        return RejestrHands(system)

    @pytest.fixture
    def other_queue(self) -> str:
        return "Druga linia"

    @pytest.fixture
    def assignee(self) -> str:
        return "zofia"
