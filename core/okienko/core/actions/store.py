"""Reset actions as rows. Every method works in the caller's transaction, on an asyncpg connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.core.actions.frozen import Frozen, Step
from okienko.core.actions.machine import Action, Approval, Risk
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState, Procedure

_COLUMNS = (
    "id", "case_id", "backend", "procedure", "risk", "state", "account_ref", "old_login", "new_login", "steps", "must_check",
    "decision_sha256", "digest", "handlers", "created_at", "expires_at", "report",
)  # fmt: skip
_SAVE = """
UPDATE reset_action SET state = $2, not_before = $3, reason = $4, ended_at = $5, ended_by = $6, expires_at = $7 WHERE id = $1
"""
_FETCH = "SELECT * FROM reset_action WHERE id = $1"
_FETCH_LOCKED = "SELECT * FROM reset_action WHERE id = $1 FOR UPDATE"
_ENDED = frozenset(
    {ActionState.DONE, ActionState.REFUSED, ActionState.EXPIRED, ActionState.STOPPED, ActionState.FAILED}
)


class TamperedError(PermanentError):
    """A stored action is not the one that was proposed: its columns and its digest disagree."""


async def insert(raw: Any, actions: Sequence[tuple[Action, Procedure]]) -> None:
    """Write new actions. Their case has no open action yet; a unique index holds that."""
    records = [
        (
            a.frozen.action_id, a.frozen.case_id, a.frozen.backend, procedure.value, a.risk.value, a.state.value,
            a.frozen.account_ref, a.frozen.old_login, a.frozen.new_login, [s.value for s in a.frozen.steps],
            list(a.frozen.must_check), a.frozen.decision_sha256, a.frozen.digest, sorted(a.handlers), a.created_at, a.expires_at,
            a.frozen.report,
        )
        for a, procedure in actions
    ]  # fmt: skip
    await raw.copy_records_to_table("reset_action", records=records, columns=_COLUMNS)


async def fetch(raw: Any, action_id: UUID, *, lock: bool = False) -> Action:
    """One action with its approvals; with `lock` it stays as it is until the transaction ends.

    Raises PermanentError when there is none, TamperedError when a column was changed behind the machine's back.
    """
    row = await raw.fetchrow(_FETCH_LOCKED if lock else _FETCH, action_id)
    if row is None:
        raise PermanentError(f"there is no reset action {action_id}: `okienko actions` lists them")
    approvals = await raw.fetch(
        "SELECT who, at, digest FROM reset_approval WHERE action_id = $1 ORDER BY at", action_id
    )
    try:
        action = to_action(row, approvals)
    except ValueError:  # a word of no enumeration
        action = None
    if action is None or not is_whole(action, row["digest"]):
        raise TamperedError(
            f"the reset action {action_id} was changed in the database after it was proposed: it will not be carried out; "
            "run `okienko audit verify` and find out who did it"
        )
    return action


def is_whole(action: Action, digest: str) -> bool:
    """Whether the columns are still those that were proposed."""
    high = action.frozen.changes_login or Step.RELEASE_PESEL in action.frozen.steps
    return action.frozen.digest == digest and not (high and action.risk is Risk.LOW)


def to_action(row: Any, approvals: Sequence[Any]) -> Action:
    """The record that the machine works on."""
    frozen = Frozen(
        action_id=row["id"],
        case_id=row["case_id"],
        backend=row["backend"],
        account_ref=row["account_ref"],
        old_login=row["old_login"],
        new_login=row["new_login"],
        steps=tuple(Step(s) for s in row["steps"]),
        decision_sha256=row["decision_sha256"],
        must_check=tuple(row["must_check"]),
        report=row["report"],
    )
    return Action(
        frozen=frozen,
        risk=Risk(row["risk"]),
        state=ActionState(row["state"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        approvals=tuple(Approval(a["who"], a["at"], a["digest"]) for a in approvals),
        handlers=frozenset(row["handlers"]),
        subject_names=frozenset(login.lower() for login in (row["old_login"], row["new_login"]) if login),
        not_before=row["not_before"],
        reason=row["reason"],
    )


async def save(raw: Any, action: Action, *, now: datetime, who: str) -> None:
    """Write what a move changed; approvals are added by `add_approval`."""
    ended = action.state in _ENDED
    await raw.execute(
        _SAVE, action.frozen.action_id, action.state.value, action.not_before, action.reason,
        now if ended else None, who if ended else None, action.expires_at,
    )  # fmt: skip


async def add_approval(raw: Any, action_id: UUID, approval: Approval, checked: Sequence[str]) -> None:
    """Write one person's approval with the rules that they say they checked."""
    await raw.execute(
        "INSERT INTO reset_approval (action_id, who, at, digest, checked) VALUES ($1, $2, $3, $4, $5)",
        action_id, approval.who, approval.at, approval.digest, list(checked),
    )  # fmt: skip
