"""The other side of the fake Jira, and the connector before it."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from pydantic import SecretStr

from connectors.csd.jira import CASE, URL, FakeJira, Issue
from okienko.connectors.csd.jira_sm.client import JiraSmCsd
from okienko.connectors.csd.jira_sm.settings import JiraSmCsdSettings
from okienko.connectors.csd.jira_sm.texts import to_adf
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.testing.conformance import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, Priority, TicketStatus

MAPPING = Path(__file__).with_name("jira.toml")
SECRET = "a secret of the webhook"


def connector(fake: FakeJira, **changes: object) -> JiraSmCsd:
    """The connector with the fake's mapping."""
    values: dict[str, Any] = {
        "url": URL, "token": SecretStr("api token"), "mapping": MAPPING, "webhook_secret": SecretStr(SECRET),
        "flavour": "cloud" if fake.cloud else "datacenter", "user": "okienko@csd.example" if fake.cloud else None,
    } | changes  # fmt: skip
    return JiraSmCsd(JiraSmCsdSettings(**values))


class JiraHands(CsdWorkshop):
    states: ClassVar = {
        "Open": TicketStatus.OPEN, "In Progress": TicketStatus.OPEN, "Waiting for customer": TicketStatus.PENDING,
        "Done": TicketStatus.CLOSED, "Canceled": TicketStatus.CLOSED,
    }  # fmt: skip
    signs_body = True

    def __init__(self, fake: FakeJira) -> None:
        self.fake = fake

    def issue(self, ref: CsdRef) -> Issue:
        found = self.fake.issue(ref.number)
        assert found is not None
        return found

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        fields: dict[str, Any] = {"summary": change.subject} if change.subject else {}
        if change.priority:
            fields["priority"] = {"name": {Priority.HIGH: "High", Priority.LOW: "Low"}[change.priority]}
        self.fake.edit(self.issue(ref), fields)

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        self.fake.comment(self.issue(ref), to_adf(text) if self.fake.cloud else text, internal=not public, by="ewa")

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        self.fake.attach(self.issue(ref), filename, content)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        self.fake.set_state(self.issue(ref), raw)

    async def remove(self, ref: CsdRef) -> None:
        del self.fake.issues[self.issue(ref)["id"]]

    async def copy(self, ref: CsdRef) -> CsdRef:
        fields = self.issue(ref)["fields"]
        names = ("summary", CASE, "project", "issuetype")
        made = self.fake.create({name: fields[name] for name in names}).json()
        return CsdRef(backend="jira_sm", number=made["key"], id=made["id"])

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        return [
            CsdRef(backend="jira_sm", number=one["key"], id=one["id"])
            for one in self.fake.issues.values()
            if one["fields"].get(CASE) == str(correlation_id)
        ]

    async def order(self, fault: Fault) -> None:
        self.fake.faults.append(fault)

    async def ignore_filter(self) -> None:
        self.fake.filter_ignored = True

    async def ignore_state(self) -> None:
        self.fake.ignore_state = True

    async def tick(self) -> None:
        self.fake.tick()

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        issues = [{"id": ref.id, "key": ref.number, "fields": {"summary": "x"}} for ref in refs]
        body: dict[str, Any] = {"timestamp": 1, "webhookEvent": "jira:issue_updated", "issue": issues[0]}
        return await self.signed(json.dumps(body if len(issues) == 1 else {"issues": issues}).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        return WebhookRequest({"content-type": "application/json", "x-hub-signature": f"sha256={mac}"}, body)
