"""What `okienko check csd` tries on a live instance, with the rights that the connector has anyway. Nothing is created or changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from okienko.connectors.csd.servicenow import mapping as words
from okienko.connectors.csd.servicenow.settings import ServiceNowCsdSettings
from okienko.connectors.csd.servicenow.wire import Record, ServiceNowWire
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity

_PREFIX = "OKIENKO_CSD_SERVICENOW"


async def check(wire: ServiceNowWire, file: MappingFile, settings: ServiceNowCsdSettings) -> list[Finding]:
    """Sign in, and compare each line of the mapping with the table's columns, choices and groups."""
    try:
        rows, _ = await wire.rows(settings.table, "ORDERBYsys_id", f"sys_id,number,{file.mapping.correlation}", 1)
        found = [Finding("csd servicenow", Severity.OK, f"the instance shows us the table {settings.table}")]
        columns = await wire.meta(settings.table)
        if columns is None:
            found.append(
                Finding(
                    "csd servicenow", Severity.WARNING, "the instance does not tell its columns (/api/now/ui/meta)",
                    "give okienko's user a role that may read the table; until then states and fields are not checked",
                )
            )  # fmt: skip
            if rows and file.mapping.correlation not in rows[0]:
                found.append(_no_field(file, settings.table))
        else:
            found += _columns(file, columns, settings)
        found += await _groups(wire, file)
        found += await _journal(wire)
        found += await _zone(wire, settings)
    except OkienkoError as error:
        return [_error("csd servicenow", str(error), f"see {_PREFIX}_URL, _TABLE, _CA_FILE and the user or the client")]
    return found


def _columns(file: MappingFile, columns: Record, settings: ServiceNowCsdSettings) -> Iterable[Finding]:
    mapping = file.mapping
    if mapping.correlation not in columns:
        yield _no_field(file, settings.table, columns)
    elif str(columns[mapping.correlation].get("read_only")).casefold() == "true":
        yield _error(
            file.where("correlation"), f"okienko may not write {mapping.correlation!r}", "give its user the right to"
        )
    for status, state in mapping.states.write.items():
        yield from _choice(file, columns, "state", state, ("states", "write", status.value))
    for state in mapping.states.read:
        yield from _choice(file, columns, "state", state, ("states", "read", state))
    for priority, name in mapping.priorities.items():
        for field, value in words.priority_fields(name).items():
            yield from _choice(file, columns, field, value, ("priorities", priority.value))
    for key, category in mapping.types.items():
        yield from _choice(file, columns, "category", category, ("types", key))
    for place, one in enumerate(mapping.fields):
        if unknown := file.unknown("field", one.name, columns, ("fields", place, "name")):
            yield unknown
            continue
        for value in {*one.values.values(), one.default} - {""}:
            yield from _choice(file, columns, one.name, value, ("fields", place, "name"))
    for setting, field, constant in (
        ("CLOSE_CODE", "close_code", settings.close_code),
        ("HOLD_REASON", "hold_reason", settings.hold_reason),
    ):
        choices = _choices(columns.get(field))
        if constant and choices and constant not in choices:
            yield _error(f"{_PREFIX}_{setting}", f"{field} has no value {constant!r}", f"it has: {_list(choices)}")
        if not constant and str((columns.get(field) or {}).get("mandatory")).casefold() == "true":
            yield _error(f"{_PREFIX}_{setting}", f"{field} is mandatory", f"set it to one of: {_list(choices)}")


def _choice(file: MappingFile, columns: Record, field: str, value: str, path: Sequence[str | int]) -> Iterable[Finding]:
    if field not in columns:
        yield _error(file.where(*path), f"the table has no field {field!r}", "take the line out of the mapping")
        return
    choices = _choices(columns[field])
    if not choices or value in choices:
        return
    # People write what they see; what is stored is another thing, and the same in every language.
    stored = next((key for key, label in choices.items() if label.casefold() == value.casefold()), None)
    if stored is not None:
        yield _error(file.where(*path), f"{value!r} is what {field} shows, not what it stores", f"write {stored!r}")
    elif unknown := file.unknown(f"value of {field}", value, choices, path, f"it has: {_list(choices)}"):
        yield unknown


def _choices(column: object) -> dict[str, str]:
    found: Any = column.get("choices") if isinstance(column, Mapping) else None
    if not isinstance(found, list):
        return {}
    return {
        str(one.get("value")): str(one.get("label", "")) for one in found if isinstance(one, dict) and one.get("value")
    }


def _list(choices: Mapping[str, str]) -> str:
    return ", ".join(f"{value} ({label})" for value, label in list(choices.items())[:12]) or "no choices"


async def _groups(wire: ServiceNowWire, file: MappingFile) -> list[Finding]:
    found: list[Finding] = []
    if "default" not in file.mapping.queues:
        found.append(
            Finding(
                file.where("queues"), Severity.WARNING, "not every case has an assignment group", "add default = … to queues"
            )
        )  # fmt: skip
    names = {name: key for key, name in file.mapping.queues.items()}
    by_name = [name for name in names if not words.is_sys_id(name) and "^" not in name]
    if not by_name:
        return found
    rows, _ = await wire.rows("sys_user_group", f"nameIN{','.join(by_name)}^active=true", "sys_id,name")
    there = [words.value(row, "name") for row in rows]
    for name in by_name:
        if there.count(name) > 1:
            found.append(
                _error(file.where("queues", names[name]), f"there are two groups {name!r}", "write the sys_id of one")
            )
        elif name not in there:
            found.append(
                _error(
                    file.where("queues", names[name]), f"ServiceNow has no active assignment group {name!r}",
                    "correct the name (a comma in it: write the sys_id), or let okienko's user read sys_user_group",
                )
            )  # fmt: skip
    return found


async def _journal(wire: ServiceNowWire) -> list[Finding]:
    rows, _ = await wire.rows("sys_journal_field", "elementINcomments,work_notes", "sys_id,value", 1)
    if rows and "value" in rows[0]:
        return []
    return [
        Finding(
            "csd servicenow sys_journal_field", Severity.WARNING, "not one note can be read",
            "let okienko's user read sys_journal_field (docs/csd-servicenow.md); on a new instance without notes this is no fault",
        )
    ]  # fmt: skip


async def _zone(wire: ServiceNowWire, settings: ServiceNowCsdSettings) -> list[Finding]:
    """A time in a query is read in the zone of the caller, so that one west of Greenwich would be told of changes hours late."""
    if settings.user is None or "^" in settings.user:
        return []
    rows, _ = await wire.rows("sys_user", f"user_name={settings.user}", "user_name,time_zone", 5)
    zones = [words.value(row, "time_zone") for row in rows if words.value(row, "user_name") == settings.user]
    if zones in (["GMT"], ["UTC"], ["Etc/UTC"]):
        return []
    told = f"its zone is {zones[0]!r}" if zones and zones[0] else "its zone is not to be seen, or that of the instance"
    return [
        Finding(
            f"{_PREFIX}_USER", Severity.WARNING, f"the user {settings.user!r} is not known to be in GMT: {told}",
            "set its time zone to GMT: changes may be told hours late otherwise",
        )
    ]  # fmt: skip


def _no_field(file: MappingFile, table: str, columns: Record | None = None) -> Finding:
    near = file.unknown("field", file.mapping.correlation, columns, ("correlation",)) if columns else None
    return near or _error(
        file.where("correlation"),
        f"the table {table} has no field {file.mapping.correlation!r}",
        "write correlation_id",
    )


def _error(subject: str, message: str, cure: str) -> Finding:
    return Finding(subject, Severity.ERROR, message, cure)
