"""The core's own look at a mapping: whatever the installed procedure can bring has its line, and what goes out is understood coming back.

What only the system knows (is there such a queue?) the connector's `check` asks it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from okienko.plugins.csd import Registration
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.ports import Classification, ProcedurePack
from okienko.schemas import CaseKind, ChannelName, Priority, Procedure, TicketStatus

_VALUES: dict[str, type[StrEnum]] = {
    "channel": ChannelName,
    "kind": CaseKind,
    "procedure": Procedure,
    "priority": Priority,
}
_REQUESTS = {
    Procedure.EMAIL_CHANGE, Procedure.EMAIL_CHANGE_NO_PASSWORDS, Procedure.PESEL_CONFLICT, Procedure.UNLOCK,
}  # fmt: skip
"""Procedures of service requests (rule S2); the others are of recovery."""


def matters() -> Iterator[Classification]:
    """Everything that a message can be: each kind by itself, and each procedure with its kind."""
    for kind in CaseKind:
        yield Classification(kind)
    for procedure in Procedure:
        yield Classification(CaseKind.SERVICE_REQUEST if procedure in _REQUESTS else CaseKind.RECOVERY, procedure)


def look(file: MappingFile, pack: ProcedurePack) -> Iterator[Finding]:
    """Every mistake that shows without asking the system."""
    yield from _matters(file, pack)
    yield from _states(file)
    yield from _priorities(file)
    yield from _fields(file)


def _matters(file: MappingFile, pack: ProcedurePack) -> Iterator[Finding]:
    known = ["default", *CaseKind, *Procedure]
    for table, lines in (("queues", file.mapping.queues), ("types", file.mapping.types)):
        for key in lines:
            if key not in known:
                yield _error(file, (table, key), f"there is neither a procedure nor a kind {key!r}", _near(key, known))
    without = dict.fromkeys(
        (one.procedure or one.kind).value
        for one in matters()
        if pack.needs_registration(one) and file.mapping.queue_for(_registration(one)) is None
    )
    if without:
        text = f"there is no queue for {', '.join(without)}"
        yield _error(file, ("queues",), text, "add default = … under [queues], or a line for each")


def _states(file: MappingFile) -> Iterator[Finding]:
    mapping = file.mapping
    for status, name in mapping.states.write.items():
        read = mapping.status_in(name)
        if read is not status:
            # Of a state that stands in both tables, the reading is what is wrong.
            there = next((key for key in mapping.states.read if key.casefold() == name.casefold()), None)
            path = ("states", "read", there) if there else ("states", "write", status.value)
            cure = f"take {name!r} out here, or write another state for {status.value}"
            yield _error(file, path, f"{name!r} is written for {status.value} and read as {read}", cure)
    if TicketStatus.PENDING not in mapping.states.write:
        yield Finding(
            file.where("states", "write"), Severity.WARNING, "a case that waits for the person will look open",
            "add pending = … under [states.write] if the system has such a state",
        )  # fmt: skip


def _priorities(file: MappingFile) -> Iterator[Finding]:
    missing = [priority.value for priority in Priority if priority not in file.mapping.priorities]
    if missing:
        text = f"there is no line for the priority {', '.join(missing)}: the system's own default stays"
        cure = "add it under [priorities], unless that is what you want"
        yield Finding(file.where("priorities"), Severity.WARNING, text, cure)


def _fields(file: MappingFile) -> Iterator[Finding]:
    for place, one in enumerate(file.mapping.fields):
        if one.name == file.mapping.correlation:
            text = f"{one.name!r} is the correlation field: nothing else may be written to it"
            yield _error(file, ("fields", place, "name"), text, "take this field out, or name another one")
        if one.source == "constant" and not one.default:
            yield _error(file, ("fields", place), "a constant without a value", "add default = … to this field")
        if one.source in _VALUES:
            known = list(_VALUES[one.source])
            for key in one.values:
                if key not in known:
                    text = f"the {one.source} is never {key!r}"
                    yield _error(file, ("fields", place, "values", key), text, _near(key, known))


def _error(file: MappingFile, path: Sequence[str | int], text: str, cure: str) -> Finding:
    return Finding(file.where(*path), Severity.ERROR, text, cure)


def _near(word: str, known: Iterable[str]) -> str:
    names = [str(one) for one in known]
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"


def _registration(one: Classification) -> Registration:
    return Registration(
        correlation_id=UUID(int=0), kind=one.kind, procedure=one.procedure, subject="", description="", requester=None,
        opened_at=datetime(2000, 1, 1, tzinfo=UTC),
    )  # fmt: skip
