"""How often an account may be looked up and acted on, so that nobody floods its holder, the directory or the administrators.

A request whose sender is proved to be the account's, or whose application bears a valid signature, is counted apart from those
that anybody could have written: nobody uses up what belongs to the holder.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from okienko.core.actions import machine, store
from okienko.core.actions.machine import Action
from okienko.core.actions.seals import Seals
from okienko.core.cases import to_human_review
from okienko.core.events import ACTOR, NewEvent, append
from okienko.core.limits import Allowance, Limit
from okienko.plugins.errors import PermanentError
from okienko.schemas import ActionState, EventType

# Two workers that assess two requests for one account at the same moment wait for each other here.
_LOCK_ACCOUNT = "SELECT pg_advisory_xact_lock(hashtextextended('okienko account ' || $1 || ' ' || $2, 0))"
_OPEN = "state IN ('waiting', 'cooling', 'ready', 'executing')"
_OTHERS = f"""
SELECT count(*) FILTER (WHERE created_at >= $3 AND state <> 'superseded' AND (NOT $4 OR cardinality(must_check) = 0)) AS today,
       (array_agg(id) FILTER (WHERE {_OPEN}))[1] AS open
FROM reset_action WHERE backend = $1 AND account_ref = $2
"""  # noqa: S608  a constant
_BY_HAND = f"""
SELECT id FROM reset_action WHERE backend = $1 AND account_ref IS NULL AND lower(old_login) = $2 AND {_OPEN} LIMIT 1
"""  # noqa: S608  a constant
_TOLD = "SELECT EXISTS (SELECT FROM notification WHERE to_address = $1 AND kind = 'login_change' AND created_at > $2)"
_LOOKED_UP = "SELECT EXISTS (SELECT FROM audit_entry WHERE case_id = $1 AND action = 'looked_up')"
_DAY = timedelta(hours=24)
_GAVE_WAY = "a request that is proved and meets every rule came in for the same account"


@dataclass(frozen=True, slots=True)
class Held:
    """Why a request gets no reset action of its own."""

    why: str
    limit: Limit | None = None
    """The limit that it came up against, if any."""
    action_id: UUID | None = None
    """The open action for the same account, beside which the request is shown."""


class AccountLimits:
    """The limits on one account in a day."""

    def __init__(self, seals: Seals, *, actions_per_day: int, lookups_per_day: int) -> None:
        self._seals = seals
        self._actions = actions_per_day
        self._lookups = Allowance(Limit.LOOKUPS_DAY, lookups_per_day, _DAY)

    async def may_look_up(
        self, raw: Any, backend: str, login: str, *, case_id: UUID, standing: str, now: datetime
    ) -> bool:
        """Count a case's look at an account; a case that looks again, after a failure, has been counted.

        `standing`: who stands for the request by proof or signature, each of whom has an allowance of their own.
        """
        if await raw.fetchval(_LOOKED_UP, case_id):
            return True
        return await self._lookups.take(raw, now, backend, login.lower(), standing)

    @property
    def too_many_lookups(self) -> Held:
        """What a case is told whose look-up was not allowed."""
        return Held(
            f"the account has been looked up for {self._lookups.burst} requests within a day, which is the limit",
            Limit.LOOKUPS_DAY,
        )

    async def held(
        self,
        raw: Any,
        backend: str,
        ref: str | None,
        login: str,
        *,
        standing: str,
        changes: bool,
        sure: UUID | None,
        now: datetime,
    ) -> Held | None:
        """Why the account gets no further action, or None. Holds until the transaction ends.

        `ref`: the account, None without a look-up. `login` is the account's own or, without a look-up, the one that
        is claimed; `changes`: it would get another one. `sure`: the id that the action would have, when somebody
        stands for the request and every rule is met. Neither an open action that nobody proved and nobody approved,
        nor how many of those there were today, keeps such a request waiting.
        """
        name = ref if ref else f"login {login.lower()}"
        await raw.execute(_LOCK_ACCOUNT, backend, name)
        yielding: Action | None = None
        if ref is not None:
            day = now.replace(hour=0, minute=0, second=0, microsecond=0)
            others = await raw.fetchrow(_OTHERS, backend, ref, day, sure is not None)
            if others["open"]:
                yielding = await _yielding(raw, self._seals, others["open"], now) if sure else None
                if yielding is None:
                    why = "another case has an open reset action for the account"
                    return Held(why, Limit.ACCOUNT_OPEN, others["open"])
            if others["today"] >= self._actions:
                why = f"the account has had {others['today']} reset action(s) today, which is the limit"
                return Held(why, Limit.ACCOUNT_DAY)
        # Nobody looked: the claim may be false, and then it must not stand in the holder's own way.
        elif not standing and (other := await raw.fetchval(_BY_HAND, backend, login.lower())):
            return Held("another case has an open reset action for the login", Limit.ACCOUNT_OPEN, other)
        if changes and await raw.fetchval(_TOLD, login, now - _DAY):
            why = "the account's holder was told of a change of login within a day: one such notice a day is the limit"
            return Held(why, Limit.NOTICE_DAY)
        if yielding and sure:
            await _yield_to(raw, yielding, sure, now)
        return None


async def _yielding(raw: Any, seals: Seals, action_id: UUID, now: datetime) -> Action | None:
    """The open action as it ends, if it waits for what a person would have to check and nobody has approved it; else None."""
    try:
        action = await store.fetch(raw, seals, action_id, lock=True)
        if action.state is not ActionState.WAITING or action.approvals or not action.frozen.must_check:
            return None
        return machine.refuse(action, reason=_GAVE_WAY, now=now)
    except PermanentError:  # expired or tampered with: a person looks at both
        return None


async def _yield_to(raw: Any, ended: Action, action_id: UUID, now: datetime) -> None:
    """End it; its case waits for a person, beside the action that takes its place."""
    case_id = ended.frozen.case_id
    await store.save(raw, ended, now=now, who=ACTOR)
    await raw.execute("UPDATE cases SET held_by = $2 WHERE id = $1", case_id, action_id)
    data = {"action": str(ended.frozen.action_id), "state": ended.state.value, "why": _GAVE_WAY}
    await append(raw, [NewEvent(case_id, EventType.ACTION_ENDED, now, data)])
    await to_human_review(raw, case_id)
