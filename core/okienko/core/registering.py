"""Registering cases in the CSD, and what follows from it in the same commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.assessing import wants_assessment
from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.csd import outbox, shadows
from okienko.core.csd.outbox import Kind, New
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.core.states import AFTER_REGISTRATION, move
from okienko.metrics import catalogue as metrics
from okienko.plugins.csd import Capability
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.ports import (
    Classification,
    CsdBackend,
    NotificationContext,
    ProcedurePack,
    Registration,
)
from okienko.schemas import (
    Case,
    CaseKind,
    CaseState,
    CsdRef,
    DecisionOutcome,
    EventType,
    NotificationKind,
    Procedure,
)

_REGISTERED = """
UPDATE cases c SET csd_backend = $1, csd_number = d.number, csd_id = d.key, state = d.state, closed_at = d.closed_at
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) AS d(id, number, key, state, closed_at) WHERE c.id = d.id
"""
MERGED = """
(SELECT envelope_id, case_id FROM case_message WHERE case_id = ANY($1::uuid[]) AND role = 'merged' ORDER BY at)
UNION ALL
(SELECT DISTINCT ON (case_id) envelope_id, case_id FROM case_message WHERE case_id = ANY($1::uuid[]) AND role = 'repeated'
 ORDER BY case_id, at, envelope_id)
"""
"""Messages that were added to the cases, some perhaps before there was a ticket to note them in; of repeats the first."""


async def find_or_create(calls: Calls, csd: CsdBackend, rows: Sequence[Any]) -> dict[UUID, CsdRef]:
    """The tickets of the cases. What an earlier attempt made, whose answer was lost, is found and not made again."""
    ids = [row["id"] for row in rows]
    refs = await calls.call(csd, "find", lambda: csd.find(ids))
    if new := [_registration(row) for row in rows if row["id"] not in refs]:
        refs = {**refs, **await calls.call(csd, "create", lambda: csd.create(new))}
    if missing := [i for i in ids if i not in refs]:
        raise PermanentError(f"the CSD {csd.name} gave no number to {len(missing)} of {len(ids)} cases")
    return refs


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
    ) -> None:
        self._engine = engine
        self._now = now
        self._csd = csd
        self._pack = pack
        self._domain = message_domain
        self._calls = calls
        self._attempts = attempts

    async def register(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Give each decided case its number, move it on and queue what the person is told."""
        results = await self._attempts.each(Job.REGISTER, ids, self._register)
        retried = sum(isinstance(result, TransientError) for result in results)
        if retried:
            metrics.REGISTRATIONS.labels(self._csd.name, "retried").inc(retried)
        return results

    async def _register(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            rows = await cases.fetch(await raw_connection(connection), ids)
        waiting = {case_id: row for case_id, row in rows.items() if row["state"] == CaseState.DECIDED}
        if not waiting:
            return
        pack = self._pack
        work = [
            row for row in waiting.values()
            if self._calls.ask(pack, lambda r=row: pack.needs_registration(_classification(r)))  # type: ignore[misc]  # a default binds the loop's value
        ]  # fmt: skip
        refs = await find_or_create(self._calls, self._csd, work) if work else {}
        metrics.REGISTRATIONS.labels(self._csd.name, "ok").inc(len(refs))
        now = self._now()
        async with transaction(self._engine) as connection:
            locked = await cases.fetch(await raw_connection(connection), list(waiting), lock=True)
            todo = [row for row in locked.values() if row["state"] == CaseState.DECIDED]
            if todo:
                await self._settle(connection, todo, refs, now)

    async def _settle(self, connection: Any, rows: Sequence[Any], refs: Mapping[UUID, CsdRef], now: datetime) -> None:
        raw = await raw_connection(connection)
        notices = Notices(self._pack, self._domain, now)
        updates: list[tuple[Any, ...]] = []
        assess: list[str] = []
        for row in rows:
            case, ref = cases.to_case(row), refs.get(row["id"])
            target = move(case.state, AFTER_REGISTRATION[case.decision.outcome] if ref else CaseState.CLOSED)
            case = case.model_copy(update={"csd": ref, "state": target})
            number, key = (ref.number, ref.id) if ref else (None, None)
            updates.append((case.id, number, key, target.value, None if ref else now))
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
            owed += [(i, Kind.FIELDS, None) for i, _, _, state, _ in updates if state == waits]
        await outbox.put(raw, owed, now)
        await outbox.wake(connection, await outbox.with_work(raw, [row["id"] for row in rows]))

    def _tell(self, notices: Notices, row: Any, case: Case) -> bool:
        kind = NotificationKind.REGISTERED
        if case.csd is None:
            kind = NotificationKind.SELF_SERVICE
        elif case.decision.outcome is DecisionOutcome.UNMET:
            kind = NotificationKind.UNMET
        context = NotificationContext(case)
        told = self._calls.ask(self._pack, lambda: notices.add(row, kind, context, withheld=row["silenced"]))
        return told is not None


def _classification(row: Any) -> Classification:
    return Classification(CaseKind(row["kind"]), Procedure(row["procedure"]) if row["procedure"] else None)


def _registration(row: Any) -> Registration:
    return Registration(
        correlation_id=row["id"],
        kind=CaseKind(row["kind"]),
        procedure=Procedure(row["procedure"]) if row["procedure"] else None,
        subject=row["subject"],
        description=row["description"],
        requester=row["requester_address"],
        opened_at=row["opened_at"],
    )
