"""The two sides of one case on record: what `twoway.bring_in_step` reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from okienko.core import cases
from okienko.core.calls import Calls
from okienko.core.csd import endings, ledger, shadows
from okienko.core.csd.joined import Joined
from okienko.core.csd.merge import Side, Value
from okienko.core.csd.twoway import Entry, Local, Pair, Plan, Settled, settle
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
SELECT d.id, d.case_id, d.kind, d.remote, d.text, d.author, d.public, d.at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::timestamptz[])
AS d(id, case_id, kind, remote, text, author, public, at)
ON CONFLICT (case_id, kind, remote_id) DO NOTHING RETURNING id, case_id, kind, public
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


class CaseStores:
    """The cases on record. What those under way at the same time read and write is read and written together."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        csd: CsdBackend,
        pack: ProcedurePack,
        message_domain: str,
        calls: Calls,
    ) -> None:
        self.engine = engine
        self.now = now
        self.actor = csd.name
        self._pack = pack
        self._domain = message_domain
        self._calls = calls
        self.load: Joined[UUID, Pair] = Joined(self._load)
        self.foresee: Joined[tuple[UUID, Plan], None] = Joined(self._foresee)
        self.settle: Joined[tuple[UUID, Plan], bool] = Joined(self._settle)

    def of(self, case_id: UUID) -> DbCaseStore:
        """One case's. The caller holds its lock among workers, so that it is never twice in a batch."""
        return DbCaseStore(self, case_id)

    async def _load(self, ids: Sequence[UUID]) -> list[Pair | Exception]:
        async with transaction(self.engine) as connection:
            raw = await raw_connection(connection)
            rows = await cases.fetch(raw, ids)
            kept = await shadows.fetch(raw, ids)
            sides = await shadows.local(raw, list(rows.values()))
        return [_pair(case_id, rows[case_id], kept.get(case_id), sides[case_id]) for case_id in ids]

    async def _foresee(self, plans: Sequence[tuple[UUID, Plan]]) -> list[None | Exception]:
        async with transaction(self.engine) as connection:
            raw = await raw_connection(connection)
            await shadows.sending(raw, ((case_id, plan.sending) for case_id, plan in plans))
            await ledger.write(raw, ((i, plan.shadow.revision, plan.foreseen) for i, plan in plans), self.now())
        return [None] * len(plans)

    async def _settle(self, plans: Sequence[tuple[UUID, Plan]]) -> list[bool | Exception]:
        now, plan_of = self.now(), dict(plans)
        async with transaction(self.engine) as connection:
            raw = await raw_connection(connection)
            rows = await cases.fetch(raw, list(plan_of), lock=True)
            sides = await shadows.local(raw, list(rows.values()))
            done = {case_id: settle(plan_of[case_id], sides[case_id]) for case_id in rows}
            notices = Notices(self._pack, self._domain, now)
            await self._fields(raw, rows, done, notices)
            await self._states(connection, raw, rows, done, plan_of, notices)
            notices.events += await self._keep(raw, plan_of)
            await ledger.write(raw, ((i, plan_of[i].shadow.revision, d.conflicts) for i, d in done.items()), now)
            await shadows.save(raw, ((i, d.shadow) for i, d in done.items()), now)
            await notices.write(connection, raw)
            await append(raw, notices.events)
        return [not done[case_id].again for case_id, _ in plans]

    async def _fields(self, raw: Any, rows: Mapping[UUID, Any], done: Mapping[UUID, Settled], notices: Notices) -> None:
        written: list[tuple[Any, ...]] = []
        for case_id, what in done.items():
            if what.fields:
                values: Mapping[str, Value] = {n: rows[case_id][n] for n in shadows.FIELDS} | dict(what.fields)
                written.append((case_id, *(values[name] for name in shadows.FIELDS)))
                notices.events.append(self.event(case_id, EventType.FIELDS_CHANGED, {"fields": sorted(what.fields)}))
        if written:
            await raw.executemany(_WRITE, written)

    async def _states(
        self,
        connection: AsyncConnection,
        raw: Any,
        rows: Mapping[UUID, Any],
        done: Mapping[UUID, Settled],
        plan_of: Mapping[UUID, Plan],
        notices: Notices,
    ) -> None:
        ended: list[tuple[Any, str]] = []
        moved: list[tuple[UUID, str]] = []
        for case_id, what in done.items():
            row = rows[case_id]
            before = CaseState(row["state"])
            if what.state is before:
                continue
            if what.state is CaseState.CLOSED:
                ended.append((row, plan_of[case_id].solution.strip() or self._neutral(row)))
            else:
                moved.append((case_id, move(before, what.state).value))
                notices.events.append(self._moved(case_id, before, what.state))
        if moved:
            await raw.executemany(_STATE, moved)
        await endings.close(
            connection, raw, ended, who=self.actor, notices=notices, calls=self._calls, pack=self._pack, now=self.now()
        )

    async def _keep(self, raw: Any, plan_of: Mapping[UUID, Plan]) -> list[NewEvent]:
        """Keep what people wrote and added there; each is an event, without its words."""
        now = self.now()
        new: list[tuple[Any, ...]] = [
            (uuid4(), i, "note", n.id, _kept(n.text), _kept(n.author), n.public, n.at)
            for i, plan in plan_of.items() for n in plan.notes
        ]  # fmt: skip
        new += [
            (uuid4(), i, "file", f.id, _kept(f.filename), "", False, now)
            for i, plan in plan_of.items() for f in plan.files
        ]  # fmt: skip
        if not new:
            return []
        kept = await raw.fetch(_NOTES, *(list(column) for column in zip(*new, strict=True)))
        return [
            self.event(r["case_id"], EventType.NOTE_ADDED, {"note": str(r["id"]), "public": r["public"]})
            if r["kind"] == "note"
            else self.event(r["case_id"], EventType.FILE_ADDED, {"file": str(r["id"])})
            for r in kept
        ]

    def _neutral(self, row: Any) -> str:
        case = cases.to_case(row)
        return self._calls.ask(self._pack, lambda: self._pack.closed_without_words(case))

    def _moved(self, case_id: UUID, before: CaseState, after: CaseState) -> NewEvent:
        if after is CaseState.REOPENED:
            return self.event(case_id, EventType.REOPENED, {"why": "opened again in the CSD"})
        data = {"fields": ["state"], "from": before.value, "to": after.value}
        return self.event(case_id, EventType.FIELDS_CHANGED, data)

    def event(self, case_id: UUID, kind: EventType, data: dict[str, Any]) -> NewEvent:
        """What the CSD did."""
        return NewEvent(case_id, kind, self.now(), data, self.actor)


class DbCaseStore:
    """See CaseStore."""

    def __init__(self, stores: CaseStores, case_id: UUID) -> None:
        self._stores = stores
        self._case_id = case_id

    async def load(self) -> Pair:
        """See CaseStore. Raises PermanentError for a case without a ticket."""
        return await self._stores.load.ask(self._case_id)

    async def foresee(self, plan: Plan) -> None:
        """See CaseStore."""
        await self._stores.foresee.ask((self._case_id, plan))

    async def settle(self, plan: Plan) -> bool:
        """See CaseStore."""
        return await self._stores.settle.ask((self._case_id, plan))

    async def missing(self, target: CsdRef | None, *, ours: bool) -> bool:
        """See CaseStore. What was removed, or merged into a ticket that is none of ours, is for a person: the case, unless it is
        closed, waits for them.
        """
        async with transaction(self._stores.engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [self._case_id], lock=True))[self._case_id]
            kept = (await shadows.fetch(raw, [self._case_id]))[self._case_id]
            ref = shadows.ref_of(row, kept)
            number = ref.number if ref else None
            if target is not None and ours:
                await raw.execute(_FOLLOW, self._case_id, target.number, target.id)
                data = {"from": number, "number": target.number}
                await append(raw, [self._stores.event(self._case_id, EventType.TICKET_MOVED, data)])
                return True
            why = "merged" if target is not None else "removed"
            if kept["lost"] == why:
                return False
            await raw.execute(_LOST, self._case_id, why)
            entry = Entry("ticket", number, number, target.number if target else None, Side.OKIENKO, why)
            await ledger.write(raw, [(self._case_id, kept["revision"], [entry])], self._stores.now())
            events = [self._stores.event(self._case_id, EventType.TICKET_LOST, {"number": number, "why": why})]
            state = CaseState(row["state"])
            if state not in (CaseState.CLOSED, CaseState.HUMAN_REVIEW):
                await raw.execute(_STATE, self._case_id, move(state, CaseState.HUMAN_REVIEW).value)
            await append(raw, events)
        return False


def _pair(case_id: UUID, row: Any, kept: Any, side: Local) -> Pair | Exception:
    ref = shadows.ref_of(row, kept)
    if ref is None or kept is None:
        return PermanentError(f"case {case_id} has no ticket to be kept in step with")
    return Pair(ref, side, shadows.to_shadow(kept))


def _kept(text: str) -> str:
    return storable(text)[:_LONGEST]
