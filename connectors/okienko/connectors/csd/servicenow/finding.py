"""Finding tickets, groups and people in ServiceNow.

An encoded query drops a condition whose field the table lacks and answers with everything, or with nothing where
`glide.invalid_query.returns_no_rows` is set. So each row is compared, and the correlation field is seen before the first ticket is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from okienko.connectors.csd.servicenow import mapping as words
from okienko.connectors.csd.servicenow.wire import PAGE, Record, ServiceNowWire
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.schemas import CsdRef

_AT_ONCE = 50
_MOST_PAGES = 50
"""So many pages for 50 cases only come when the filter is ignored, and then the table is too large to be read through."""
_KEPT = 1000


class Finder:
    """Look-ups in one instance."""

    def __init__(self, table: str, file: MappingFile, wire: Callable[[], ServiceNowWire]) -> None:
        self._table = table
        self._file = file
        self._wire = wire
        self._seen = False
        self._known: dict[tuple[str, str], str] = {}

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """The oldest ticket of each case that has one."""
        oldest: dict[UUID, tuple[str, str, CsdRef]] = {}
        wanted = list(dict.fromkeys(correlation_ids))
        for at in range(0, len(wanted), _AT_ONCE):
            some = wanted[at : at + _AT_ONCE]
            for row in await self._with(some):
                key = words.correlation(row, self._file.mapping.correlation)
                ref = words.ref_of(row)
                rank = (words.value(row, "sys_created_on"), ref.number, ref)
                if key in some and (key not in oldest or rank[:2] < oldest[key][:2]):
                    oldest[key] = rank
        return {key: rank[2] for key, rank in oldest.items()}

    async def _with(self, some: Sequence[UUID]) -> list[Record]:
        field = self._file.mapping.correlation
        query = f"{field}IN{','.join(map(str, some))}"
        found: list[Record] = []
        after = ""
        for _ in range(_MOST_PAGES):
            rows, _ = await self._wire().rows(
                self._table,
                f"{query}{f'^sys_id>{after}' if after else ''}^ORDERBYsys_id",
                f"sys_id,number,sys_created_on,{field}",
            )
            found += [one for one in rows if words.correlation(one, field) in some]
            if len(rows) < PAGE:
                return found
            after = words.value(rows[-1], "sys_id")
        raise MisconfiguredError(
            f"the search for {field} gave thousands of tickets without it: ServiceNow ignores a field that the table {self._table} "
            f"lacks. Correct {self._file.where('correlation')}"
        )

    async def see_field(self) -> None:
        """Once: a row shows the correlation field. Raises MisconfiguredError; an empty table proves nothing and is believed."""
        if self._seen:
            return
        field = self._file.mapping.correlation
        rows, _ = await self._wire().rows(self._table, "ORDERBYsys_id", f"sys_id,{field}", 1)
        if rows and field not in rows[0]:
            raise MisconfiguredError(
                f"{self._file.where('correlation')}: the table {self._table} shows no field {field!r} to our user: correct the name, or "
                "give the right to read it; nothing is registered, since it would not be found again"
            )
        self._seen = True

    async def record(self, ref: CsdRef, fields: str) -> Record | None:
        """The ticket's row, compared with what was asked for."""
        name, wanted = ("sys_id", ref.id) if words.is_sys_id(ref.id) else ("number", ref.number)
        return await self._one(self._table, name, wanted, fields)

    async def group(self, name: str) -> str:
        """The sys_id of an assignment group, by its name. Raises MisconfiguredError."""
        found = name if words.is_sys_id(name) else await self._id("sys_user_group", "name", name)
        if not found:
            raise MisconfiguredError(
                f"ServiceNow has no assignment group {name!r}, or two: correct the queues of {self._file.path.name}"
            )
        return found

    async def user(self, name: str) -> str:
        """The sys_id of a user, by the login. Raises PermanentError."""
        found = name if words.is_sys_id(name) else await self._id("sys_user", "user_name", name)
        if not found:
            raise PermanentError(f"ServiceNow has no user {name!r}: give the login (user_name)")
        return found

    async def caller(self, address: str) -> str | None:
        """The sys_id of the person with the address, None for nobody or several."""
        row = await self._one("sys_user", "email", address, "sys_id,email")
        return words.value(row, "sys_id") if row is not None else None

    async def _id(self, table: str, field: str, name: str) -> str | None:
        if (table, name) not in self._known:
            row = await self._one(table, field, name, f"sys_id,{field}")
            if row is None:
                return None
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[table, name] = words.value(row, "sys_id")
        return self._known[table, name]

    async def _one(self, table: str, field: str, wanted: str, fields: str) -> Record | None:
        # A caret would end the condition.
        if not wanted or "^" in wanted or not wanted.isprintable():
            return None
        rows, _ = await self._wire().rows(table, f"{field}={wanted}", fields, 5)
        same = [row for row in rows if words.value(row, field).casefold() == wanted.casefold()]
        return same[0] if len(same) == 1 else None
