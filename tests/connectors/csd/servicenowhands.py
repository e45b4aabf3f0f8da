"""The other side of the fake ServiceNow, and the connector before it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from pydantic import SecretStr

from connectors.csd.servicenow import URL, FakeServiceNow
from okienko.connectors.csd.servicenow.client import ServiceNowCsd
from okienko.connectors.csd.servicenow.settings import ServiceNowCsdSettings
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.testing.conformance import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, Priority, TicketStatus

MAPPING = Path(__file__).with_name("servicenow.toml")
SECRET = "a secret of the webhook"


def connector(**changes: object) -> ServiceNowCsd:
    """The connector with the fake's mapping."""
    values = {
        "url": URL, "user": "okienko", "password": SecretStr("secret"), "mapping": MAPPING, "close_code": "Solution provided",
        "hold_reason": "1", "webhook_secret": SecretStr(SECRET),
    } | changes  # fmt: skip
    return ServiceNowCsd(ServiceNowCsdSettings(**values))


class ServiceNowHands(CsdWorkshop):
    states: ClassVar = {
        "1": TicketStatus.OPEN, "2": TicketStatus.OPEN, "3": TicketStatus.PENDING, "6": TicketStatus.CLOSED,
        "7": TicketStatus.CLOSED, "8": TicketStatus.CLOSED,
    }  # fmt: skip
    signs_body = True

    def __init__(self, fake: FakeServiceNow) -> None:
        self.fake = fake

    def row(self, ref: CsdRef) -> dict[str, str]:
        return next(row for row in self.fake.tables["incident"].values() if row["number"] == ref.number)

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        values = {"short_description": change.subject} if change.subject else {}
        levels = {Priority.HIGH: ("2", "1"), Priority.LOW: ("3", "3")}
        if change.priority:
            values |= dict(zip(("impact", "urgency"), levels[change.priority], strict=True))
        self.fake.write(self.row(ref), values)

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        self.fake.write(self.row(ref), {"comments" if public else "work_notes": text}, by="ewa")

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        self.fake.attach(self.row(ref)["sys_id"], filename, content)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        assert (
            self.fake.write(self.row(ref), {"state": raw, "hold_reason": "1", "close_code": "x", "close_notes": "x"})
            is None
        )

    async def remove(self, ref: CsdRef) -> None:
        del self.fake.tables["incident"][self.row(ref)["sys_id"]]

    async def copy(self, ref: CsdRef) -> CsdRef:
        row = self.row(ref)
        self.fake.tick()
        made = self.fake.new({name: row[name] for name in ("short_description", "correlation_id")})
        return CsdRef(backend="servicenow", number=made["number"], id=made["sys_id"])

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        return [
            CsdRef(backend="servicenow", number=row["number"], id=row["sys_id"])
            for row in self.fake.tables["incident"].values()
            if row["correlation_id"] == str(correlation_id)
        ]

    async def order(self, fault: Fault) -> None:
        self.fake.faults.append(fault)

    async def ignore_filter(self) -> None:
        self.fake.ignored_fields.add("correlation_id")

    async def ignore_state(self) -> None:
        self.fake.ignore_state = True

    async def tick(self) -> None:
        self.fake.tick()

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        tickets = [{"number": ref.number, "sys_id": ref.id, "sys_mod_count": "1"} for ref in refs]
        return await self.signed(json.dumps({"table": "incident", "tickets": tickets}).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        mac = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
        return WebhookRequest({"content-type": "application/json", "x-okienko-signature": mac}, body)
