"""Bringing an issue to another state: Jira lets nobody set it, only take a transition that its workflow has from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from okienko.connectors.csd.jira_sm import mapping as words
from okienko.connectors.csd.jira_sm.wire import JiraWire, Record
from okienko.plugins.csd import TicketGoneError
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.schemas import TicketStatus


class Mover:
    """Transitions under one mapping."""

    def __init__(self, file: MappingFile, wire: Callable[[], JiraWire], resolution: str | None) -> None:
        self._mapping = file.mapping
        self._file = file
        self._wire = wire
        self._resolution = resolution

    async def move(self, issue: Record, status: TicketStatus) -> None:
        """Bring it there and see that it is. An issue that is there already is left alone.

        Raises PermanentError with the transitions that there are when none leads there, MisconfiguredError for a screen that
        wants more than we have.
        """
        if words.status_of(issue, self._mapping) is status:
            return
        transition, fields = await self.way(issue, status)
        number = str(issue["id"])
        await self._wire().move(number, transition, fields)
        after = await self._wire().issue(number, ["status"])
        if after is None:
            raise TicketGoneError(f"issue {issue.get('key')} vanished from Jira while it was changed")
        if words.status_of(after, self._mapping) is not status:
            raise PermanentError(
                f"Jira took the transition of {issue.get('key')} and did not make it (it is "
                f"{words.text_of(words.fields_of(after).get('status'))!r}): look at the workflow's conditions and automation"
            )

    async def way(self, issue: Record, status: TicketStatus) -> tuple[str, dict[str, Any]]:
        """The transition to take and what its screen wants. The mapping's own state is preferred to others that mean the same."""
        wanted = self._mapping.status_out(status)
        found = await self._wire().transitions(str(issue["id"]))
        leads = [(words.text_of(one.get("to")), one) for one in found]
        there = [one for name, one in leads if name.casefold() == wanted.casefold()]
        there += [one for name, one in leads if one not in there and self._mapping.status_in(name) is status]
        if not there:
            ways = ", ".join(f"{one.get('name')} → {name}" for name, one in leads) or "none that our account may take"
            raise PermanentError(
                f"no transition leads issue {issue.get('key')} from {words.text_of(words.fields_of(issue).get('status'))!r} to "
                f"{wanted!r}; there are: {ways}. Add one to the workflow, or correct {self._file.where('states')}"
            )
        best = min(there, key=lambda one: len(self._missing(one)))
        if missing := self._missing(best):
            raise MisconfiguredError(
                f"the transition {best.get('name')!r} of {issue.get('key')} wants {', '.join(missing)}: set RESOLUTION, or make a "
                "transition without them"
            )
        screen = best.get("fields") or {}
        fields = {"resolution": {"name": self._resolution}} if self._resolution and "resolution" in screen else {}
        return str(best.get("id")), fields

    def _missing(self, transition: Record) -> list[str]:
        screen = transition.get("fields") or {}
        return [
            str(name)
            for name, one in screen.items()
            if one.get("required")
            and not one.get("hasDefaultValue")
            and not (name == "resolution" and self._resolution)
        ]

    async def times_closed(self, issue: str) -> int:
        """How often it went to a closed state."""
        moves = await self._wire().moves(issue)
        return sum(self._mapping.status_in(name) is TicketStatus.CLOSED for name in moves)
