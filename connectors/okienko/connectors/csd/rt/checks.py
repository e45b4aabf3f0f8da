"""What `okienko check csd` tries on a live RT, with the rights that the connector has anyway. Nothing is created or changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from okienko.connectors.csd.rt import mapping as rt
from okienko.connectors.csd.rt.settings import RtCsdSettings
from okienko.connectors.csd.rt.wire import Record, RtWire, said
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity

OLDEST = 5
_NONSENSE = "okienko-no-such-state"
_RIGHTS = ("comment", "CommentOnTicket"), ("correspond", "ReplyToTicket")


async def check(wire: RtWire, file: MappingFile, settings: RtCsdSettings) -> list[Finding]:
    """Version, token, queues, rights, fields, states, priorities; each problem with its line and cure."""
    try:
        version = await wire.version()
        if not re.match(r"[5-9]|\d\d", version):
            return [_error("csd rt", f"this is RT {version}", f"okienko needs RT {OLDEST} or later")]
        return [
            Finding("csd rt", Severity.OK, f"RT {version}, the token is accepted"),
            *_offline(file),
            *await _Live(wire, file, settings).findings(),
        ]
    except OkienkoError as error:
        return [_error("csd rt", str(error), "see OKIENKO_CSD_RT_URL, _TOKEN and _CA_FILE, and that RT runs")]


def _offline(file: MappingFile) -> Iterable[Finding]:
    mapping = file.mapping
    if "default" not in mapping.queues:
        yield _error(file.where("queues"), "not every case has a queue", 'add default = "…" to queues')
    if mapping.types:
        yield Finding(
            file.where("types"),
            Severity.WARNING,
            "RT has no types of tickets",
            "use a custom field: [[fields]] from = 'kind'",
        )
    for priority, name in mapping.priorities.items():
        if not re.fullmatch(r"-?[0-9]{1,9}", name):
            yield _error(
                file.where("priorities", priority.value),
                f"the priority {name!r} is no number",
                "RT takes names of priorities only when a ticket is changed: write the number, 0 to 100 as a rule",
            )


class _Live:
    def __init__(self, wire: RtWire, file: MappingFile, settings: RtCsdSettings) -> None:
        self._wire = wire
        self._file = file
        self._settings = settings
        self._details: dict[str, Record | None] = {}
        self._any_ticket: int | None = None

    async def findings(self) -> list[Finding]:
        found: list[Finding] = []
        self._any_ticket = await self._a_ticket("id > 0")
        seen: set[str] = set()
        for matter, name in self._file.mapping.queues.items():
            if name in seen:
                continue
            seen.add(name)
            queue = await self._wire.resource(f"/queue/{rt.path_of(name)}")
            problems = await self._queue(matter, name, queue)
            if queue is not None and str(queue.get("Disabled", "0")) != "1":
                problems += [*await self._fields(name, queue), *await self._states(name)]
            found += problems or [
                Finding(f"csd rt {name}", Severity.OK, "the queue, its fields and its states fit the mapping")
            ]
        # The same line for several queues is one problem.
        return list(dict.fromkeys(found))

    async def _queue(self, matter: str, name: str, queue: Record | None) -> list[Finding]:
        where = self._file.where("queues", matter)
        if queue is None:
            known = [str(one.get("Name")) for one in await self._queues()]
            unknown = self._file.unknown("queue", name, known, ("queues", matter))
            return [unknown or _error(where, f"okienko may not see the queue {name!r}", "give its user SeeQueue there")]
        if str(queue.get("Disabled", "0")) == "1":
            return [_error(where, f"the queue {name!r} is disabled in RT", "enable it, or name another")]
        found = []
        if not any(link.get("ref") == "create" for link in queue.get("_hyperlinks") or ()):
            found.append(
                _error(where, f"okienko may not create tickets in {name!r}", "give its user CreateTicket there")
            )
        number = await self._a_ticket(f"Queue = {rt.quoted(name)}")
        if number is not None and (ticket := await self._wire.ticket(number)) is not None:
            refs = {link.get("ref") for link in ticket[0].get("_hyperlinks") or ()}
            found += [
                _error(where, f"okienko may not do that in {name!r}: {right}", f"give its user {right} there")
                for ref, right in _RIGHTS
                if ref not in refs
            ]
        return found

    async def _queues(self) -> list[Record]:
        return await self._wire.listing("/queues", "Name", [{"field": "id", "operator": ">", "value": "0"}])

    async def _a_ticket(self, query: str) -> int | None:
        async for record, _ in self._wire.tickets(query, "Status", most=1):
            return int(record["id"])
        return None

    async def _fields(self, queue_name: str, queue: Record) -> list[Finding]:
        mapping = self._file.mapping
        wanted: list[tuple[str, Sequence[str | int], set[str]]] = [(mapping.correlation, ("correlation",), set())]
        for place, one in enumerate(mapping.fields):
            if one.name not in rt.CORE_FIELDS:
                written = {*one.values.values(), one.default} - {""}
                wanted.append((one.name, ("fields", place, "name"), written))
        links = {str(one.get("name")): str(one.get("id")) for one in queue.get("TicketCustomFields") or ()}
        if self._settings.solution_field:
            wanted.append((self._settings.solution_field, (), set()))
        found: list[Finding] = []
        for name, path, values in wanted:
            where = self._file.where(*path) if path else "OKIENKO_CSD_RT_SOLUTION_FIELD"
            if name not in links:
                cure = f"add the field to the queue {queue_name!r} in RT, and give okienko's user SeeCustomField on it"
                near = self._file.unknown("custom field", name, links, path)
                hint = f"; {near.cure}" if near is not None and near.cure.startswith("did you mean") else ""
                found.append(_error(where, f"the queue {queue_name!r} has no custom field {name!r}", cure + hint))
                continue
            found += self._field(name, where, await self._detail(links[name]), values)
        if mapping.correlation in links and not found:
            found += await self._writable(queue_name)
        return found

    async def _detail(self, number: str) -> Record | None:
        if number not in self._details:
            self._details[number] = await self._wire.resource(f"/customfield/{number}")
        return self._details[number]

    def _field(self, name: str, where: str, field: Record | None, values: set[str]) -> Iterable[Finding]:
        if field is None:
            yield Finding(
                where, Severity.WARNING, f"okienko may not read what the field {name!r} is like",
                "give its user SeeCustomField on the field itself, not only on the queue",
            )  # fmt: skip
            return
        if str(field.get("MaxValues")) != "1":
            yield _error(where, f"the field {name!r} takes several values", "make it take one")
        if name == self._file.mapping.correlation:
            if field.get("Type") not in ("Freeform", "Text"):
                yield _error(where, f"the field {name!r} is of type {field.get('Type')}", "make it 'Enter one value'")
            if str(field.get("UniqueValues", "0")) == "1":
                yield Finding(
                    where, Severity.WARNING, f"the field {name!r} has UniqueValues: RT makes a second ticket all the same, and "
                    "leaves its field empty, so that nobody finds it", "take UniqueValues away; okienko merges a second ticket",
                )  # fmt: skip
        allowed = field.get("Values")
        if isinstance(allowed, list):
            for value in sorted(values - set(map(str, allowed))):
                yield _error(
                    where, f"the field {name!r} has no value {value!r}", f"it has: {', '.join(map(str, allowed[:12]))}"
                )

    async def _writable(self, queue_name: str) -> list[Finding]:
        """RT tells nobody whether a field may be written; a ticket that has the field filled does."""
        correlation = self._file.mapping.correlation
        query = f"Queue = {rt.quoted(queue_name)} AND {rt.field_in_sql(correlation)} IS NOT NULL"
        if await self._a_ticket(query) is not None:
            return []
        return [
            Finding(
                self._file.where("correlation"), Severity.WARNING,
                f"no ticket of {queue_name!r} has {correlation!r} yet, and RT does not tell whether okienko may write it",
                "see that its user has ModifyCustomField on the field; the first registration shows it, and stops if not",
            )
        ]  # fmt: skip

    async def _states(self, queue_name: str) -> list[Finding]:
        states = self._file.mapping.states
        places: dict[str, Sequence[str]] = {raw: ("states", "read", raw) for raw in states.read}
        places |= {raw: ("states", "write", status.value) for status, raw in states.write.items()}
        if self._any_ticket is None:
            return [
                Finding(
                    self._file.where("states"), Severity.WARNING, "without a single ticket RT does not tell which states there are",
                    "run this check again when there is one",
                )
            ]  # fmt: skip
        nonsense = await self._verdict(queue_name, _NONSENSE, self._any_ticket)
        found = []
        for raw, path in places.items():
            if raw.casefold() == "deleted":
                continue
            if (await self._verdict(queue_name, raw, self._any_ticket)).replace(raw.lower(), _NONSENSE) == nonsense:
                found.append(
                    _error(
                        self._file.where(*path), f"the queue {queue_name!r} has no state {raw!r}",
                        "see the queue's lifecycle in RT (Admin, Lifecycles)",
                    )
                )  # fmt: skip
        return found

    async def _verdict(self, queue_name: str, raw: str, taken: int) -> str:
        """What RT says to a ticket in this state. It looks at the state first, and cannot make it: the number is taken.

        The same words as for a state that cannot be are the answer, in whatever language.
        """
        body: dict[str, Any] = {"Queue": queue_name, "id": taken, "Subject": "okienko check", "Status": raw}
        return said(await self._wire.create(body))


def _error(subject: str, message: str, cure: str) -> Finding:
    return Finding(subject, Severity.ERROR, message, cure)
