"""The two sides of one case on record: what `twoway.bring_in_step` reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.calls import Calls
from okienko.core.csd import endings, ledger, shadows
from okienko.core.csd.merge import Side, Value
from okienko.core.csd.twoway import Entry, Pair, Plan, settle
from okienko.core.database import raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.notices import Notices
from okienko.core.states import move
from okienko.plugins.csdtexts import storable
from okienko.plugins.errors import PermanentError
from okienko.plugins.ports import CsdBackend, ProcedurePack
from okienko.schemas import CaseState, CsdRef, EventType

_NOTES = """
INSERT INTO csd_note (id, case_id, kind, remote_id, text, author, public, at)
SELECT d.id, $1, d.kind, d.remote, d.text, d.author, d.public, d.at
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::timestamptz[])
AS d(id, kind, remote, text, author, public, at) ON CONFLICT (case_id, kind, remote_id) DO NOTHING RETURNING id, kind, public, author
"""
_WRITE = """
UPDATE cases SET subject = $2, priority = $3, queue = $4, assignee = $5 WHERE id = $1
"""
_STATE = "UPDATE cases SET state = $2, closed_at = NULL WHERE id = $1"
_LOST = "UPDATE csd_shadow SET lost = $2, revision = revision + 1 WHERE case_id = $1"
_FOLLOW = (
    "UPDATE csd_shadow SET followed = $2, followed_id = $3, version = NULL, revision = revision + 1 WHERE case_id = $1"
)
_LONGEST = 100_000
"""Characters of a note that are kept."""


class DbCaseStore:
    """See CaseStore. The caller holds the case's lock among workers."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        case_id: UUID,
        *,
        csd: CsdBackend,
        pack: ProcedurePack,
        message_domain: str,
        calls: Calls,
    ) -> None:
        self._engine = engine
        self._now = now
        self._case_id = case_id
        self._csd = csd
        self._pack = pack
        self._domain = message_domain
        self._calls = calls

    async def load(self) -> Pair:
        """See CaseStore. Raises PermanentError for a case without a ticket."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [self._case_id]))[self._case_id]
            kept = await shadows.fetch(raw, self._case_id)
            ref = shadows.ref_of(row, kept)
            if ref is None or kept is None:
                raise PermanentError(f"case {self._case_id} has no ticket to be kept in step with")
            return Pair(ref, await shadows.local(raw, row), shadows.to_shadow(kept))

    async def foresee(self, plan: Plan) -> None:
        """See CaseStore."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await shadows.sending(raw, self._case_id, plan.sending)
            await self._log(raw, plan.foreseen, plan.shadow.revision)

    async def settle(self, plan: Plan) -> bool:
        """See CaseStore."""
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [self._case_id], lock=True))[self._case_id]
            done = settle(plan, await shadows.local(raw, row))
            notices = Notices(self._pack, self._domain, now)
            if done.fields:
                values: Mapping[str, Value] = {name: row[name] for name in shadows.FIELDS} | dict(done.fields)
                await raw.execute(_WRITE, self._case_id, *(values[name] for name in shadows.FIELDS))
                notices.events.append(self._event(EventType.FIELDS_CHANGED, {"fields": sorted(done.fields)}))
            before = CaseState(row["state"])
            if done.state is not before:
                if done.state is CaseState.CLOSED:
                    solution = plan.solution.strip() or self._neutral(row)
                    await endings.close(
                        connection, raw, row, solution=solution, who=self._csd.name, notices=notices, calls=self._calls,
                        pack=self._pack, now=now,
                    )  # fmt: skip
                else:
                    await raw.execute(_STATE, self._case_id, move(before, done.state).value)
                    notices.events.append(self._moved(before, done.state))
            notices.events += await self._keep(raw, plan)
            await ledger.write(raw, self._case_id, done.conflicts, plan.shadow.revision, now)
            await shadows.save(raw, self._case_id, done.shadow, now)
            await notices.write(connection, raw)
            await append(raw, notices.events)
        return not done.again

    async def missing(self, target: CsdRef | None, *, ours: bool) -> bool:
        """See CaseStore. What was removed, or merged into a ticket that is none of ours, is for a person: the case, unless it is
        closed, waits for them.
        """
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [self._case_id], lock=True))[self._case_id]
            kept = await shadows.fetch(raw, self._case_id)
            ref = shadows.ref_of(row, kept)
            number = ref.number if ref else None
            if target is not None and ours:
                await raw.execute(_FOLLOW, self._case_id, target.number, target.id)
                await append(raw, [self._event(EventType.TICKET_MOVED, {"from": number, "number": target.number})])
                return True
            why = "merged" if target is not None else "removed"
            if kept["lost"] == why:
                return False
            await raw.execute(_LOST, self._case_id, why)
            entry = Entry("ticket", number, number, target.number if target else None, Side.OKIENKO, why)
            await self._log(raw, [entry], kept["revision"])
            events = [self._event(EventType.TICKET_LOST, {"number": number, "why": why})]
            state = CaseState(row["state"])
            if state not in (CaseState.CLOSED, CaseState.HUMAN_REVIEW):
                await raw.execute(_STATE, self._case_id, move(state, CaseState.HUMAN_REVIEW).value)
            await append(raw, events)
        return False

    async def _log(self, raw: Any, entries: Sequence[Entry], revision: int) -> None:
        await ledger.write(raw, self._case_id, entries, revision, self._now())

    async def _keep(self, raw: Any, plan: Plan) -> list[NewEvent]:
        """Keep what people wrote and added there; each is an event, without its words."""
        now = self._now()
        new: list[tuple[Any, ...]] = [
            (uuid4(), "note", n.id, _kept(n.text), _kept(n.author), n.public, n.at) for n in plan.notes
        ]
        new += [(uuid4(), "file", f.id, _kept(f.filename), "", False, now) for f in plan.files]
        if not new:
            return []
        kept = await raw.fetch(_NOTES, self._case_id, *(list(column) for column in zip(*new, strict=True)))
        return [
            self._event(
                EventType.NOTE_ADDED if r["kind"] == "note" else EventType.FILE_ADDED,
                {"note": str(r["id"]), "public": r["public"]} if r["kind"] == "note" else {"file": str(r["id"])},
            )
            for r in kept
        ]  # fmt: skip

    def _neutral(self, row: Any) -> str:
        case = cases.to_case(row)
        return self._calls.ask(self._pack, lambda: self._pack.closed_without_words(case))

    def _moved(self, before: CaseState, after: CaseState) -> NewEvent:
        if after is CaseState.REOPENED:
            return self._event(EventType.REOPENED, {"why": "opened again in the CSD"})
        return self._event(EventType.FIELDS_CHANGED, {"fields": ["state"], "from": before.value, "to": after.value})

    def _event(self, kind: EventType, data: dict[str, Any]) -> NewEvent:
        return NewEvent(self._case_id, kind, self._now(), data, self._csd.name)


def _kept(text: str) -> str:
    return storable(text)[:_LONGEST]
