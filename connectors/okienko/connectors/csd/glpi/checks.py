"""`okienko check` of the GLPI connector: every name of the mapping against GLPI's own lists. Creates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from okienko.connectors.csd.glpi import mapping as words
from okienko.connectors.csd.glpi.settings import GlpiCsdSettings
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity

_NAME = "csd glpi"


class Checked(Protocol):
    """What a look needs of either API."""

    file: MappingFile
    settings: GlpiCsdSettings

    async def categories(self) -> dict[str, int]:
        """Ids by full name."""
        ...

    async def probe(self) -> str | None:
        """The problem with the correlation field."""
        ...


async def check(system: Checked) -> list[Finding]:
    """Sign in, and try every name."""
    file, m = system.file, system.file.mapping
    try:
        problem = await system.probe()
    except OkienkoError as error:
        return [Finding(_NAME, Severity.ERROR, str(error), "check URL, API, the tokens and the user's rights")]
    findings = [Finding(_NAME, Severity.OK, f"GLPI lets us in (API {system.settings.api})")]
    if problem is not None:
        cure = 'write correlation = "externalid": the external id, which every ticket of GLPI has'
        findings.append(
            Finding(file.where("correlation"), Severity.ERROR, f"no search by {m.correlation!r}: {problem}", cure)
        )
    try:
        known = await system.categories()
    except OkienkoError as error:
        findings.append(
            Finding(_NAME, Severity.ERROR, str(error), "give the user's profile the right to read ITIL categories")
        )
    else:
        for key, name in m.queues.items():
            findings += _found(file.unknown("category", name, known, ("queues", key)))
    for status, name in m.states.write.items():
        findings += _word(file, "state", name, words.STATES, ("states", "write", status.value))
    for name in m.states.read:
        findings += _word(file, "state", name, words.STATES, ("states", "read", name))
    for priority, name in m.priorities.items():
        findings += _word(file, "priority", name, words.PRIORITIES, ("priorities", priority.value))
    for key, name in m.types.items():
        findings += _word(file, "ticket type", name, words.TYPES, ("types", key))
    if words.word_of(m.states.write["closed"], words.STATES) == "closed":  # type: ignore[index]  # a StrEnum is its text
        findings.append(
            Finding(
                file.where("states", "write", "closed"), Severity.WARNING,
                "GLPI takes no follow-up and no solution for a ticket in the state closed",
                'write closed = "solved"; GLPI closes solved tickets itself after some days (Setup, entity)',
            )
        )  # fmt: skip
    return findings


def _word(file: MappingFile, what: str, name: str, known: dict[str, int], path: Sequence[str]) -> list[Finding]:
    if name.strip() in {str(number) for number in known.values()}:
        return []
    return _found(file.unknown(what, name.strip().casefold(), known, path))


def _found(finding: Finding | None) -> list[Finding]:
    return [finding] if finding is not None else []
