"""The job `sync`: what a case's outbox holds is told to the CSD in order; then, if there is news, both sides are brought in step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from okienko.core import cases
from okienko.core.accountwork import ACCOUNT_KINDS
from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.csd import endings, outbox, shadows
from okienko.core.csd.casestore import CaseStores
from okienko.core.csd.joined import Joined
from okienko.core.csd.mails import Mails
from okienko.core.csd.merge import Rule
from okienko.core.csd.outbox import Kind, Row
from okienko.core.csd.twoway import REOPEN_REASON, bring_in_step
from okienko.core.database import raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.core.parking import park
from okienko.core.registering import MERGED, find_or_create
from okienko.core.states import move
from okienko.metrics import catalogue as metrics
from okienko.plugins.csd import Capability, TicketGoneError
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.ports import Channel, CsdBackend, ProcedurePack
from okienko.schemas import CaseKind, CaseState, CsdRef, EventType, TicketStatus

log = structlog.get_logger(__name__)

_WANTED = "SELECT solution, who FROM closing WHERE case_id = $1 AND done_at IS NULL ORDER BY id DESC LIMIT 1"
_REOPENED = """
UPDATE cases SET state = $2, closed_at = NULL, csd_backend = $3, csd_number = $4, csd_id = $5 WHERE id = $1 AND state = 'closed'
RETURNING id, subject
"""
_READ = """
UPDATE csd_shadow s SET news_read = d.news FROM unnest($1::uuid[], $2::bigint[]) AS d(case_id, news) WHERE s.case_id = d.case_id
RETURNING s.case_id, s.news > s.news_read AS more
"""
_AT_ONCE = 8
"""Cases worked on at the same time."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One look at a case."""

    row: Any
    ref: CsdRef | None
    rows: list[Row]
    news: int
    unread: bool

    @property
    def next(self) -> Row | None:
        return outbox.next_row(self.rows, has_ticket=self.ref is not None)


_End = tuple[UUID, int, Sequence[str]]
"""A case, a row of its outbox that is done, and the files that came to the ticket by it."""


class Syncing:
    """Each case's work is done by one worker at a time, and every step of it may be done again without harm."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        csd: CsdBackend,
        pack: ProcedurePack,
        message_domain: str,
        spool: Path,
        rules: Mapping[str, Rule],
        calls: Calls,
        attempts: Attempts,
    ) -> None:
        self._engine = engine
        self._now = now
        self._csd = csd
        self._pack = pack
        self._domain = message_domain
        self._rules = rules
        self._stores = CaseStores(engine, now, csd=csd, pack=pack, message_domain=message_domain, calls=calls)
        self._looks: Joined[UUID, _Work] = Joined(self._look)
        self._ends: Joined[_End, None] = Joined(self._end_all)
        self._reads: Joined[tuple[UUID, int], None] = Joined(self._read)
        self._calls = calls
        self._attempts = attempts
        self._mails = Mails(engine, channels=channels, csd=csd, spool=spool, calls=calls)

    async def sync(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Bring each case and its ticket in step."""
        return await self._attempts.each(Job.SYNC, ids, self._sync)

    async def _sync(self, ids: Sequence[UUID]) -> Mapping[UUID, Exception]:
        failed: dict[UUID, Exception] = {}

        async def one(case_id: UUID) -> None:
            try:
                await self._one(case_id)
            except Exception as error:  # its class decides, and for this case only
                failed[case_id] = error

        for start in range(0, len(ids), _AT_ONCE):
            group = ids[start : start + _AT_ONCE]
            await asyncio.gather(*map(one, group))
            if len(group) > 1 and all(isinstance(failed.get(i), TransientError) for i in group):
                # The other side is down: the rest waits without being tried.
                return failed | dict.fromkeys(ids[start + _AT_ONCE :], failed[group[0]])
        return failed

    async def _one(self, case_id: UUID) -> None:
        while (row := (work := await self._looks.ask(case_id)).next) is not None:
            try:
                await self._tell(work, row)
            except TransientError:
                raise
            except Exception as error:  # refused for good: it is parked, and the others go on as far as it is harmless
                await self._park(work, row, error)
        if work.unread and work.ref is not None:
            await self._pull(work)

    async def _look(self, ids: Sequence[UUID]) -> list[_Work | Exception]:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            found = await cases.fetch(raw, ids)
            kept = await shadows.fetch(raw, ids)
            rows = await outbox.load(raw, ids)
        return [_work(found[case_id], kept.get(case_id), rows[case_id]) for case_id in ids]

    async def _tell(self, work: _Work, row: Row) -> None:
        if row.kind is Kind.CLOSE:
            await self._close(work, row)
        elif row.kind is Kind.REOPEN:
            await self._reopen(work, row)
        elif row.kind is Kind.FIELDS:
            await self._in_step(work)
            await self._end(work, row)
        elif work.ref is not None:
            await self._add(work.ref, work, row)
        metrics.CSD_OUTBOX.labels(row.kind.value, "done").inc()

    async def _add(self, ref: CsdRef, work: _Work, row: Row) -> None:
        """What adds to a ticket and moves nothing, and the taking out of the person."""
        keys: tuple[str, ...] = ()
        if row.kind in (Kind.MAIL, Kind.FILES) and row.ref is not None:
            files = CaseKind(work.row["kind"]) not in ACCOUNT_KINDS
            told = await self._mails.tell(ref, row.ref, note=row.kind is Kind.MAIL, files=files)
            if told.problem is not None:
                await self._park(work, row, told.problem, told.file_keys)
                return
            keys = told.file_keys
        elif row.kind is Kind.NOTE:
            text = row.text or ""
            await self._calls.call(self._csd, "comment", lambda: self._csd.comment(ref, f"note {row.id}", text))
        elif row.kind is Kind.LINK and row.ref is not None and Capability.LINKS in self._csd.capabilities:
            async with transaction(self._engine) as connection:
                others = await cases.fetch(await raw_connection(connection), [row.ref])
            other = cases.to_case(others[row.ref]).csd if row.ref in others else None
            if other is not None and other.backend == ref.backend:
                await self._calls.call(self._csd, "link", lambda: self._csd.link(ref, other))
        elif row.kind is Kind.ERASE:
            await self._calls.call(self._csd, "erase", lambda: self._csd.erase(ref))
        await self._end(work, row, keys)

    async def _close(self, work: _Work, row: Row) -> None:
        case_id = work.row["id"]
        async with transaction(self._engine) as connection:
            wanted = await (await raw_connection(connection)).fetchrow(_WANTED, case_id)
        if wanted is None:
            await self._end(work, row)
            return
        solution: str = wanted["solution"]
        if (ref := work.ref) is not None:
            try:
                await self._calls.call(self._csd, "close", lambda: self._csd.close(ref, solution))
            except TicketGoneError:
                # There is nothing left to close there, and the person waits to be told.
                log.warning("closed without its ticket", action="csd_close", case_id=str(case_id))
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            locked = (await cases.fetch(raw, [case_id], lock=True))[case_id]
            notices = Notices(self._pack, self._domain, now)
            if locked["state"] != CaseState.CLOSED:
                await endings.close(
                    connection, raw, [(locked, solution)], who=wanted["who"], notices=notices, calls=self._calls,
                    pack=self._pack, now=now,
                )  # fmt: skip
            else:
                await raw.execute(
                    "UPDATE closing SET done_at = $2 WHERE case_id = $1 AND done_at IS NULL", case_id, now
                )
            await shadows.set_status(raw, case_id, TicketStatus.CLOSED)
            await outbox.end(raw, [row.id], now)
            await notices.write(connection, raw)
            await append(raw, notices.events)

    async def _reopen(self, work: _Work, row: Row) -> None:
        case_id = work.row["id"]
        if work.row["state"] != CaseState.CLOSED:
            await self._end(work, row)
            return
        own = cases.to_case(work.row).csd
        ref = work.ref
        if own is None or ref is None:
            own = ref = await find_or_create(self._calls, self._csd, self._pack, work.row)
        target = ref
        await self._calls.call(self._csd, "reopen", lambda: self._csd.reopen(target, REOPEN_REASON))
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            state = move(CaseState.CLOSED, CaseState.REOPENED).value
            new = work.ref is None
            if reopened := await raw.fetch(_REOPENED, case_id, state, own.backend, own.number, own.id):
                events = [NewEvent(case_id, EventType.REOPENED, now, {"why": REOPEN_REASON})]
                if new:
                    data = {"backend": own.backend, "number": own.number}
                    events.append(NewEvent(case_id, EventType.REGISTERED, now, data, own.backend))
                    await shadows.begin(raw, reopened)
                    merged = await raw.fetch(MERGED, [case_id])
                    await outbox.put(raw, [(case_id, Kind.MAIL, m["envelope_id"]) for m in merged], now)
                await append(raw, events)
            await shadows.set_status(raw, case_id, TicketStatus.OPEN)
            await outbox.end(raw, [row.id], now)

    async def _pull(self, work: _Work) -> None:
        case_id = work.row["id"]
        # An erased case has nothing to be kept in step, and must not be filled again from there.
        refused: Exception | None = None
        if work.row["silenced"] != "erased":
            try:
                await self._in_step(work)
            except TransientError:
                raise
            except Exception as error:  # parked; what comes later from there is read again
                refused = error
        if refused is None:
            await self._reads.ask((case_id, work.news))
        else:
            async with transaction(self._engine) as connection:
                raw = await raw_connection(connection)
                reason = await park(raw, Job.SYNC, case_id, None, refused, self._now())
                await _mark_read(connection, raw, [(case_id, work.news)])
            metrics.PARKED.labels(Job.SYNC, reason.value).inc()
        metrics.CSD_PULLS.inc()

    async def _read(self, read: Sequence[tuple[UUID, int]]) -> list[None | Exception]:
        async with transaction(self._engine) as connection:
            await _mark_read(connection, await raw_connection(connection), read)
        return [None] * len(read)

    async def _in_step(self, work: _Work) -> None:
        await bring_in_step(self._stores.of(work.row["id"]), self._csd, self._calls.call, self._rules)

    async def _end(self, work: _Work, row: Row, file_keys: Sequence[str] = ()) -> None:
        await self._ends.ask((work.row["id"], row.id, file_keys))

    async def _end_all(self, ended: Sequence[_End]) -> list[None | Exception]:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await shadows.add_files(raw, [(case_id, keys) for case_id, _, keys in ended])
            await outbox.end(raw, [row_id for _, row_id, _ in ended], self._now())
        return [None] * len(ended)

    async def _park(self, work: _Work, row: Row, error: Exception, file_keys: Sequence[str] = ()) -> None:
        case_id, cause = work.row["id"], error.__cause__ or error
        log.error(
            "csd refused", action="park", job=Job.SYNC.value, ref=str(case_id), kind=row.kind.value,
            error=type(cause).__name__, exc_info=None if isinstance(error, PermanentError) else cause,
        )  # fmt: skip
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            reason = await park(raw, Job.SYNC, case_id, None, error, self._now())
            await shadows.add_files(raw, [(case_id, file_keys)])
            await outbox.parked(raw, row.id, case_id)
        metrics.PARKED.labels(Job.SYNC, reason.value).inc()


async def _mark_read(connection: AsyncConnection, raw: Any, read: Sequence[tuple[UUID, int]]) -> None:
    """What came meanwhile has its job."""
    rows = await raw.fetch(_READ, [case_id for case_id, _ in read], [news for _, news in read])
    await outbox.wake(connection, [row["case_id"] for row in rows if row["more"]])


def _work(row: Any, kept: Any, rows: list[Row]) -> _Work:
    news, read = (kept["news"], kept["news_read"]) if kept is not None else (0, 0)
    return _Work(row, shadows.ref_of(row, kept), rows, news, news > read)
