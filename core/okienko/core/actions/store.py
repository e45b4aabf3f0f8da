"""Reset actions as rows. Every method works in the caller's transaction, on an asyncpg connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.core.actions.frozen import Frozen, Step
from okienko.core.actions.machine import Action, Approval, Risk
from okienko.core.actions.seals import Seal, SealKind, Seals, Trust, moment
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.schemas import ActionState, Procedure

_COLUMNS = (
    "id", "case_id", "backend", "procedure", "risk", "state", "account_ref", "old_login", "new_login", "steps", "must_check",
    "decision_sha256", "digest", "handlers", "created_at", "expires_at",
    "nonce", "report", "seal", "sealed_by",
)  # fmt: skip
_SAVE = """
UPDATE reset_action SET state = $2, not_before = $3, reason = $4, ended_at = $5, ended_by = $6, expires_at = $7 WHERE id = $1
"""
_FETCH = "SELECT * FROM reset_action WHERE id = $1"
_FETCH_LOCKED = "SELECT * FROM reset_action WHERE id = $1 FOR UPDATE"
APPROVALS = """
SELECT action_id, who, at, digest, checked, names, decision, seal, sealed_by FROM reset_approval
WHERE action_id = ANY($1::uuid[]) ORDER BY at, who
"""
"""Approvals of some actions, as `to_action` wants them."""
_ENDED_BEFORE = (
    "SELECT EXISTS (SELECT FROM audit_entry WHERE case_id = $1 AND action = 'action_ended' AND data->>'action' = $2)"
)
ENDED = frozenset(
    {
        ActionState.DONE, ActionState.REFUSED, ActionState.EXPIRED, ActionState.STOPPED, ActionState.FAILED,
        ActionState.SUPERSEDED,
    }
)  # fmt: skip


class TamperedError(PermanentError):
    """A stored action is not the one that was proposed: its columns and its digest disagree."""


async def insert(raw: Any, seals: Seals, actions: Sequence[tuple[Action, Procedure]]) -> None:
    """Write new actions, sealed. Their case has no open action yet; a unique index holds that."""
    records = [
        (
            a.frozen.action_id, a.frozen.case_id, a.frozen.backend, procedure.value, a.risk.value, a.state.value,
            a.frozen.account_ref, a.frozen.old_login, a.frozen.new_login, [s.value for s in a.frozen.steps],
            list(a.frozen.must_check), a.frozen.decision_sha256, a.frozen.digest, sorted(a.handlers), a.created_at, a.expires_at,
            a.frozen.nonce or None, a.frozen.report, seal.mac, seal.key,
        )
        for a, procedure in actions
        for seal in [seals.make(SealKind.PROPOSAL, proposal_parts(a))]
    ]  # fmt: skip
    await raw.copy_records_to_table("reset_action", records=records, columns=_COLUMNS)


async def fetch(raw: Any, seals: Seals, action_id: UUID, *, lock: bool = False) -> Action:
    """One action with its approvals; with `lock` it stays as it is until the transaction ends.

    Raises PermanentError when there is none, TamperedError when a column was changed behind the machine's back,
    MisconfiguredError when the keyring lacks the key that it was sealed with. Approvals come with what their seals say.
    """
    row = await raw.fetchrow(_FETCH_LOCKED if lock else _FETCH, action_id)
    if row is None:
        raise PermanentError(f"there is no reset action {action_id}: `okienko actions` lists them")
    approvals = await raw.fetch(APPROVALS, [action_id])
    try:
        action = to_action(row, approvals, seals)
    except ValueError:  # a word of no enumeration
        action = None
    if action is not None and action.trust is Trust.KEY_MISSING:
        raise MisconfiguredError(
            f"{seals.where} lacks the anchor key {row['sealed_by']}, with which the reset action {action_id} was sealed: put its line "
            "back; if no keyring of yours ever had it, the database was changed: run `okienko audit verify`"
        )
    if action is None or not is_whole(action, row["digest"]):
        raise TamperedError(
            f"the reset action {action_id} was changed in the database after it was proposed: it will not be carried out; "
            "run `okienko audit verify` and find out who did it"
        )
    return action


async def counted(raw: Any, seals: Seals, digests: Mapping[UUID, str]) -> dict[UUID, list[tuple[str, frozenset[str]]]]:
    """Who approved each of some actions by its digest, in approvals that nobody made up. Whom an action bars is not asked here."""
    found: dict[UUID, list[tuple[str, frozenset[str]]]] = {}
    for row in await raw.fetch(APPROVALS, list(digests)):
        given = to_approval(row, seals)
        if given.trust is Trust.GENUINE and given.digest == digests[row["action_id"]]:
            found.setdefault(row["action_id"], []).append(given.person)
    return found


async def refuse_ended(raw: Any, action: Action) -> None:
    """Raise TamperedError when the audit tells that the action ended: somebody has put its state back."""
    if await raw.fetchval(_ENDED_BEFORE, action.frozen.case_id, str(action.frozen.action_id)):
        raise TamperedError(
            f"the reset action {action.frozen.action_id} was stopped, refused or ended before, and its state was put back in the "
            "database: it will not be carried out; run `okienko audit verify` and find out who did it"
        )


async def seal_open(raw: Any, seals: Seals) -> int:
    """Seal the open actions that an okienko of before seals proposed; returns how many. Only the upgrade does this, once."""
    rows = await raw.fetch("SELECT * FROM reset_action WHERE state = 'waiting' AND seal IS NULL ORDER BY id FOR UPDATE")
    made = [
        (row["id"], seal.mac, seal.key)
        for row in rows
        if is_whole(action := to_action(row, (), seals), row["digest"])
        for seal in [seals.make(SealKind.PROPOSAL, proposal_parts(action))]
    ]
    await raw.executemany("UPDATE reset_action SET seal = $2, sealed_by = $3 WHERE id = $1", made)
    return len(made)


def is_whole(action: Action, digest: str) -> bool:
    """Whether the columns are still those that were proposed."""
    high = action.frozen.changes_login or Step.RELEASE_PESEL in action.frozen.steps
    right = action.frozen.digest == digest and action.trust is not Trust.FORGED
    return right and not (high and action.risk is Risk.LOW)


def proposal_parts(action: Action) -> list[Any]:
    """What the seal of a proposal is over: all that an approval rests on and that no move changes."""
    return [
        str(action.frozen.action_id), action.frozen.digest, action.risk.value, sorted(action.handlers), moment(action.created_at),
    ]  # fmt: skip


def approval_parts(action_id: UUID, a: Approval) -> list[Any]:
    """What the seal of an approval is over: who, with all their names, said yes to what, when, having checked what."""
    return [str(action_id), a.digest, a.decision, a.who, sorted(a.names), moment(a.at), list(a.checked)]


def seal_of(seals: Seals, action_id: UUID, approval: Approval) -> Seal:
    """The seal of an approval that is being given."""
    return seals.make(SealKind.APPROVAL, approval_parts(action_id, approval))


def to_approval(row: Any, seals: Seals) -> Approval:
    """One approval with what its seal says."""
    given = Approval(
        row["who"], row["at"], row["digest"], frozenset(row["names"]), row["decision"], tuple(row["checked"]),
    )  # fmt: skip
    parts = approval_parts(row["action_id"], given)
    return replace(given, trust=seals.look(SealKind.APPROVAL, parts, row["sealed_by"], row["seal"]))


def to_action(row: Any, approvals: Sequence[Any], seals: Seals) -> Action:
    """The record that the machine works on, with what its seals say. Raises ValueError for a word of no enumeration."""
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
        nonce=row["nonce"] or b"",
        report=row["report"],
    )
    action = Action(
        frozen=frozen,
        risk=Risk(row["risk"]),
        state=ActionState(row["state"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        approvals=tuple(to_approval(a, seals) for a in approvals),
        handlers=frozenset(row["handlers"]),
        subject_names=frozenset(login.lower() for login in (row["old_login"], row["new_login"]) if login),
        not_before=row["not_before"],
        reason=row["reason"],
    )
    trust = seals.look(SealKind.PROPOSAL, proposal_parts(action), row["sealed_by"], row["seal"])
    return replace(action, trust=trust)


async def save(raw: Any, action: Action, *, now: datetime, who: str) -> None:
    """Write what a move changed; approvals are added by `add_approval`."""
    ended = action.state in ENDED
    await raw.execute(
        _SAVE, action.frozen.action_id, action.state.value, action.not_before, action.reason,
        now if ended else None, who if ended else None, action.expires_at,
    )  # fmt: skip


async def add_approval(raw: Any, action_id: UUID, approval: Approval, seal: Seal) -> None:
    """Write one person's approval with its seal."""
    await raw.execute(
        "INSERT INTO reset_approval (action_id, who, at, digest, checked, names, decision, seal, sealed_by) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        action_id, approval.who, approval.at, approval.digest, list(approval.checked), sorted(approval.names), approval.decision,
        seal.mac, seal.key,
    )  # fmt: skip
