"""Finding the issues of cases, also those that Jira's search does not show yet.

The Cloud's search is fed late, by seconds or minutes ("Search After Write with Search And Reconcile"); its `reconcileIssues` wants the
ids that an answer which was lost would have told. But keys are counted up in each project, and `POST /issue/bulkfetch` reads past the
index: so what follows the newest issue that is old enough to be shown for certain is read by key until there is no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from uuid import UUID

from okienko.connectors.csd.jira_sm import mapping as words
from okienko.connectors.csd.jira_sm.wire import PAGE, JiraRefusedError, JiraWire, Record
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import MisconfiguredError
from okienko.schemas import CsdRef

_AT_ONCE = 25
_MOST = 5000
"""More rows than that for 25 cases only come when the filter is ignored."""
_MARGIN = 20
"""Issues that were moved into the project have keys out of the order of their making."""
_GAP = 40
"""So many keys in a row that give nothing are the end; fewer are issues that were deleted."""
_MOST_PAGES = 100


class Finder:
    """Look-ups in one Jira."""

    def __init__(self, file: MappingFile, wire: Callable[[], JiraWire], *, cloud: bool, settle_minutes: int) -> None:
        self._file = file
        self._wire = wire
        self._cloud = cloud
        self._settle = settle_minutes
        self._schemas: dict[str, Record] = {}
        self._account = ""

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """The oldest issue of each case that has one."""
        wanted = list(dict.fromkeys(correlation_ids))
        oldest: dict[UUID, CsdRef] = {}
        for at in range(0, len(wanted), _AT_ONCE):
            await self._search(wanted[at : at + _AT_ONCE], oldest)
        if self._cloud and any(key not in oldest for key in wanted):
            for project in dict.fromkeys(self._file.mapping.queues.values()):
                await self._recent(project, set(wanted), oldest)
        return oldest

    async def _search(self, some: Sequence[UUID], oldest: dict[UUID, CsdRef]) -> None:
        field = self._file.mapping.correlation
        name = words.field_in_jql(field)
        jql = " OR ".join(f'{name} ~ "\\"{one}\\""' for one in some) + " ORDER BY key ASC"
        seen = 0
        try:
            async for issue in self._wire().search(jql, [field]):
                seen += 1
                if seen > _MOST:
                    raise MisconfiguredError(
                        f"Jira's search for {field} gives issues without it: see {self._file.where('correlation')}, and that the field "
                        "has a searcher (Free Text Searcher)"
                    )
                self._take(issue, set(some), oldest)
        except JiraRefusedError as refused:
            raise MisconfiguredError(
                f"{self._file.where('correlation')}: Jira cannot search for {field}: {refused.words}: correct the field's id, give our "
                "account the right to see it, or give the field a searcher"
            ) from None

    async def _recent(self, project: str, wanted: set[UUID], oldest: dict[UUID, CsdRef]) -> None:
        field = self._file.mapping.correlation
        number = max(1, await self._settled(project) - _MARGIN)
        for _ in range(_MOST_PAGES):
            keys = [f"{project}-{one}" for one in range(number, number + PAGE)]
            issues = await self._wire().fetch(keys, [field])
            for issue in issues:
                self._take(issue, wanted, oldest)
            newest = max((_number(issue, project) for issue in issues), default=0)
            if newest < number + PAGE - _GAP:
                return
            number += PAGE

    async def _settled(self, project: str) -> int:
        jql = f'project = "{_quoted(project)}" AND created <= "-{self._settle}m" ORDER BY created DESC'
        try:
            async for issue in self._wire().search(jql, ["created"], most=1):
                return _number(issue, project)
        except JiraRefusedError as refused:
            matter = next(key for key, name in self._file.mapping.queues.items() if name == project)
            raise MisconfiguredError(
                f"{self._file.where('queues', matter)}: Jira does not show us the project {project!r}: {refused.words}"
            ) from None
        return 0

    def _take(self, issue: Record, wanted: set[UUID], oldest: dict[UUID, CsdRef]) -> None:
        key = words.correlation(issue, self._file.mapping.correlation)
        if key not in wanted:
            return
        ref = words.ref_of(issue)
        if key not in oldest or int(ref.id) < int(oldest[key].id):
            oldest[key] = ref

    async def schemas(self) -> dict[str, Record]:
        """What each field is like, by id. Raises MisconfiguredError when the correlation field is not among them."""
        if not self._schemas:
            found = await self._wire().read("/field")
            rows = found if isinstance(found, list) else []
            known = {str(one.get("id")): one.get("schema") or {} for one in rows if isinstance(one, dict)}
            field = self._file.mapping.correlation
            if field not in known:
                named = [str(one.get("id")) for one in rows if isinstance(one, dict) and one.get("name") == field]
                hint = f": write {named[0]}" if named else ""
                raise MisconfiguredError(
                    f"{self._file.where('correlation')}: Jira has no field {field!r}, or does not show it to our account{hint}"
                )
            self._schemas = known
        return self._schemas

    async def account(self) -> str:
        """Our own accountId (Cloud) or login (Data Center)."""
        if not self._account:
            found = await self._wire().read("/myself")
            found = found if isinstance(found, dict) else {}
            self._account = str(found.get("accountId") or found.get("name") or "")
            if not self._account:
                raise MisconfiguredError("GET /myself: Jira does not say who we are: see USER, TOKEN and the scopes")
        return self._account


def _number(issue: Record, project: str) -> int:
    found = re.fullmatch(rf"{re.escape(project)}-([0-9]+)", str(issue.get("key")), re.IGNORECASE)
    return int(found[1]) if found else 0


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
