"""`okienko check` of the Zammad connector: the mapping against groups, states, priorities and attributes. Changes nothing."""

from __future__ import annotations

from uuid import uuid4

from okienko.connectors.csd.zammad.wire import Record, ZammadRefusedError, ZammadWire
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity
from okienko.schemas import TicketStatus

_NEEDED = {"read", "create", "change"}


async def check(wire: ZammadWire, file: MappingFile) -> list[Finding]:
    """Sign in, and look at each name of the mapping."""
    try:
        me = await wire.me()
        groups = await wire.listing("/groups")
        states = await wire.listing("/ticket_states")
        priorities = await wire.listing("/ticket_priorities")
    except OkienkoError as error:
        cure = "check URL, TOKEN (permission ticket.agent) and CA_FILE"
        return [Finding("csd zammad", Severity.ERROR, str(error), cure)]
    findings = [
        Finding("csd zammad", Severity.OK, "Zammad lets us in"),
        *_groups(file, groups, me),
        *_states(file, states),
    ]
    known = _active(priorities)
    for priority, name in file.mapping.priorities.items():
        findings += _one(file.unknown("priority", name, known, ("priorities", priority.value)))
    findings += await _field(wire, file, file.mapping.correlation, ("correlation",))
    for place, field in enumerate(file.mapping.fields):
        findings += await _field(wire, file, field.name, ("fields", place, "name"))
    if file.mapping.types:
        findings += await _field(wire, file, "type", ("types",))
    return findings


def _groups(file: MappingFile, groups: list[Record], me: Record) -> list[Finding]:
    findings: list[Finding] = []
    known = {str(one.get("name")): str(one.get("id")) for one in groups if one.get("active", True)}
    given = me.get("group_ids")
    rights = given if isinstance(given, dict) else {}
    for key, name in file.mapping.queues.items():
        missing = file.unknown("group", name, known, ("queues", key))
        findings += _one(missing)
        held = set(rights.get(known.get(name, ""), ()))
        if missing is None and "full" not in held and (lacking := sorted(_NEEDED - held)):
            findings.append(
                Finding(
                    file.where("queues", key), Severity.ERROR, f"our agent lacks {', '.join(lacking)} on the group {name!r}",
                    "give its role read, create, change and overview on the group, or full",
                )
            )  # fmt: skip
    if "default" not in file.mapping.queues:
        cure = "add default = … under [queues]"
        findings.append(Finding(file.where("queues"), Severity.WARNING, "there is no default group", cure))
    return findings


def _states(file: MappingFile, states: list[Record]) -> list[Finding]:
    findings: list[Finding] = []
    known = _active(states)
    for status, name in file.mapping.states.write.items():
        missing = file.unknown("state", name, known, ("states", "write", status.value))
        findings += _one(missing)
        kind = str(known.get(name, {}).get("state_type") or "")
        wanted = {TicketStatus.PENDING: "pending", TicketStatus.CLOSED: "closed"}.get(status)
        if missing is None and kind and wanted and not kind.startswith(wanted):
            findings.append(
                Finding(
                    file.where("states", "write", status.value), Severity.ERROR, f"the state {name!r} is of the type {kind!r}",
                    f"name a state of a type that begins with {wanted}",
                )
            )  # fmt: skip
    everything = {str(one.get("name")) for one in states}
    for name in file.mapping.states.read:
        if name.casefold() not in {one.casefold() for one in everything}:
            findings += _one(file.unknown("state", name, everything, ("states", "read", name)))
    return findings


async def _field(wire: ZammadWire, file: MappingFile, name: str, path: tuple[str | int, ...]) -> list[Finding]:
    """The list of attributes is for administrators; a search by one that is not there is refused."""
    try:
        rows = await wire.search({f"ticket.{name}": {"operator": "is", "value": uuid4().hex}}, limit=1)
    except ZammadRefusedError:
        cure = "add it (Admin, Objects, Ticket) and update the database there, or correct its name in the mapping"
        return [Finding(file.where(*path), Severity.ERROR, f"Zammad's tickets have no attribute {name!r}", cure)]
    except OkienkoError as error:
        return [Finding("csd zammad", Severity.ERROR, str(error), "check URL and TOKEN")]
    if not rows:
        return []
    cure = "make it a text field; the name is the one in small letters, not the display name"
    return [Finding(file.where(*path), Severity.ERROR, f"a search by the attribute {name!r} gives any tickets", cure)]


def _active(records: list[Record]) -> dict[str, Record]:
    return {str(one.get("name")): one for one in records if one.get("active", True)}


def _one(finding: Finding | None) -> list[Finding]:
    return [finding] if finding is not None else []
