"""A person types what an application says, beside its picture: checked, sealed, audited, and assessed again.

It is one transaction: whatever stood on the older reading ends in it, so that nobody can approve that any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.actions import machine, store
from okienko.core.actions.approvals import Actor
from okienko.core.actions.seals import Seals
from okienko.core.applications import SEALED_AS, SignedApplication, fetch, people, seal_text
from okienko.core.audit.vault import Vault
from okienko.core.cases import to_human_review
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.typeddata import Wrong, cleaned, wrong_with
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState, CaseState, EventType

_ACTIONS = "SELECT id, state FROM reset_action WHERE case_id = $1 ORDER BY created_at, id"
_SAVE = """
UPDATE signed_application SET state = 'typed', revision = revision + 1, typists = $2, typed = $3, typed_at = $4, typed_by = $5
WHERE case_id = $1
"""
_OPEN = frozenset({CaseState.REGISTERED, CaseState.HUMAN_REVIEW, CaseState.REOPENED})
_TYPEABLE = frozenset({ActionState.WAITING, ActionState.SUPERSEDED, ActionState.EXPIRED})
"""States of actions that leave the case open for typing: nobody has decided about it yet."""
REASON = "the data of the application were typed beside its picture: the case is decided anew"


class Refusal(StrEnum):
    """Why nothing was typed."""

    CLOSED = "closed"
    """The case is closed."""
    DECIDED = "decided"
    """People or the holder have decided about it already."""
    TAKEN = "taken"
    """Somebody else typed meanwhile."""
    DOCUMENT = "document"
    """It was typed beside another document."""
    INVALID = "invalid"
    """Fields are wrong."""


class TypingRefusedError(PermanentError):
    """Nothing was changed."""

    def __init__(self, why: Refusal, wrong: Mapping[str, Wrong] | None = None) -> None:
        super().__init__(f"the data were not taken: {why.value}; load the case again")
        self.why = why
        self.wrong = dict(wrong or {})


class TypingIn:
    """Takes what people type."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime], vault: Vault, seals: Seals) -> None:
        self._engine = engine
        self._now = now
        self._vault = vault
        self._seals = seals

    async def type(
        self, case_id: UUID, actor: Actor, *, sha256: str, revision: int, values: Mapping[str, str]
    ) -> SignedApplication:
        """Keep the missing data of the document with that SHA-256, seen at that revision, and have the case assessed again.

        Raises TypingRefusedError, PermanentError when the case has no such application, TamperedError when its action was
        changed behind our back.
        """
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            # The action before the case, as everybody locks them.
            waiting = await raw.fetchval(
                "SELECT id FROM reset_action WHERE case_id = $1 AND state = 'waiting'", case_id
            )
            action = await store.fetch(raw, self._seals, waiting, lock=True) if waiting else None
            row = (await cases.fetch(raw, [case_id], lock=True)).get(case_id)
            found = await fetch(raw, case_id, lock=True)
            if row is None or found is None:
                raise PermanentError(f"the case {case_id} has no application to be typed")
            actions = await raw.fetch(_ACTIONS, case_id)
            if why := refusal(row["state"], [a["state"] for a in actions]):
                raise TypingRefusedError(why)
            if sha256 != found.sha256:
                raise TypingRefusedError(Refusal.DOCUMENT)
            if revision != found.revision or any(a["state"] == "waiting" and a["id"] != waiting for a in actions):
                raise TypingRefusedError(Refusal.TAKEN)
            typed = cleaned(values)
            if wrong := wrong_with(typed, found.missing):
                raise TypingRefusedError(Refusal.INVALID, wrong)
            events: list[NewEvent] = []
            if action is not None and action.state is ActionState.WAITING:
                ended = machine.supersede(action, reason=REASON)
                await store.save(raw, ended, now=now, who=actor.who)
                told = {"action": str(waiting), "state": ended.state.value, "origin": actor.origin}
                events.append(NewEvent(case_id, EventType.ACTION_ENDED, now, told, actor.who))
            await self._save(raw, found, actor, typed, now)
            events.insert(0, await self._event(raw, found, actor, typed, now))
            await append(raw, events)
            await to_human_review(raw, case_id)
            await enqueue(connection, Job.ASSESS, [str(case_id)])
        return found

    async def _save(
        self, raw: Any, found: SignedApplication, actor: Actor, typed: Mapping[str, str], now: datetime
    ) -> None:
        sealed = await self._vault.seal(raw, found.case_id, SEALED_AS, seal_text(typed), now)
        typists = people(found.typists, [actor.who], actor.also_known_as)
        await raw.execute(_SAVE, found.case_id, typists, sealed, now, actor.who)

    async def _event(
        self, raw: Any, found: SignedApplication, actor: Actor, typed: Mapping[str, str], now: datetime
    ) -> NewEvent:
        """Which fields, beside which document, by whom, from where; the values are sealed."""
        personal = await self._vault.seal(raw, found.case_id, "audit", seal_text(typed), now)
        data = {
            "fields": list(typed), "document": found.sha256, "revision": found.revision + 1, "origin": actor.origin,
        }  # fmt: skip
        return NewEvent(found.case_id, EventType.APPLICATION_TYPED, now, data, actor.who, personal)


def refusal(case_state: str, action_states: list[str]) -> Refusal | None:
    """Why nobody can type for a case in that state with actions in those, or None."""
    if case_state not in {state.value for state in _OPEN}:
        return Refusal.CLOSED
    if not {state.value for state in _TYPEABLE}.issuperset(action_states):
        return Refusal.DECIDED
    return None
