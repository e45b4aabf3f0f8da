"""What a person at the desk does to cases: look, close with a solution, carry a reset action out by hand."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases, closing
from okienko.core.actions import store
from okienko.core.actions.approvals import Actor, Approvals
from okienko.core.actions.frozen import Step, decision_sha256, shown_code
from okienko.core.actions.machine import Action, ActionRefusedError
from okienko.core.actions.pesels import shown_report
from okienko.core.actions.seals import Seals, Trust
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.csd import ledger, outbox, shadows
from okienko.core.database import raw_connection, transaction
from okienko.core.states import move
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState, CaseState

_LIST = """
SELECT c.id, c.csd_number AS number, c.kind, c.procedure, c.state, c.decision::text AS decision, c.subject, c.opened_at, c.closed_at FROM cases c
WHERE ($1::text IS NULL OR c.state = $1) ORDER BY c.seq DESC LIMIT $2
"""
_NOTES = "SELECT kind, remote_id, text, author, public, at FROM csd_note WHERE case_id = $1 ORDER BY at, id"
_ACTIONS = """
SELECT a.*, c.csd_number AS number, c.repeats + (SELECT count(*) FROM cases h WHERE h.held_by = a.id) AS further_requests
FROM reset_action a JOIN cases c ON c.id = a.case_id
"""
_OPEN = [state.value for state in (ActionState.WAITING, ActionState.COOLING, ActionState.READY, ActionState.EXECUTING)]


async def list_cases(engine: AsyncEngine, *, state: CaseState | None, limit: int) -> list[Any]:
    """The newest cases first."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows: list[Any] = await raw.fetch(_LIST, state.value if state else None, limit)
    return rows


async def show_case(engine: AsyncEngine, key: str) -> dict[str, Any]:
    """A case with its time line, by id or number. Raises PermanentError when there is none."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        case_id = await _find(raw, key)
        row = (await cases.fetch(raw, [case_id]))[case_id]
        kept = (await shadows.fetch(raw, [case_id])).get(case_id)
        owed = (await outbox.load(raw, [case_id]))[case_id]
        notes = await raw.fetch(_NOTES, case_id)
        conflicts = await ledger.of_case(raw, case_id)
        events = await raw.fetch(
            "SELECT at, type, actor, data::text AS data FROM event WHERE case_id = $1 ORDER BY id", case_id
        )
    case = cases.to_case(row)
    lines = [{"at": e["at"], "type": e["type"], "actor": e["actor"], "data": cases.loads(e["data"])} for e in events]
    csd = {
        "fields": {name: row[name] for name in shadows.FIELDS},
        "waits": [item.kind.value for item in owed if item.state == "waiting"],
        "followed": kept["followed"] if kept is not None else None,
        "lost": kept["lost"] if kept is not None else None,
        "notes": [dict(note) for note in notes],
        "conflicts": conflicts,
    }
    return {"case": case.model_dump(mode="json"), "events": lines, "csd": csd}


async def request_close(engine: AsyncEngine, key: str, solution: str, who: str, now: datetime) -> UUID:
    """Ask for a case to be closed: the CSD is told and mail 2 goes out by jobs. Raises PermanentError when it cannot be."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        case_id = await _find(raw, key)
        row = (await cases.fetch(raw, [case_id], lock=True))[case_id]
        if row["state"] == CaseState.DECIDED:
            raise PermanentError("the case waits for its registration in the CSD: close it afterwards")
        move(CaseState(row["state"]), CaseState.CLOSED)
        if action := await raw.fetchval(
            "SELECT id FROM reset_action WHERE case_id = $1 AND state = ANY($2::text[])", case_id, _OPEN
        ):
            raise PermanentError(
                f"its reset action {action} is not at its end: `okienko action done` or `refuse` closes the case as well"
            )
        await closing.request_close(connection, raw, case_id, solution, who, now)
        record(raw, [NewEntry(AuditAction.CLOSE_REQUESTED, now, who, case_id)])
    return case_id


async def list_actions(engine: AsyncEngine, seals: Seals, *, everything: bool) -> list[dict[str, Any]]:
    """Reset actions that are not at their end, oldest first, each with its approvals; with `everything` also the others."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await raw.fetch(
            _ACTIONS + "WHERE a.state = ANY($1::text[]) OR $2 ORDER BY a.created_at, a.id", _OPEN, everything
        )
        approvals = await _approvals(raw, [row["id"] for row in rows])
    return [_action(row, approvals.get(row["id"], []), seals) for row in rows]


async def show_action(engine: AsyncEngine, seals: Seals, action_id: UUID) -> dict[str, Any]:
    """One reset action with its approvals, the decision on its case, and the code of both, by which they are approved.

    Raises PermanentError when there is none.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        row = await raw.fetchrow(_ACTIONS + "WHERE a.id = $1", action_id)
        if row is None:
            raise PermanentError(f"there is no reset action {action_id}: `okienko actions` lists them")
        approvals = await _approvals(raw, [action_id])
        case = cases.to_case((await cases.fetch(raw, [row["case_id"]]))[row["case_id"]])
    code = shown_code(row["digest"], decision_sha256(case.decision))
    shown = _action(row, approvals.get(action_id, []), seals)
    return shown | {"decision": case.decision.model_dump(mode="json"), "code": code}


async def _approvals(raw: Any, ids: Sequence[UUID]) -> dict[UUID, list[Any]]:
    found: dict[UUID, list[Any]] = {}
    for row in await raw.fetch(store.APPROVALS, ids):
        found.setdefault(row["action_id"], []).append(row)
    return found


_OURS = frozenset({"stop_sha256", "nonce", "seal", "sealed_by"})
"""Columns that are nobody's to see."""


def _action(row: Any, approvals: Sequence[Any], seals: Seals) -> dict[str, Any]:
    try:
        action = store.to_action(row, approvals, seals)
    except ValueError:  # a word of no enumeration
        action = None
    shown = {name: value for name, value in row.items() if name not in _OURS} | {"report": _report(row["report"])}
    counting = {a.who for a in action.counting} if action else set()
    # An erased action has no digest any more, and nothing to hold its approvals against.
    erased = not row["digest"]
    given = [
        {"who": a["who"], "at": a["at"], "checked": a["checked"], "counts": a["who"] in counting or erased}
        for a in approvals
    ]
    forged = [a.who for a in action.approvals if a.trust in (Trust.FORGED, Trust.KEY_MISSING)] if action else []
    tampered = not erased and (action is None or not store.is_whole(action, row["digest"]))
    return shown | {
        "approvals": given, "agreed": len(action.agreed_by) if action else 0, "tampered": tampered,
        "sealed": action is not None and action.trust is Trust.GENUINE, "forged": [] if erased else forged,
    }  # fmt: skip


def _report(text: str | None) -> dict[str, Any] | None:
    try:
        report = shown_report(text)
    except ValueError:  # changed in the database: the action says so
        return None
    return report.model_dump(mode="json") if report else None


async def do_by_hand(
    approvals: Approvals, action_id: UUID, actor: Actor, *, code: str | None, checked: Sequence[str], solution: str
) -> Action:
    """Approve the action as this person, if they have not yet, and mark it done, because they carried it out in their own tool.

    `code` is that of `show_action`: what they saw is what they approve. Raises ActionRefusedError when it is another one, when other
    people have to approve it first (this person's approval then stands), when its cool-down is not over, or when okienko carries it
    out by itself.
    """
    action, _, _ = await approvals.shown(action_id)
    if Step.BY_HAND not in action.frozen.steps:
        raise ActionRefusedError("okienko carries this action out by itself: `okienko action approve` is all it needs")
    if action.state is ActionState.WAITING and not action.approved_as(actor.who, approvals.names(actor)):
        action = await approve_shown(approvals, action_id, actor, code=code, checked=checked)
    if action.state is ActionState.WAITING:
        missing = approvals.wanted(action) - len(action.agreed_by)
        raise ActionRefusedError(
            f"it is a {action.risk.value} risk: {missing} more and different {'person has' if missing == 1 else 'people have'} to approve "
            f"it first, after `okienko action show {action_id}`, which tells them the command; approved so far by "
            f"{', '.join(sorted(action.agreed_by))}. Then mark it done. Nothing else was changed"
        )
    return await approvals.done_by_hand(action_id, actor, solution=solution)


async def approve_shown(
    approvals: Approvals, action_id: UUID, actor: Actor, *, code: str | None, checked: Sequence[str]
) -> Action:
    """Approve what `show_action` showed with that code. Raises ActionRefusedError when the action or its decision is another one now."""
    action, decision, now = await approvals.shown(action_id)
    if code is None or not hmac.compare_digest(code.strip().lower().encode(), now.encode()):
        raise ActionRefusedError(
            f"the action is not the one that you were shown: `okienko action show {action_id}` shows it and says its --code"
        )
    return await approvals.approve(action_id, actor, digest=action.frozen.digest, decision=decision, checked=checked)


async def _find(raw: Any, key: str) -> UUID:
    case_id = await cases.find(raw, key)
    if case_id is None:
        raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
    return case_id
