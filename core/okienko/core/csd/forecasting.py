"""Trying a mapping on the cases that there are: each is foretold, its ticket read and compared. Nothing is written anywhere.

Cases are read by pages in transactions that cannot write, tickets one at a time by the common pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.csd import shadows
from okienko.core.csd.forecast import Because, Difference, Fate, Forecast, created, differences
from okienko.core.database import raw_connection, transaction
from okienko.core.registering import registration_of
from okienko.plugins.csd import Capability, CsdBackend, RawTicket, Registration, Ticket
from okienko.plugins.csdmapping import MappingError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.limits import guarded
from okienko.plugins.pace import PaceError
from okienko.plugins.ports import ProcedurePack
from okienko.schemas import CaseState, CsdRef, Priority, TicketStatus

PAGE = 100
_ATTEMPTS = 3
"""Reads of one ticket, when the CSD does not answer."""
_CHOSEN = f"""
SELECT {cases.COLUMNS}, s.followed, s.followed_id, s.fields->>'status' AS agreed
FROM cases c LEFT JOIN csd_shadow s ON s.case_id = c.id
WHERE seq > $1
AND (cardinality($2::bigint[]) = 0 OR EXISTS (SELECT FROM unnest($2, $3::bigint[]) AS r(a, z) WHERE seq BETWEEN r.a AND r.z))
AND ($4::timestamptz IS NULL OR opened_at >= $4) AND ($5::timestamptz IS NULL OR opened_at < $5)
AND (NOT $6 OR state <> 'closed') AND ($7::uuid[] IS NULL OR id = ANY($7)) ORDER BY seq LIMIT $8
"""  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class Choice:
    """Some of the cases: what fits all that is given."""

    ranges: tuple[tuple[int, int], ...] = ()
    """First and last place of each in the order of arrival (`places`); none: all."""
    since: datetime | None = None
    until: datetime | None = None
    """Opened at or after the one and before the other."""
    only_open: bool = False
    ids: tuple[UUID, ...] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """The two sides of it."""

    csd: CsdBackend
    """Under the mapping to be tried. Not started: both are, before the first ticket is read."""
    before: CsdBackend | None
    """Under the present mapping; None when that one cannot be loaded. The same object when none is to be tried."""
    pack: ProcedurePack
    seconds: float = 30.0
    """For one ticket."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def places(engine: AsyncEngine, keys: Sequence[str]) -> list[tuple[int, int]]:
    """The places of cases: each key is a case's id or number, or two of them with a dash between, for all from one to the other.

    Raises PermanentError for one that there is not.
    """
    found: list[tuple[int, int]] = []
    async with transaction(engine, snapshot=True) as connection:
        raw = await raw_connection(connection)
        for key in keys:
            # A number may have dashes of its own: HELP-12-HELP-40.
            cuts = [place for place, char in enumerate(key) if char == "-"]
            for one, other in ((key, key), *((key[:cut], key[cut + 1 :]) for cut in cuts)):
                ends = [await _place(raw, end) for end in dict.fromkeys((one, other))]
                if None not in ends:
                    found.append((ends[0], ends[-1]))
                    break
            else:
                raise PermanentError(
                    f"there is no case {key!r}: give an id or a number, or FIRST-LAST; see `okienko cases`"
                )
    return found


async def _place(raw: Any, key: str) -> Any:
    case_id = await cases.find(raw, key) if key else None
    return await raw.fetchval("SELECT seq FROM cases WHERE id = $1", case_id) if case_id else None


async def forecasts(engine: AsyncEngine, trial: Trial, choice: Choice) -> AsyncIterator[Forecast]:
    """The chosen cases in the order in which they came.

    Raises TransientError when the CSD does not answer, MisconfiguredError when it refuses okienko, and PermanentError for a CSD
    whose connector cannot tell beforehand.
    """
    if Capability.PREVIEW not in trial.csd.capabilities:
        raise PermanentError(
            f"the connector of the CSD {trial.csd.name} cannot tell beforehand what it would write (capability preview)"
        )
    firsts, lasts = [a for a, _ in choice.ranges], [z for _, z in choice.ranges]
    ids = list(choice.ids) if choice.ids is not None else None
    after, started = 0, False
    while True:
        async with transaction(engine, snapshot=True) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(
                _CHOSEN, after, firsts, lasts, choice.since, choice.until, choice.only_open, ids, PAGE
            )
        for row in rows:
            after = row["seq"]
            ref = shadows.ref_of(row, row)
            if ref is not None and ref.backend == trial.csd.name and not started:
                started = True
                await _start(trial)
            yield await _one(trial, row, ref)
        if len(rows) < PAGE:
            return


async def _start(trial: Trial) -> None:
    for csd in (trial.csd, trial.before if trial.before is not trial.csd else None):
        if csd is not None:
            await guarded(csd.start(), plugin=csd.name, operation="start", seconds=trial.seconds)


async def _one(trial: Trial, row: Any, ref: CsdRef | None) -> Forecast:
    number = row["number"] or trial.pack.own_number(row["seq"])
    told = Forecast(row["id"], number, ref.number if ref else None, Fate.NONE)
    if ref is None and (
        row["state"] == CaseState.CLOSED.value or not trial.pack.needs_registration(cases.classification(row))
    ):
        return told
    if row["silenced"] == "erased":
        return replace(told, result=Fate.ERASED)
    if ref is not None and ref.backend != trial.csd.name:
        return replace(told, result=Fate.ELSEWHERE, problem=f"its ticket is in {ref.backend}")
    registration = registration_of(row, number)
    if ref is not None:
        # What a change would write, too: subject and priority are what they are by now.
        registration = replace(registration, priority=Priority(row["priority"]))
    try:
        then = trial.csd.preview(registration)
        if ref is None:
            return replace(told, result=Fate.CREATE, differences=tuple(created(then)))
        ticket = await _read(trial, trial.csd, ref)
        if ticket is None or ticket.merged_into is not None:
            into = ticket.merged_into if ticket is not None else None
            why = f"it was merged into {into.number}" if into else f"{trial.csd.name} has no such ticket any more"
            return replace(told, result=Fate.GONE, problem=why)
        found = [*differences(ticket.raw or RawTicket(), then, _before(trial, registration))]
        found += await _meaning(trial, ref, ticket, row["agreed"])
    except MappingError as error:
        finding = error.finding
        return replace(told, result=Fate.REFUSED, problem=f"{finding.subject}: {finding.message}", cure=finding.cure)
    except PermanentError as error:
        return replace(told, result=Fate.REFUSED, problem=str(error))
    return replace(told, result=Fate.DIFFERS if found else Fate.SAME, differences=tuple(found))


def _before(trial: Trial, registration: Registration) -> RawTicket | None:
    if trial.before is None:
        return None
    try:
        return trial.before.preview(registration)
    except (PermanentError, MisconfiguredError):
        return None


async def _meaning(trial: Trial, ref: CsdRef, ticket: Ticket, agreed: str | None) -> list[Difference]:
    """The state of the ticket, where it means something else than both sides had agreed on: the case would follow it."""
    if agreed is None or ticket.status.value == agreed:
        return []
    because = Because.CSD
    if trial.before is not trial.csd and not await _means(trial, ref, ticket.status):
        because = Because.MAPPING
    return [Difference("status", f"{ticket.raw_status} ({agreed})", ticket.status.value, because)]


async def _means(trial: Trial, ref: CsdRef, status: TicketStatus) -> bool:
    """Whether the present mapping understands the ticket's state as this, too."""
    if trial.before is None:
        return False
    try:
        ticket = await _read(trial, trial.before, ref)
    except PermanentError:
        return False
    return ticket is not None and ticket.status is status


async def _read(trial: Trial, csd: CsdBackend, ref: CsdRef) -> Ticket | None:
    attempt = 1
    while True:
        try:
            return await guarded(csd.get(ref), plugin=csd.name, operation="get", seconds=trial.seconds)
        except PaceError as error:
            await trial.sleep(error.retry_after or 1.0)
        except TransientError as error:
            if attempt == _ATTEMPTS:
                raise
            attempt += 1
            await trial.sleep(error.retry_after or 1.0)
