"""`okienko check` of the Znuny connector.

The interface has no operation that lists queues or states. So a ticket is asked for that cannot be made: its attachment has no
file name, which Znuny looks at last. The error that comes says which part before that is wrong; nothing is ever created.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any
from uuid import uuid4

from okienko.connectors.csd.znuny.mapping import moment
from okienko.connectors.csd.znuny.wire import Session, ZnunyRefusedError, ZnunyWire
from okienko.plugins.csdmapping import CsdMapping, MappingFile
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity
from okienko.schemas import TicketStatus


async def check(wire: ZnunyWire, file: MappingFile, zone: tzinfo) -> list[Finding]:
    """Sign in, and try each queue, type, state, priority and field of the mapping. Creates nothing."""
    m = file.mapping
    try:
        session = await wire.session()
        listed = await wire.search({f"DynamicField_{m.correlation}": {"Equals": uuid4().hex}, "Limit": 1})
    except OkienkoError as error:
        return [Finding("csd znuny", Severity.ERROR, str(error), "check URL, USER, PASSWORD and CA_FILE")]
    findings = [Finding("csd znuny", Severity.OK, "Znuny lets us in"), *_zone(session, zone)]
    if listed:
        findings.append(
            Finding(
                file.where("correlation"), Severity.ERROR, f"the search ignores the dynamic field {m.correlation!r}",
                "make it in Znuny (Admin, Dynamic Fields, Text, object Ticket), or correct its name in the mapping",
            )
        )  # fmt: skip
    probe = _Probe(wire, m)
    for key, queue in m.queues.items():
        findings += await probe.one(file.where("queues", key), f"queue {queue!r}", Queue=queue)
    probe.settle("Queue")
    if "default" not in m.queues:
        findings.append(
            Finding(
                file.where("queues"), Severity.WARNING, "there is no default queue", "add default = … under [queues]"
            )
        )
    for status, name in m.states.write.items():
        pending = {"PendingTime": {"Diff": 60}} if status is TicketStatus.PENDING else {}
        findings += await probe.one(
            file.where("states", "write", status.value), f"state {name!r}", State=name, **pending
        )
    probe.settle("State")
    for name in m.states.read:
        findings += await probe.one(file.where("states", "read", name), f"state {name!r}", State=name)
    for priority, name in m.priorities.items():
        findings += await probe.one(file.where("priorities", priority.value), f"priority {name!r}", Priority=name)
    probe.settle("Priority")
    for key, name in m.types.items():
        findings += await probe.one(file.where("types", key), f"type {name!r}", Type=name)
    if not listed:
        findings += await probe.field(file.where("correlation"), m.correlation, uuid4().hex)
    for place, field in enumerate(m.fields):
        for value in field.values.values() or [field.default or "x"]:
            part = "values" if field.values else "default"
            found = await probe.field(file.where("fields", place, part), field.name, value)
            if found and "no dynamic field" in found[0].message:
                # Said once, at its name.
                findings += [replace(found[0], subject=file.where("fields", place, "name"))]
                break
            findings += found
    return findings


def _zone(session: Session, zone: tzinfo) -> list[Finding]:
    """The session tells its beginning as seconds and in Znuny's own zone."""
    seconds, told = session.data.get("UserLastLogin", ""), session.data.get("UserLastLoginTimestamp")
    try:
        apart = moment(told, zone) - datetime.fromtimestamp(int(seconds), zone)
    except (OkienkoError, ValueError, OverflowError, OSError):
        return []
    minutes = round(apart.total_seconds() / 60)
    if not minutes:
        return []
    cure = "set TIME_ZONE to Znuny's OTRSTimeZone, else changes are told late or not at all"
    return [Finding("csd znuny", Severity.ERROR, f"Znuny's times are {minutes} minutes from ours", cure)]


class _Probe:
    """Asks for tickets that cannot be made."""

    def __init__(self, wire: ZnunyWire, mapping: CsdMapping) -> None:
        self._wire = wire
        self._base = {
            "Title": "okienko check", "Queue": next(iter(mapping.queues.values()), ""),
            "State": mapping.status_out(TicketStatus.OPEN), "Priority": next(iter(mapping.priorities.values()), "3 normal"),
            "CustomerUser": "check@example.invalid",
        }  # fmt: skip
        self._good: dict[str, dict[str, Any]] = {}

    def settle(self, name: str) -> None:
        """From now on the ticket has a value that Znuny took: a wrong one would hide what it looks at later."""
        self._base |= self._good.get(name, {})

    async def one(self, where: str, what: str, **changed: Any) -> list[Finding]:
        """The finding for one value of the ticket."""
        words = {"Queue": "Queue", "State": "State", "Priority": "Priority", "Type": "Type"}
        name = next(key for key in changed if key in words)
        refused = await self._ask({**self._base, **changed}, [])
        if isinstance(refused, Finding):
            return [refused]
        text = refused.text
        if refused.reason == "AccessDenied" and name == "Queue":
            cure = "give the agent's role the right create on the queue"
            return [Finding(where, Severity.ERROR, f"our agent may not create tickets in the {what}", cure)]
        if f"Ticket->{name}" in text:
            cure = "correct the name in the mapping (capitals and spaces count), or make it in Znuny and set it valid"
            return [Finding(where, Severity.ERROR, f"Znuny has no valid {what}", cure)]
        self._good.setdefault(name, changed)
        return []

    async def field(self, where: str, name: str, value: str) -> list[Finding]:
        """The finding for a dynamic field and a value that may be written to it."""
        refused = await self._ask(self._base, [{"Name": name, "Value": value}])
        if isinstance(refused, Finding):
            return [refused]
        if "DynamicField->Name" in refused.text:
            cure = "make it in Znuny (Admin, Dynamic Fields, object Ticket), or correct its name in the mapping"
            return [Finding(where, Severity.ERROR, f"Znuny has no dynamic field {name!r}", cure)]
        if "DynamicField->Value" in refused.text:
            cure = "correct the value in the mapping, or add it to the field's possible values in Znuny"
            return [Finding(where, Severity.ERROR, f"the dynamic field {name!r} does not take {value!r}", cure)]
        return []

    async def _ask(self, ticket: dict[str, Any], fields: list[dict[str, str]]) -> ZnunyRefusedError | Finding:
        body: dict[str, Any] = {
            "Ticket": ticket,
            "Article": {"Subject": "okienko check", "Body": "okienko check", "ContentType": "text/plain; charset=utf8"},
            "Attachment": [{"Content": "eA==", "ContentType": "text/plain"}],
        }
        if fields:
            body["DynamicField"] = fields
        try:
            made = await self._wire.create(body)
        except ZnunyRefusedError as refused:
            return refused
        except OkienkoError as error:
            return Finding("csd znuny", Severity.ERROR, str(error), "check URL, USER and PASSWORD")
        number = made.get("TicketNumber", "?")
        return Finding(
            "csd znuny", Severity.WARNING, f"the trial made a ticket ({number}): this Znuny does not look at attachments",
            "close that ticket by hand and tell the makers of okienko which version it is",
        )  # fmt: skip
