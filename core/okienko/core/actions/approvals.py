"""What people decide about reset actions: yes, no, stop, and done by hand. Each in one transaction with its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from okienko.core import cases
from okienko.core.actions import machine, store
from okienko.core.actions.alarm import raise_alarm
from okienko.core.actions.frozen import Step, decision_sha256, shown_code
from okienko.core.actions.links import LinkKind, Links
from okienko.core.actions.machine import Action, ActionPolicy, ActionRefusedError, ForgedApprovalError
from okienko.core.actions.people import People
from okienko.core.actions.seals import Seals
from okienko.core.cases import to_human_review
from okienko.core.closing import request_close
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.plugins.ports import NotificationContext, ProcedurePack
from okienko.schemas import ActionState, Address, Decision, EventType, NotificationKind


@dataclass(frozen=True, slots=True)
class Actor:
    """Who decides, and from where, as the audit log will say."""

    who: str
    """Lasting name: the OIDC subject with its issuer, `local:NAME` or `cli:NAME`."""
    also_known_as: tuple[str, ...] = ()
    """E-mail addresses of the same person, so that nobody decides about their own account."""
    origin: str = ""
    """Where the request came from: an address, or `cli`."""


class Approvals:
    """The administrators' and the holder's side of reset actions."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        policy: ActionPolicy,
        pack: ProcedurePack,
        links: Links,
        message_domain: str,
        seals: Seals,
        people: People | None = None,
    ) -> None:
        self.seals = seals
        self._people = people or People()
        self._engine = engine
        self._now = now
        self._policy = policy
        self._pack = pack
        self._links = links
        self._domain = message_domain

    async def approve(
        self, action_id: UUID, actor: Actor, *, digest: str, decision: str, checked: Sequence[str]
    ) -> Action:
        """One person's yes to what they were shown: the action with that digest, and the decision with that SHA-256.

        Raises ActionRefusedError saying why it does not count, ForgedApprovalError (after the alarm) when another approval of the
        action was never given. `checked` names the rules that nobody could decide and that this person says they checked: all are
        needed.
        """
        try:
            return await self._approve(action_id, actor, digest, decision, checked)
        except ForgedApprovalError as error:
            await raise_alarm(self._engine, self.seals, action_id, error, self._now(), actor.who)
            raise

    async def _approve(
        self, action_id: UUID, actor: Actor, digest: str, decision: str, checked: Sequence[str]
    ) -> Action:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self.seals, action_id, lock=True)
            if missing := [rule for rule in action.frozen.must_check if rule not in checked]:
                raise ActionRefusedError(
                    f"these rules could not be decided and must be checked by you first: {', '.join(missing)}"
                )
            if unknown := [rule for rule in checked if rule not in action.frozen.must_check]:
                raise ActionRefusedError(f"there is nothing to check about: {', '.join(unknown)}")
            action = machine.approve(
                action, self._policy, who=actor.who, also_known_as=self.names(actor), digest=digest, decision=decision, now=now,
                checked=checked,
            )  # fmt: skip
            case_id = action.frozen.case_id
            if decision_sha256(await self._decision(raw, case_id)) != decision:
                raise ActionRefusedError(
                    "the case's decision is not the one that the action was proposed by: refuse it, the person asks again",
                    key="changed",
                )
            await store.refuse_ended(raw, action)
            seal = store.seal_of(self.seals, action_id, action.approvals[-1])
            await store.add_approval(raw, action_id, action.approvals[-1], seal)
            await store.save(raw, action, now=now, who=actor.who)
            data = {
                "action": str(action_id), "digest": digest, "checked": list(checked), "origin": actor.origin, "seal": seal.mac.hex(),
            }  # fmt: skip
            events = [NewEvent(case_id, EventType.ACTION_APPROVED, now, data, actor.who)]
            if action.state is ActionState.COOLING:
                events += await self._cool(connection, raw, action, now)
            if action.state is ActionState.READY and Step.BY_HAND not in action.frozen.steps:
                await enqueue(connection, Job.EXECUTE, [str(action_id)])
            await append(raw, events)
        return action

    async def _decision(self, raw: Any, case_id: UUID) -> Decision:
        return cases.to_case((await cases.fetch(raw, [case_id]))[case_id]).decision

    def names(self, actor: Actor) -> frozenset[str]:
        """Every name of the person, with those of OKIENKO_PEOPLE."""
        return self._people.names(actor.who, actor.also_known_as)

    async def shown(self, action_id: UUID) -> tuple[Action, str, str]:
        """The action, the SHA-256 of its case's decision as it is now, and the short code of both."""
        async with transaction(self._engine, snapshot=True) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self.seals, action_id)
            decision = decision_sha256(await self._decision(raw, action.frozen.case_id))
        return action, decision, shown_code(action.frozen.digest, decision)

    async def _cool(self, connection: AsyncConnection, raw: Any, action: Action, now: datetime) -> list[NewEvent]:
        """Tell the holder at the old address, with the stop link, and come back when the cool-down is over."""
        case_id, action_id = action.frozen.case_id, action.frozen.action_id
        row = (await cases.fetch(raw, [case_id]))[case_id]
        case = cases.to_case(row)
        notices = Notices(self._pack, self._domain, now)
        notice = notices.add(
            row,
            NotificationKind.LOGIN_CHANGE,
            lambda i: NotificationContext(
                case, link=self._links.marker(LinkKind.STOP, i), new_login=action.frozen.new_login,
                deadline=action.not_before,
            ),
            to=Address(address=action.frozen.old_login),
        )  # fmt: skip
        await notices.write(connection, raw)
        if notice is not None:
            fingerprint = self._links.fingerprint(self._links.token(LinkKind.STOP, notice))
            await raw.execute("UPDATE reset_action SET stop_sha256 = $2 WHERE id = $1", action_id, fingerprint)
        wait = (action.not_before or now) - now
        # For an action by hand it only ends the cool-down.
        await enqueue(connection, Job.EXECUTE, [str(action_id)], delay=max(wait, timedelta()))
        return notices.events

    async def find(self, action_id: UUID) -> Action:
        """The action as it stands. Raises PermanentError when there is none, TamperedError when it was changed."""
        async with transaction(self._engine) as connection:
            return await store.fetch(await raw_connection(connection), self.seals, action_id)

    def wanted(self, action: Action) -> int:
        """How many different people must approve it."""
        return self._policy.approvals[action.risk]

    async def refuse(self, action_id: UUID, actor: Actor, *, reason: str, solution: str) -> Action:
        """Say no: the case is closed with `solution`, which the person reads; `reason` is for the file."""
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = machine.refuse(await store.fetch(raw, self.seals, action_id, lock=True), reason=reason, now=now)
            await self._end(raw, action, actor, now)
            await request_close(connection, raw, action.frozen.case_id, solution, actor.who, now)
        return action

    async def done_by_hand(self, action_id: UUID, actor: Actor, *, solution: str) -> Action:
        """An approved action was carried out by a person in their own tool: close the case with `solution`."""
        try:
            return await self._done_by_hand(action_id, actor, solution)
        except ForgedApprovalError as error:
            await raise_alarm(self._engine, self.seals, action_id, error, self._now(), actor.who)
            raise

    async def _done_by_hand(self, action_id: UUID, actor: Actor, solution: str) -> Action:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self.seals, action_id, lock=True)
            if Step.BY_HAND not in action.frozen.steps:
                raise ActionRefusedError("okienko carries this action out by itself")
            action = machine.begin(machine.ripen(action, self._policy, now=now), self._policy, now=now)
            await store.refuse_ended(raw, action)
            action = machine.finish(action)
            await self._end(raw, action, actor, now)
            await request_close(connection, raw, action.frozen.case_id, solution, actor.who, now)
        return action

    async def stop(self, token: str, *, origin: str) -> Action | None:
        """The holder's stop by the link they were sent; None when no action knows the token.

        Raises ActionRefusedError when it is too late.
        """
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            fingerprint = self._links.fingerprint(token)
            action_id = await raw.fetchval("SELECT id FROM reset_action WHERE stop_sha256 = $1", fingerprint)
            if action_id is None:
                return None
            before = await store.fetch(raw, self.seals, action_id, lock=True)
            action = machine.stop(before, reason="the holder of the account stopped it")
            if action != before:
                await self._end(raw, action, Actor("holder", origin=origin), now)
        return action

    async def find_by_stop_token(self, token: str) -> Action | None:
        """The action that a stop link speaks of, for the page that asks before it stops."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            fingerprint = self._links.fingerprint(token)
            action_id = await raw.fetchval("SELECT id FROM reset_action WHERE stop_sha256 = $1", fingerprint)
            return await store.fetch(raw, self.seals, action_id) if action_id else None

    async def _end(self, raw: Any, action: Action, actor: Actor, now: datetime) -> None:
        await store.save(raw, action, now=now, who=actor.who)
        # Without the reason, which a person wrote: an event cannot be erased. It stands with the action.
        data = {"action": str(action.frozen.action_id), "state": action.state.value, "origin": actor.origin}
        await append(raw, [NewEvent(action.frozen.case_id, EventType.ACTION_ENDED, now, data, actor.who)])
        if action.state is ActionState.STOPPED:
            # A stop means that somebody else asked for the account: a person has to look at the case.
            await to_human_review(raw, action.frozen.case_id)
