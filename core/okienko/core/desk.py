"""What a person at the desk does to cases: look, close with a solution, carry a reset action out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases, closing
from okienko.core.actions import store
from okienko.core.actions.approvals import Actor, Approvals
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Action, ActionRefusedError
from okienko.core.actions.pesels import shown_report
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.database import raw_connection, transaction
from okienko.core.states import move
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState, CaseState

_LIST = """
SELECT c.id, c.csd_number AS number, c.kind, c.procedure, c.state, c.decision::text AS decision, c.subject, c.opened_at, c.closed_at FROM cases c
WHERE ($1::text IS NULL OR c.state = $1) ORDER BY c.seq DESC LIMIT $2
"""
_ACTIONS = "SELECT a.*, c.csd_number AS number FROM reset_action a JOIN cases c ON c.id = a.case_id "
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
        events = await raw.fetch(
            "SELECT at, type, actor, data::text AS data FROM event WHERE case_id = $1 ORDER BY id", case_id
        )
    case = cases.to_case(row)
    lines = [{"at": e["at"], "type": e["type"], "actor": e["actor"], "data": cases.loads(e["data"])} for e in events]
    return {"case": case.model_dump(mode="json"), "events": lines}


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


async def list_actions(engine: AsyncEngine, *, everything: bool) -> list[dict[str, Any]]:
    """Reset actions that are not at their end, oldest first, each with its approvals; with `everything` also the others."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await raw.fetch(
            _ACTIONS + "WHERE a.state = ANY($1::text[]) OR $2 ORDER BY a.created_at, a.id", _OPEN, everything
        )
        approvals = await _approvals(raw, [row["id"] for row in rows])
    return [_action(row, approvals.get(row["id"], [])) for row in rows]


async def show_action(engine: AsyncEngine, action_id: UUID) -> dict[str, Any]:
    """One reset action with its approvals, and the decision on its case. Raises PermanentError when there is none."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        row = await raw.fetchrow(_ACTIONS + "WHERE a.id = $1", action_id)
        if row is None:
            raise PermanentError(f"there is no reset action {action_id}: `okienko actions` lists them")
        approvals = await _approvals(raw, [action_id])
        case = cases.to_case((await cases.fetch(raw, [row["case_id"]]))[row["case_id"]])
    return _action(row, approvals.get(action_id, [])) | {"decision": case.decision.model_dump(mode="json")}


async def _approvals(raw: Any, ids: Sequence[UUID]) -> dict[UUID, list[Any]]:
    found: dict[UUID, list[Any]] = {}
    for row in await raw.fetch(
        "SELECT action_id, who, at, digest, checked FROM reset_approval WHERE action_id = ANY($1::uuid[]) ORDER BY at",
        ids,
    ):
        found.setdefault(row["action_id"], []).append(row)
    return found


def _action(row: Any, approvals: Sequence[Any]) -> dict[str, Any]:
    try:
        whole = store.is_whole(store.to_action(row, approvals), row["digest"])
    except ValueError:
        whole = False
    shown = {name: value for name, value in row.items() if name != "stop_sha256"} | {"report": _report(row["report"])}
    given = [{"who": a["who"], "at": a["at"], "checked": a["checked"]} for a in approvals]
    # An erased action has no digest any more.
    return shown | {"approvals": given, "tampered": bool(row["digest"]) and not whole}


def _report(text: str | None) -> dict[str, Any] | None:
    try:
        report = shown_report(text)
    except ValueError:  # changed in the database: the action says so
        return None
    return report.model_dump(mode="json") if report else None


async def do_by_hand(
    approvals: Approvals, action_id: UUID, actor: Actor, *, checked: Sequence[str], solution: str
) -> Action:
    """Approve the action as this person, if they have not yet, and mark it done, because they carried it out in their own tool.

    Raises ActionRefusedError when other people have to approve it first (this person's approval then stands), when its
    cool-down is not over, or when okienko carries it out by itself.
    """
    action = await approvals.find(action_id)
    if Step.BY_HAND not in action.frozen.steps:
        raise ActionRefusedError("okienko carries this action out by itself: `okienko action approve` is all it needs")
    if action.state is ActionState.WAITING and actor.who not in action.agreed_by:
        action = await approvals.approve(action_id, actor, digest=action.frozen.digest, checked=checked)
    if action.state is ActionState.WAITING:
        missing = approvals.wanted(action) - len(action.agreed_by)
        raise ActionRefusedError(
            f"it is a {action.risk.value} risk: {missing} more and different {'person has' if missing == 1 else 'people have'} to approve "
            f"it first, with: okienko action approve {action_id} --digest {action.frozen.digest[:12]}; approved so far by "
            f"{', '.join(sorted(action.agreed_by))}. Then mark it done. Nothing else was changed"
        )
    return await approvals.done_by_hand(action_id, actor, solution=solution)


async def _find(raw: Any, key: str) -> UUID:
    case_id = await cases.find(raw, key)
    if case_id is None:
        raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
    return case_id
