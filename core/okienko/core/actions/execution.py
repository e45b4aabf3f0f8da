"""Carrying approved actions out: exactly what was approved, compared before it is swapped, read back afterwards.

An action goes through three jobs. `execute` changes the account's login and unlocks it; then the case is closed and mail 2
goes out; when that has gone, `activate` sends mail 3 (rule T5: in that order). Every step is idempotent, so that a job which
died half-way is simply done again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.actions import machine, store
from okienko.core.actions.activation import link_parts
from okienko.core.actions.alarm import raise_alarm
from okienko.core.actions.frozen import Step
from okienko.core.actions.links import LinkKind, Links
from okienko.core.actions.machine import Action, ActionPolicy, ActionRefusedError, ForgedApprovalError
from okienko.core.actions.pesels import PeselMarks
from okienko.core.actions.releasing import must_be_released, number_to_release
from okienko.core.actions.seals import SealKind, Seals
from okienko.core.attempts import Attempts, Work
from okienko.core.calls import Calls
from okienko.core.cases import to_human_review
from okienko.core.closing import request_close
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import ACTOR, NewEvent, append
from okienko.core.jobs import Job
from okienko.core.notices import Notices
from okienko.core.starting import Starting
from okienko.plugins.errors import MisconfiguredError, OkienkoError, TransientError
from okienko.plugins.identity import Account, AccountFlag, Done, Expected, Operation, StaleError, same_login
from okienko.plugins.ports import NotificationContext, ProcedurePack
from okienko.schemas import ActionState, Address, CaseState, EventType, NotificationKind

log = structlog.get_logger(__name__)


class Execution:
    """The jobs `execute`, `activate` and `expire`. Each takes action ids and answers None or the error to retry, in order."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        identity: Mapping[str, Starting],
        policy: ActionPolicy,
        pack: ProcedurePack,
        links: Links,
        seals: Seals,
        marks: PeselMarks,
        message_domain: str,
        activation_lifetime: timedelta,
        calls: Calls,
        attempts: Attempts,
    ) -> None:
        self._engine = engine
        self._now = now
        self._identity = identity
        self._policy = policy
        self._pack = pack
        self._links = links
        self._seals = seals
        self._marks = marks
        self._domain = message_domain
        self._lifetime = activation_lifetime
        self._calls = calls
        self._attempts = attempts

    # --- execute ----------------------------------------------------------------------------------------------------

    async def execute(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Carry out each action that may be carried out now."""
        return await self._attempts.each(Job.EXECUTE, ids, _each(self._execute))

    async def _execute(self, action_id: UUID) -> None:
        try:
            action = await self._start(action_id)
        except ForgedApprovalError as error:
            # Parked by the alarm, with its audit entry: not a second time by who called.
            await raise_alarm(self._engine, self._seals, action_id, error, self._now(), ACTOR)
            return
        if action is None:
            return
        try:
            fields = await self._carry_out(action)
        except TransientError:
            raise
        except OkienkoError as error:
            account = await self._read_back(action)
            if not _is_done(account, action):
                await self._fail(action_id, error, account)
                return
            # The backend said no to what it had done: the account itself is the better witness.
            log.warning(
                "read back as approved after a refusal",
                action="execute",
                reset_action=str(action_id),
                error=type(error).__name__,
            )
            fields = ()
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self._seals, action_id, lock=True)
            if action.state is not ActionState.EXECUTING:
                return
            await store.save(raw, machine.finish(action), now=now, who=ACTOR)
            data = {"action": str(action_id), "backend": action.frozen.backend, "fields": list(fields)}
            await append(raw, [NewEvent(action.frozen.case_id, EventType.ACTION_EXECUTED, now, data)])
            case = cases.to_case((await cases.fetch(raw, [action.frozen.case_id], lock=True))[action.frozen.case_id])
            if case.state is CaseState.CLOSED:
                # Closed by somebody while we were at it: no mail 2 will come that mail 3 could follow.
                await enqueue(
                    connection, Job.ACTIVATE, [str(action_id)] if Step.ACTIVATE in action.frozen.steps else []
                )
                return
            await request_close(connection, raw, case.id, self._pack.solution(case), ACTOR, now)

    async def _start(self, action_id: UUID) -> Action | None:
        """Move the action to `executing` and make that lasting, before anything is touched. None: not now, or never."""
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            try:
                action = await store.fetch(raw, self._seals, action_id, lock=True)
            except store.TamperedError as error:
                log.error("action tampered with", action="execute", reset_action=str(action_id), problem=str(error))  # noqa: TRY400
                raise
            expired = machine.expire(action, now=now)
            if expired != action:
                await self._ended(raw, expired, now, str(expired.reason))
                return None
            if action.state not in store.ENDED:
                await store.refuse_ended(raw, action)
            ripe = machine.ripen(action, self._policy, now=now)
            if ripe.state in (ActionState.READY, ActionState.EXECUTING) and Step.BY_HAND not in action.frozen.steps:
                self._backend(action)
                # It got here by enough approvals. If they are not there, a person has to know: it is parked.
                machine.must_be_agreed(ripe, self._policy)
            over = ripe.cooled_at(self._policy)
            if ripe.state in (ActionState.COOLING, ActionState.EXECUTING) and over is not None and now < over:
                # The clock was set back, or the queue came early: the same job comes again.
                await enqueue(connection, Job.EXECUTE, [str(action_id)], delay=over - now)
                return None
            if Step.BY_HAND in action.frozen.steps:
                if ripe != action:
                    await store.save(raw, ripe, now=now, who=ACTOR)
                return None
            action = ripe
            state = await raw.fetchval("SELECT state FROM cases WHERE id = $1 FOR NO KEY UPDATE", action.frozen.case_id)
            if state == CaseState.CLOSED and action.state is ActionState.READY:
                closed = machine.refuse(action, reason="its case was closed before it could be carried out", now=now)
                await self._ended(raw, closed, now, str(closed.reason))
                return None
            try:
                action = machine.begin(action, self._policy, now=now)
            except ActionRefusedError as error:
                # Stopped, refused or done meanwhile: that is an answer, not a failure.
                log.info("action not executed", action="execute", reset_action=str(action_id), reason=str(error))
                return None
            await store.save(raw, action, now=now, who=ACTOR)
        return action

    async def _carry_out(self, action: Action) -> tuple[str, ...]:
        """The steps at the backend. Returns the names of what was written. Raises StaleError when it reads back wrong."""
        frozen = action.frozen
        backend = await self._backend(action).ready()
        if frozen.account_ref is None:
            raise StaleError("the action names no account: it cannot be carried out by okienko")
        get = partial(backend.get, frozen.account_ref)
        account = await self._calls.call(backend, "get", get)
        _must_be_usable(account)
        expected = Expected(frozen.account_ref, frozen.old_login)
        written: list[str] = []
        for step in frozen.steps:
            if step is Step.UNLOCK:
                done = await self._calls.call(backend, "unlock", partial(backend.unlock, expected))
            elif step is Step.CHANGE_LOGIN and frozen.new_login:
                done = await self._calls.call(
                    backend, "change_login", partial(backend.change_login, expected, frozen.new_login)
                )
                expected = Expected(frozen.account_ref, frozen.new_login)
            elif step is Step.RELEASE_PESEL and (pesel := number_to_release(account, frozen, self._marks)):
                done = await self._calls.call(backend, "release_pesel", partial(backend.release_pesel, expected, pesel))
            else:
                continue
            written += done.fields
        account = await self._calls.call(backend, "get", get)
        _must_read_back(account, action)
        must_be_released(account, frozen)
        return tuple(written)

    async def _read_back(self, action: Action) -> Account | None:
        """The account after a refusal; None where nothing was to change, or it cannot be read. Raises TransientError."""
        frozen = action.frozen
        if frozen.account_ref is None or not {Step.CHANGE_LOGIN, Step.UNLOCK}.intersection(frozen.steps):
            return None
        try:
            backend = await self._backend(action).ready()
            return await self._calls.call(backend, "get", partial(backend.get, frozen.account_ref))
        except TransientError:
            raise
        except OkienkoError:
            return None

    def _backend(self, action: Action) -> Starting:
        """Where the account lives. Raises MisconfiguredError when the service was set to another backend meanwhile."""
        name = action.frozen.backend
        if name not in self._identity:
            raise MisconfiguredError(
                f"the reset action is for the identity backend {name!r}, which is not configured: set OKIENKO_IDENTITY, then replay"
            )
        return self._identity[name]

    async def _fail(self, action_id: UUID, error: OkienkoError, account: Account | None) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self._seals, action_id, lock=True)
            if action.state is not ActionState.EXECUTING:
                return
            frozen, reason = action.frozen, str(error)
            if account is not None and frozen.changes_login and same_login(account.login, frozen.new_login or ""):
                reason = f"the login was changed, but not all is as approved: {reason}"
            # The whole text stands with the action, which can be erased; an event cannot.
            await self._ended(raw, machine.fail(action, reason=reason), now, type(error).__name__)
        log.error("action failed", action="execute", reset_action=str(action_id), error=type(error).__name__)

    # --- activate ---------------------------------------------------------------------------------------------------

    async def activate(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Send mail 3 for each action that was carried out and lets its person set a new password."""
        return await self._attempts.each(Job.ACTIVATE, ids, _each(self._activate))

    async def _activate(self, action_id: UUID) -> None:
        try:
            await self._send_link(action_id)
        except ForgedApprovalError as error:
            await raise_alarm(self._engine, self._seals, action_id, error, self._now(), ACTOR, Job.ACTIVATE)

    async def _send_link(self, action_id: UUID) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self._seals, action_id)
            sent = await raw.fetchval("SELECT 1 FROM activation WHERE action_id = $1", action_id)
            frozen = action.frozen
            if (
                action.state is not ActionState.DONE
                or Step.ACTIVATE not in frozen.steps
                or sent
                or not frozen.account_ref
            ):
                return
            # Who can write `done` into the row must not get a link for it.
            await store.refuse_ended(raw, action)
            machine.must_be_agreed(action, self._policy)
        login = frozen.new_login if frozen.changes_login and frozen.new_login else frozen.old_login
        backend = await self._backend(action).ready()
        by_backend = Operation.SEND_ACTIVATION in backend.operations
        if by_backend:
            seconds = int(self._lifetime.total_seconds())
            send = partial(backend.send_activation, Expected(frozen.account_ref, login), lifetime_seconds=seconds)
            done: Done = await self._calls.call(backend, "send_activation", send)
            if not done.changed:
                raise StaleError(f"the identity backend {backend.name} sent no activation mail")
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [frozen.case_id], lock=True))[frozen.case_id]
            if await raw.fetchval("SELECT 1 FROM activation WHERE action_id = $1", action_id):
                return
            notices = Notices(self._pack, self._domain, now)
            message_id: UUID | None = uuid4()
            if not by_backend:
                case = cases.to_case(row)
                message_id = notices.add(
                    row,
                    NotificationKind.ACTIVATION,
                    lambda i: NotificationContext(
                        case, link=self._links.marker(LinkKind.ACTIVATE, i), new_login=frozen.new_login,
                        deadline=now + self._lifetime,
                    ),
                    to=Address(address=login),
                )  # fmt: skip
            if message_id is None:
                return
            token = self._links.fingerprint(self._links.token(LinkKind.ACTIVATE, message_id))
            until = now + self._lifetime
            seal = self._seals.make(SealKind.ACTIVATION, link_parts(message_id, action_id, token, until))
            await raw.execute(
                "INSERT INTO activation (id, action_id, token_sha256, created_at, expires_at, attempts, seal, sealed_by) "
                "VALUES ($1, $2, $3, $4, $5, 0, $6, $7)",
                message_id, action_id, token, now, until, seal.mac, seal.key,
            )  # fmt: skip
            data = {"action": str(action_id), "by": backend.name if by_backend else ACTOR}
            await notices.write(connection, raw)
            await append(raw, [*notices.events, NewEvent(frozen.case_id, EventType.ACTIVATION_SENT, now, data)])

    # --- expire -----------------------------------------------------------------------------------------------------

    async def expire(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """End each action that waited too long; its case goes to a human."""
        return await self._attempts.each(Job.EXPIRE, ids, _each(self._expire))

    async def _expire(self, action_id: UUID) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            action = await store.fetch(raw, self._seals, action_id, lock=True)
            expired = machine.expire(action, now=now)
            if expired != action:
                await self._ended(raw, expired, now, str(expired.reason))
            elif action.is_open:
                # It was approved meanwhile and may go on for longer, or the clock was set back.
                await enqueue(connection, Job.EXPIRE, [str(action_id)], delay=action.expires_at - now)

    async def _ended(self, raw: Any, action: Action, now: datetime, why: str) -> None:
        """Write the end of an action that came to nothing; a person has to look at its case."""
        await store.save(raw, action, now=now, who=ACTOR)
        data = {"action": str(action.frozen.action_id), "state": action.state.value, "reason": why}
        await append(raw, [NewEvent(action.frozen.case_id, EventType.ACTION_ENDED, now, data)])
        await to_human_review(raw, action.frozen.case_id)


def _must_be_usable(account: Account | None) -> None:
    """Raise StaleError for an account that was switched off after the proposal; one that is gone is the backend's to tell."""
    if account is not None and AccountFlag.DISABLED in account.flags:
        raise StaleError("the account was disabled meanwhile: okienko does not touch it, an administrator decides")


def _is_done(account: Account | None, action: Action) -> bool:
    """Whether the account is as the action wanted it, and may be used."""
    if account is None or AccountFlag.DISABLED in account.flags:
        return False
    try:
        _must_read_back(account, action)
    except StaleError:
        return False
    return True


def _must_read_back(account: Account | None, action: Action) -> None:
    """Raise StaleError unless the account is now as the action wanted it."""
    frozen = action.frozen
    if account is None:
        raise StaleError("the account is not there any more after the change")
    wanted = frozen.new_login if frozen.changes_login and frozen.new_login else frozen.old_login
    if not same_login(account.login, wanted):
        raise StaleError("read back after the change, the account has another login than the approved one")
    if Step.UNLOCK in frozen.steps and AccountFlag.LOCKED in account.flags:
        raise StaleError("read back after the change, the account is still locked")


def _each(work: Callable[[UUID], Awaitable[None]]) -> Work:
    """Do ids one by one; what fails for one is that one's."""

    async def do(ids: Sequence[UUID]) -> Mapping[UUID, Exception]:
        failed: dict[UUID, Exception] = {}
        for one in ids:
            try:
                await work(one)
            except Exception as error:  # its class decides what becomes of the job
                failed[one] = error
        return failed

    return do
