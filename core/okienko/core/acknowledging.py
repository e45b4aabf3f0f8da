"""A number for the person while the CSD gives none: okienko's own, which lasts, and stands in the CSD's ticket later on.

Each case has one from the beginning, made of its place in the order of arrival. Whoever must wait for the CSD is told it, whatever
the case is about: nothing can be learnt from who is told and who not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.calls import Calls
from okienko.core.database import raw_connection, transaction
from okienko.core.events import append
from okienko.core.notices import Notices
from okienko.plugins.errors import TransientError
from okienko.plugins.ports import CsdBackend, NotificationContext, ProcedurePack
from okienko.schemas import NotificationKind

log = structlog.get_logger(__name__)

_WAITING = f"""
SELECT {cases.COLUMNS} FROM cases WHERE state = 'decided' AND acknowledged_at IS NULL AND opened_at <= $1
AND ($2::uuid[] IS NULL OR id = ANY($2)) AND seq > $3 ORDER BY seq LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608  constants
_TOLD = """
UPDATE cases c SET number = d.number, acknowledged_at = $3 FROM unnest($1::uuid[], $2::text[]) AS d(id, number) WHERE c.id = d.id
"""
_AT_ONCE = 500


def own_number(calls: Calls, pack: ProcedurePack, row: Any) -> str:
    """okienko's number of the case: the one that was used before, whatever the pack says today."""
    return row["number"] or calls.ask(pack, lambda: pack.own_number(row["seq"]))


class Acknowledging:
    """Mail 1 of a case that the CSD keeps waiting (`received`); once for each case."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        csd: CsdBackend,
        pack: ProcedurePack,
        message_domain: str,
        calls: Calls,
        patience: timedelta,
    ) -> None:
        """`csd`: while its breaker is open nobody has to wait until `patience` is over."""
        self._engine = engine
        self._now = now
        self._csd = csd
        self._pack = pack
        self._domain = message_domain
        self._calls = calls
        self._patience = patience

    async def tell(self, ids: Sequence[UUID] | None = None) -> int:
        """Tell the requesters of those cases (None: of all) that have waited long enough; how many cases that were."""
        told, last = 0, -1
        while True:
            count, last = await self._tell(ids, last)
            told += count
            if last < 0:
                return told

    async def _tell(self, ids: Sequence[UUID] | None, after: int) -> tuple[int, int]:
        """One portion; how many were told, and where the next begins (-1: there is none)."""
        now, pack = self._now(), self._pack
        notices = Notices(pack, self._domain, now)
        numbers: dict[UUID, str] = {}
        breaker = self._calls.breaker_of(self._csd)
        before = now if breaker is not None and breaker.is_open else now - self._patience
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(_WAITING, before, None if ids is None else list(ids), after, _AT_ONCE)
            for row in rows:
                if not self._calls.ask(pack, lambda r=row: pack.needs_registration(cases.classification(r))):  # type: ignore[misc]  # a default binds the loop's value
                    continue
                number = own_number(self._calls, pack, row)
                case = cases.to_case(row).model_copy(update={"number": number})
                context = NotificationContext(case, own_number=number)
                try:
                    self._calls.ask(
                        pack,
                        lambda r=row, c=context: notices.add(r, NotificationKind.RECEIVED, c, withheld=r["silenced"]),  # type: ignore[misc]  # as above
                    )
                except TransientError:
                    raise
                except Exception as error:  # one case's trouble: the others are told
                    log.exception("not told", action="acknowledge", case_id=str(row["id"]), error=type(error).__name__)
                    continue
                numbers[row["id"]] = number
            if numbers:
                await raw.execute(_TOLD, list(numbers), list(numbers.values()), now)
                await notices.write(connection, raw)
                await append(raw, notices.events)
        return len(numbers), rows[-1]["seq"] if len(rows) == _AT_ONCE else -1
