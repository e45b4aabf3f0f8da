"""What `okienko check csd` tries on a live Jira, with the rights that the connector has anyway. Nothing is created or changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from okienko.connectors.csd.jira_sm import mapping as words
from okienko.connectors.csd.jira_sm.settings import Flavour, JiraSmCsdSettings
from okienko.connectors.csd.jira_sm.wire import JiraWire, Record
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity

_PREFIX = "OKIENKO_CSD_JIRA_SM"
_PERMISSIONS = (
    "BROWSE_PROJECTS", "CREATE_ISSUES", "EDIT_ISSUES", "TRANSITION_ISSUES", "ADD_COMMENTS", "CREATE_ATTACHMENTS", "ASSIGN_ISSUES",
    "LINK_ISSUES",
)  # fmt: skip
_GIVEN = {"project", "issuetype", "summary", "description", "reporter"}


async def check(wire: JiraWire, file: MappingFile, settings: JiraSmCsdSettings) -> list[Finding]:
    """Sign in, and compare each line of the mapping with projects, issue types, screens, states and permissions."""
    try:
        me = await wire.read("/myself")
        if not isinstance(me, dict) or not (me.get("accountId") or me.get("name")):
            return [_error("csd jira_sm", "Jira does not say who we are", f"see {_PREFIX}_USER, _TOKEN and the scopes")]
        found = [Finding("csd jira_sm", Severity.OK, "Jira lets us in")]
        return [*found, *await _Live(wire, file, settings).findings()]
    except OkienkoError as error:
        return [_error("csd jira_sm", str(error), f"see {_PREFIX}_URL, _USER, _TOKEN and _CA_FILE")]


class _Live:
    def __init__(self, wire: JiraWire, file: MappingFile, settings: JiraSmCsdSettings) -> None:
        self._wire = wire
        self._file = file
        self._settings = settings

    async def findings(self) -> list[Finding]:
        found: list[Finding] = []
        for table in ("queues", "types"):
            if "default" not in getattr(self._file.mapping, table):
                where = self._file.where(table) if getattr(self._file.mapping, table) else self._file.path.name
                found.append(_error(where, f"not every case has one of {table}", f"add default = … to {table}"))
        found += await self._field()
        states: set[str] = set()
        for matter, project in self._file.mapping.queues.items():
            types = await self._types(project)
            if types is None:
                found.append(await self._no_project(matter, project))
                continue
            found += await self._permissions(matter, project)
            for key in self._types_of(matter):
                name = self._file.mapping.types[key]
                if unknown := self._file.unknown("issue type", name, types, ("types", key)):
                    found.append(unknown)
                else:
                    found += await self._screen(project, name, types[name])
            states |= await self._states(project)
        found += self._state_lines(states)
        found += await self._names()
        # The same line for several projects is one problem.
        return list(dict.fromkeys(found))

    def _types_of(self, matter: str) -> list[str]:
        """The lines of `types` that may be used in the project of this line of `queues`."""
        mapping = self._file.mapping
        if matter != "default":
            return [key for key in (matter, "default") if key in mapping.types][:1]
        return [key for key in mapping.types if key == "default" or key not in mapping.queues]

    async def _field(self) -> list[Finding]:
        rows = [one for one in await self._wire.read("/field") or () if isinstance(one, dict)]
        correlation = self._file.mapping.correlation
        known = {str(one.get("id")): one for one in rows}
        if correlation not in known:
            named = sorted(
                str(one.get("id")) for one in rows if str(one.get("name", "")).casefold().startswith("okienko")
            )
            cure = f"write {named[0]}" if named else "make a text field (single line) and write its id"
            return [_error(self._file.where("correlation"), f"Jira has no field {correlation!r}", cure)]
        schema = known[correlation].get("schema") or {}
        if schema.get("type") != "string":
            return [
                _error(
                    self._file.where("correlation"), f"{correlation} is a field of {schema.get('type')}",
                    "take a text field (single line)",
                )
            ]  # fmt: skip
        if known[correlation].get("searchable") is False:
            return [
                _error(self._file.where("correlation"), f"{correlation} has no searcher", "give it the text searcher")
            ]
        return []

    async def _types(self, project: str) -> dict[str, str] | None:
        found = await self._wire.read(f"/issue/createmeta/{project}/issuetypes", {"maxResults": 200})
        rows = _rows(found, "issueTypes")
        return {str(one.get("name")): str(one.get("id")) for one in rows} if found is not None else None

    async def _no_project(self, matter: str, project: str) -> Finding:
        path = "/project/search" if self._settings.flavour is Flavour.CLOUD else "/project"
        known = [str(one.get("key")) for one in _rows(await self._wire.read(path), "values")]
        return self._file.unknown("project", project, known, ("queues", matter)) or _error(
            self._file.where("queues", matter), f"okienko may not create issues in {project!r}", "give it Create Issues"
        )

    async def _permissions(self, matter: str, project: str) -> list[Finding]:
        names = ",".join(_PERMISSIONS)
        found = await self._wire.read("/mypermissions", {"projectKey": project, "permissions": names})
        have = found.get("permissions") if isinstance(found, dict) else None
        if not isinstance(have, dict):
            return []
        return [
            _error(
                self._file.where("queues", matter), f"okienko's account has not {name} in {project}",
                "give it in the project's permission scheme",
            )
            for name in _PERMISSIONS if name in have and not have[name].get("havePermission")
        ]  # fmt: skip

    async def _screen(self, project: str, type_name: str, type_id: str) -> Iterable[Finding]:
        found = await self._wire.read(f"/issue/createmeta/{project}/issuetypes/{type_id}", {"maxResults": 200})
        fields = {str(one.get("fieldId")): one for one in _rows(found, "fields")}
        mapping = self._file.mapping
        problems: list[Finding] = []
        lines: list[tuple[str, Sequence[str | int], set[str]]] = [(mapping.correlation, ("correlation",), set())]
        lines += [
            (one.name, ("fields", place, "name"), {*one.values.values(), one.default} - {""})
            for place, one in enumerate(mapping.fields)
        ]
        lines += [("priority", ("priorities", key.value), {name}) for key, name in mapping.priorities.items()]
        for name, path, values in lines:
            if name not in fields:
                problems.append(
                    _error(
                        self._file.where(*path), f"{name} is not on the create screen of {type_name} in {project}",
                        "add it to the screen, or correct the line",
                    )
                )  # fmt: skip
                continue
            allowed = _allowed(fields[name])
            problems += [
                self._file.unknown(f"value of {name}", value, allowed, path)
                or _error(self._file.where(*path), value, "")
                for value in sorted(values)
                if allowed and value not in allowed
            ]
        filled = _GIVEN | {name for name, _, _ in lines}
        for name, one in fields.items():
            if one.get("required") and not one.get("hasDefaultValue") and name not in filled:
                problems.append(
                    _error(
                        self._file.where("fields"), f"{type_name} in {project} wants {one.get('name')} ({name})",
                        "add a [[fields]] line with that name, or make it optional",
                    )
                )  # fmt: skip
        return problems

    async def _states(self, project: str) -> set[str]:
        found = await self._wire.read(f"/project/{project}/statuses")
        rows = found if isinstance(found, list) else []
        return {str(s.get("name")) for one in rows for s in one.get("statuses") or ()}

    def _state_lines(self, known: set[str]) -> Iterable[Finding]:
        states = self._file.mapping.states
        folded = {name.casefold() for name in known}
        lines = {("states", "write", status.value): name for status, name in states.write.items()}
        lines |= {("states", "read", name): name for name in states.read}
        for path, name in lines.items():
            if known and name.casefold() not in folded and (unknown := self._file.unknown("state", name, known, path)):
                yield unknown
        for name in sorted(known):
            if self._file.mapping.status_in(name) is None:
                yield Finding(
                    self._file.where("states"), Severity.WARNING, f"the mapping does not say what the state {name!r} means",
                    "add it to [states.read]; an issue in that state cannot be read",
                )  # fmt: skip

    async def _names(self) -> list[Finding]:
        found: list[Finding] = []
        kinds = [str(one.get("name")) for one in _rows(await self._wire.read("/issueLinkType"), "issueLinkTypes")]
        if self._settings.link_type.casefold() not in {name.casefold() for name in kinds}:
            cure = f"there are: {', '.join(kinds) or 'none'}"
            found.append(
                _error(f"{_PREFIX}_LINK_TYPE", f"Jira has no type of links {self._settings.link_type!r}", cure)
            )
        if self._settings.resolution:
            names = [str(one.get("name")) for one in _rows(await self._wire.read("/resolution"), "values")]
            if self._settings.resolution not in names:
                cure = f"there are: {', '.join(names) or 'none'}"
                found.append(_error(f"{_PREFIX}_RESOLUTION", f"Jira has no {self._settings.resolution!r}", cure))
        return found


def _rows(found: Any, name: str) -> list[Record]:
    """The list in an answer of either Jira: bare, under its name, or under `values`."""
    if isinstance(found, Mapping):
        found = found.get(name) or found.get("values")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _allowed(field: Record) -> list[str]:
    values = field.get("allowedValues")
    return [words.text_of(one) for one in values] if isinstance(values, list) else []


def _error(subject: str, message: str, cure: str) -> Finding:
    return Finding(subject, Severity.ERROR, message, cure)
