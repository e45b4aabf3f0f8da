"""Registering cases in the CSD, and what follows from it in the same commit.

Cases go to the CSD in the order in which they came. While none waits long, jobs do their own cases, side by side. When the oldest
has waited for longer than a minute (an outage, a low quota), one worker at a time takes the oldest first, whoever's job woke it, and
hands on the baton: a job for the next one. So a backlog is drained in order and at once, though each job of its own sleeps.

A request whose answer was lost, or whose worker was killed, may still be at work in the CSD when somebody else looks whether it was
done. Therefore the case is marked before the CSD is asked, and for a while after that its ticket is looked for and not asked for again
(not where the CSD itself refuses a second ticket).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.acknowledging import Acknowledging, own_number
from okienko.core.assessing import wants_assessment
from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.csd import outbox, shadows
from okienko.core.csd.outbox import Kind, New
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.exclusive import exclusively
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.core.states import AFTER_REGISTRATION, move
from okienko.metrics import catalogue as metrics
from okienko.plugins.csd import Capability
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.pace import PaceError
from okienko.plugins.ports import (
    CsdBackend,
    NotificationContext,
    ProcedurePack,
    Registration,
)
from okienko.schemas import (
    Case,
    CaseKind,
    CaseState,
    ChannelName,
    CsdRef,
    DecisionOutcome,
    EventType,
    NotificationKind,
    Procedure,
)

_REGISTERED = """
UPDATE cases c SET csd_backend = $1, csd_number = d.number, csd_id = d.key, state = d.state, closed_at = d.closed_at,
       number = coalesce(c.number, d.own)
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
     AS d(id, number, key, state, closed_at, own) WHERE c.id = d.id
"""
MERGED = """
(SELECT envelope_id, case_id FROM case_message WHERE case_id = ANY($1::uuid[]) AND role = 'merged' ORDER BY at)
UNION ALL
(SELECT DISTINCT ON (case_id) envelope_id, case_id FROM case_message WHERE case_id = ANY($1::uuid[]) AND role = 'repeated'
 ORDER BY case_id, at, envelope_id)
"""
"""Messages that were added to the cases, some perhaps before there was a ticket to note them in; of repeats the first."""
_ASKED = "UPDATE cases SET asked_at = $2 WHERE id = ANY($1::uuid[]) AND state = 'decided'"
_OLDEST = """
SELECT c.id, c.opened_at FROM cases c WHERE c.state = 'decided' AND c.id <> ALL($2::uuid[]) AND NOT EXISTS (
    SELECT FROM parked p WHERE p.ref = c.id AND p.job = 'register' AND p.state IN ('parked', 'dropped')
) ORDER BY c.seq LIMIT $1
"""
_WAITING = "SELECT count(*) FROM cases WHERE state = 'decided'"
_STILL = "SELECT id FROM cases WHERE id = ANY($1::uuid[]) AND state = 'decided'"
_LONG = timedelta(minutes=1)
"""When the oldest case has waited for so long, there is a backlog: it is drained in order."""
_AT_ONCE = 100
"""Most cases taken at a time from a backlog."""
_ORDER = UUID(int=0)
"""Who holds this lock among those of Job.REGISTER drains the backlog."""
_IN_A_ROW = 2
"""Failures in a row, tried one by one, after which it is not the case's but the CSD's trouble."""
_TROUBLED = 3
"""Failures of a case, while others succeeded, after which it waits for its own job and does not stand before the others."""
_MOST_TROUBLED = 10_000
_SIZES = (100, 25, 5, 1)
"""How many are asked for together again, by how often their group failed as a whole."""
_WAKING = 10
"""Jobs of a backlog that wake in a second, at most."""


async def find_or_create(calls: Calls, csd: CsdBackend, pack: ProcedurePack, row: Any) -> CsdRef:
    """The ticket of one case. What an earlier attempt made, whose answer was lost, is found and not made again."""
    case_id: UUID = row["id"]
    refs = await calls.call(csd, "find", lambda: csd.find([case_id]))
    if case_id not in refs:
        refs = await _created(calls, csd, pack, [row])
    return refs[case_id]


async def _created(calls: Calls, csd: CsdBackend, pack: ProcedurePack, rows: Sequence[Any]) -> dict[UUID, CsdRef]:
    new = [registration_of(row, own_number(calls, pack, row)) for row in rows]
    refs = await calls.call(csd, "create", lambda: csd.create(new))
    if missing := [row["id"] for row in rows if row["id"] not in refs]:
        raise PermanentError(f"the CSD {csd.name} gave no number to {len(missing)} of {len(rows)} cases")
    return refs


@dataclass(frozen=True, slots=True)
class _Turn:
    """Which cases a pass takes."""

    ids: list[UUID]
    backlog: bool = False
    following: UUID | None = None
    """The first that is left for the next pass."""
    waiting: int = 0

    def later(self, why: str) -> TransientError:
        """For a job whose case's turn comes by the baton. They wake spread out: one soon, should the baton be lost."""
        seconds = random.uniform(30, max(60, self.waiting / _WAKING))  # noqa: S311  spreads load, guards nothing
        return TransientError(why, retry_after=seconds)


class Registering:
    """Step 3 of a message's way: each decided case gets its number, once, and the person hears of it."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        csd: CsdBackend,
        pack: ProcedurePack,
        message_domain: str,
        calls: Calls,
        attempts: Attempts,
        acknowledging: Acknowledging,
        doubt: timedelta,
    ) -> None:
        """`doubt`: the longest that the CSD may take to finish what it began, also when nobody waits for the answer any more."""
        self._engine = engine
        self._now = now
        self._csd = csd
        self._pack = pack
        self._domain = message_domain
        self._calls = calls
        self._attempts = attempts
        self._acknowledging = acknowledging
        self._doubt = doubt
        self._failures: Counter[UUID] = Counter()
        self._splits: Counter[UUID] = Counter()

    async def register(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Give each decided case its number, move it on and queue what the person is told."""
        try:
            turn = await self._turn(ids)
            if turn.backlog:
                results = await self._in_order(turn, ids)
            else:
                results = await self._attempts.each(Job.REGISTER, turn.ids, self._register)
            if any(results):
                await self._acknowledging.tell(ids)
        except TransientError as error:
            results = [error] * len(ids)
        retried = sum(isinstance(result, TransientError) for result in results)
        if retried:
            metrics.REGISTRATIONS.labels(self._csd.name, "retried").inc(retried)
        return results

    async def _turn(self, ids: Sequence[UUID]) -> _Turn:
        limit = max(len(ids), _AT_ONCE)
        troubled = [case_id for case_id, count in self._failures.items() if count >= _TROUBLED]
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(_OLDEST, limit + 1, troubled)
            waiting = await raw.fetchval(_WAITING) if len(rows) > limit else len(rows)
        if not rows or rows[0]["opened_at"] > self._now() - _LONG:
            return _Turn(list(ids))
        oldest = [row["id"] for row in rows]
        # Who is in trouble by itself is tried by its own job, after the others.
        return _Turn(
            oldest[:limit] + [i for i in ids if i in troubled], backlog=True,
            following=oldest[limit] if len(oldest) > limit else None, waiting=waiting,
        )  # fmt: skip

    async def _in_order(self, turn: _Turn, ids: Sequence[UUID]) -> list[None | Exception]:
        async with exclusively(self._engine, Job.REGISTER, [_ORDER]) as mine:
            if not mine:
                return [turn.later("another worker registers the cases that waited longer") for _ in ids]
            done = await self._attempts.each(Job.REGISTER, turn.ids, self._register)
        results = dict(zip(turn.ids, done, strict=True))
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            still = {row["id"] for row in await raw.fetch(_STILL, list(ids))}
            if not all(done):
                failed = next((i for i, error in results.items() if isinstance(error, TransientError)), None)
                if turn.following is not None:
                    await enqueue(connection, Job.REGISTER, [str(turn.following)])
                elif failed is not None:
                    # The last of a backlog need not sleep as long as their many attempts would make their own jobs sleep.
                    await enqueue(connection, Job.REGISTER, [str(failed)], delay=self._doubt)
        behind = "cases that came before it are registered first"
        return [results.get(i, turn.later(behind) if i in still else None) for i in ids]

    async def _register(self, ids: Sequence[UUID]) -> dict[UUID, Exception]:
        async with transaction(self._engine) as connection:
            rows = await cases.fetch(await raw_connection(connection), ids)
        waiting = [row for row in rows.values() if row["state"] == CaseState.DECIDED]
        pack = self._pack
        work = [
            row for row in waiting
            if self._calls.ask(pack, lambda r=row: pack.needs_registration(cases.classification(r)))  # type: ignore[misc]  # a default binds the loop's value
        ]  # fmt: skip
        wanted = {row["id"] for row in work}
        await self._settled([row for row in waiting if row["id"] not in wanted], {})
        return await self._tickets(work) if work else {}

    async def _tickets(self, rows: Sequence[Any]) -> dict[UUID, Exception]:
        """Each of the cases with its ticket is settled as soon as there is one; the errors of the others."""
        # Who was never asked for is looked up by `create` itself. While the CSD does not answer, it is asked by what leaves no doubt.
        well = (breaker := self._calls.breaker_of(self._csd)) is None or breaker.in_a_row == 0
        looked_for = [row for row in rows if row["asked_at"] or not well]
        try:
            there = {row["id"] for row in looked_for} - {row["id"] for row in await self._found(looked_for)}
            left = [row for row in rows if row["id"] not in there]
        except TransientError as error:
            return dict.fromkeys((row["id"] for row in rows), error)
        errors: dict[UUID, Exception] = {}
        if self._unique:
            groups = [left]
        else:
            since = self._now() - self._doubt
            errors = {
                row["id"]: _doubtful(row["asked_at"] - since) for row in left if (row["asked_at"] or since) > since
            }
            groups = self._groups([row for row in left if row["id"] not in errors])
        in_a_row, last = 0, TransientError("the CSD is in trouble")
        for group in groups:
            if in_a_row == _IN_A_ROW and group is not groups[-1]:
                # Not these cases are in trouble but the CSD; only those that were never tried still are.
                errors |= dict.fromkeys((row["id"] for row in group), last)
                continue
            failed = await self._group(group)
            in_a_row = in_a_row + 1 if failed and len(failed) == len(group) else 0
            last = next((error for error in failed.values() if isinstance(error, TransientError)), last)
            errors |= failed
        if len(errors) < len(rows):
            self._note(errors)
        return errors

    @property
    def _unique(self) -> bool:
        return Capability.UNIQUE in self._csd.capabilities

    def _groups(self, rows: Sequence[Any]) -> list[list[Any]]:
        """What is asked for together: the new ones at the end; those of a group that failed as a whole in smaller groups."""
        sizes: dict[int, list[Any]] = {}
        for row in rows:
            if row["asked_at"]:
                sizes.setdefault(_SIZES[min(self._splits[row["id"]], len(_SIZES) - 1)], []).append(row)
        groups = [some[start : start + size] for size, some in sizes.items() for start in range(0, len(some), size)]
        return [*groups, [row for row in rows if not row["asked_at"]]]

    async def _group(self, rows: Sequence[Any]) -> dict[UUID, Exception]:
        if not rows:
            return {}
        if not self._unique:
            await self._mark(rows, self._now())
        try:
            refs = await _created(self._calls, self._csd, self._pack, rows)
        except PaceError as error:
            # Nothing is in doubt: what was made is found next time, the others were not asked for.
            await self._mark(rows, None)
            return {row["id"]: error for row in rows}
        except (PermanentError, TransientError) as error:
            if len(rows) == 1:
                return {rows[0]["id"]: error}
            return await self._one_by_one(rows, error)
        await self._settled(rows, refs)
        return {}

    async def _mark(self, rows: Sequence[Any], asked_at: datetime | None) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(_ASKED, [row["id"] for row in rows], asked_at)

    async def _found(self, rows: Sequence[Any]) -> list[Any]:
        """Settle those that have a ticket already; the others."""
        if not rows:
            return []
        ids = [row["id"] for row in rows]
        refs = await self._calls.call(self._csd, "find", lambda: self._csd.find(ids))
        await self._settled([row for row in rows if row["id"] in refs], refs)
        return [row for row in rows if row["id"] not in refs]

    async def _one_by_one(self, rows: Sequence[Any], error: Exception) -> dict[UUID, Exception]:
        """After a failure that may be one case's own: what was made all the same is taken, the rest is tried alone."""
        try:
            left = await self._found(rows)
        except TransientError:
            return {
                row["id"]: error if isinstance(error, TransientError) else TransientError(str(error)) for row in rows
            }
        if isinstance(error, TransientError) and not self._unique:
            if len(left) == len(rows):
                self._splits.update(row["id"] for row in left)
            return {row["id"]: error for row in left}
        errors: dict[UUID, Exception] = {}
        made: list[tuple[Any, CsdRef]] = []
        in_a_row = 0
        for number, row in enumerate(left):
            try:
                refs = await _created(self._calls, self._csd, self._pack, [row])
            except (PermanentError, TransientError) as alone:
                errors[row["id"]] = alone
                in_a_row = in_a_row + 1 if isinstance(alone, TransientError) else 0
                if in_a_row == _IN_A_ROW:
                    errors |= dict.fromkeys((other["id"] for other in left[number + 1 :]), alone)
                    break
            else:
                in_a_row = 0
                made.append((row, refs[row["id"]]))
        await self._settled([row for row, _ in made], {row["id"]: ref for row, ref in made})
        return errors

    def _note(self, errors: Mapping[UUID, Exception]) -> None:
        """Others succeeded meanwhile: so often have these failed by themselves."""
        for counter in (self._failures, self._splits):
            if len(counter) >= _MOST_TROUBLED:
                counter.clear()
        for case_id, error in errors.items():
            if isinstance(error, TransientError) and error.retry_after is None:
                self._failures[case_id] += 1

    async def _settled(self, rows: Sequence[Any], refs: Mapping[UUID, CsdRef]) -> None:
        """Write the numbers of the cases, and what follows from them, in one commit."""
        if not rows:
            return
        now = self._now()
        async with transaction(self._engine) as connection:
            locked = await cases.fetch(await raw_connection(connection), [row["id"] for row in rows], lock=True)
            todo = [row for row in locked.values() if row["state"] == CaseState.DECIDED]
            if todo:
                await self._settle(connection, todo, refs, now)
        metrics.REGISTRATIONS.labels(self._csd.name, "ok").inc(sum(row["id"] in refs for row in todo))
        for row in rows:
            self._failures.pop(row["id"], None)
            self._splits.pop(row["id"], None)

    async def _settle(self, connection: Any, rows: Sequence[Any], refs: Mapping[UUID, CsdRef], now: datetime) -> None:
        raw = await raw_connection(connection)
        notices = Notices(self._pack, self._domain, now)
        updates: list[tuple[Any, ...]] = []
        assess: list[str] = []
        for row in rows:
            case, ref = cases.to_case(row), refs.get(row["id"])
            own = own_number(self._calls, self._pack, row) if ref else None
            target = move(case.state, AFTER_REGISTRATION[case.decision.outcome] if ref else CaseState.CLOSED)
            case = case.model_copy(update={"csd": ref, "state": target})
            number, key = (ref.number, ref.id) if ref else (None, None)
            updates.append((case.id, number, key, target.value, None if ref else now, own))
            if ref:
                data: dict[str, Any] = {"backend": ref.backend, "number": ref.number}
                notices.events.append(NewEvent(case.id, EventType.REGISTERED, now, data, self._csd.name))
            else:
                data = {"why": "answered, no work for the CSD"}
                notices.events.append(NewEvent(case.id, EventType.CLOSED, now, data))
            if not self._tell(notices, row, case) and wants_assessment(case):
                # Nobody is answered, so that there is no answer to wait for.
                assess.append(str(case.id))
        await raw.execute(_REGISTERED, self._csd.name, *(list(c) for c in zip(*updates, strict=True)))
        await notices.write(connection, raw)
        await append(raw, notices.events)
        await enqueue(connection, Job.ASSESS, assess)
        merged = await raw.fetch(MERGED, [row["id"] for row in rows])
        await shadows.begin(raw, [row for row in rows if row["id"] in refs])
        owed: list[New] = [(m["case_id"], Kind.MAIL, m["envelope_id"]) for m in merged if m["case_id"] in refs]
        # Who wrote again while the answer that was to be the whole work was on its way is not left alone with it.
        owed += [(i, Kind.REOPEN, None) for i in dict.fromkeys(m["case_id"] for m in merged) if i not in refs]
        if Capability.PENDING in self._csd.capabilities:
            waits = CaseState.AWAITING_REQUESTER.value
            owed += [(i, Kind.FIELDS, None) for i, _, _, state, _, _ in updates if state == waits]
        await outbox.put(raw, owed, now)
        await outbox.wake(connection, await outbox.with_work(raw, [row["id"] for row in rows]))

    def _tell(self, notices: Notices, row: Any, case: Case) -> bool:
        kind = NotificationKind.REGISTERED
        if case.csd is None:
            kind = NotificationKind.SELF_SERVICE
        elif case.decision.outcome is DecisionOutcome.UNMET:
            kind = NotificationKind.UNMET
        context = NotificationContext(case, own_number=row["number"] if row["acknowledged_at"] else None)
        told = self._calls.ask(self._pack, lambda: notices.add(row, kind, context, withheld=row["silenced"]))
        return told is not None


def _doubtful(left: timedelta) -> TransientError:
    text = "the CSD was asked for its ticket a moment ago and may still be at it: it is looked for first"
    return TransientError(text, retry_after=left.total_seconds())


def registration_of(row: Any, number: str) -> Registration:
    """What the CSD is asked to register, of a row of the cases table; `number` is okienko's own."""
    return Registration(
        correlation_id=row["id"],
        kind=CaseKind(row["kind"]),
        procedure=Procedure(row["procedure"]) if row["procedure"] else None,
        subject=row["subject"],
        description=row["description"],
        requester=row["requester_address"],
        opened_at=row["opened_at"],
        requester_name=row["requester_name"],
        channel=ChannelName(row["channel"]),
        number=number,
    )
