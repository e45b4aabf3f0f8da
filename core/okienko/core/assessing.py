"""The second decision on a request about an account: with the account, the sender's proof and the signed application.

It is made after the first answer has gone, so that neither its text nor its time tells anything about an account. What follows
from it is inside the house only: a reset action for the administrators, or a human review with its reasons.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from okienko.core import cases, documents, envelopes
from okienko.core.accountwork import (
    ACCOUNT_KINDS,
    ACCOUNT_PROCEDURES,
    CHANGES_LOGIN,
    SIGNED,
    plan_release,
    signed_number,
    steps_for,
)
from okienko.core.actions import store
from okienko.core.actions.frozen import Frozen, decision_sha256
from okienko.core.actions.machine import Action, ActionPolicy, Risk
from okienko.core.actions.pesels import PeselMarks
from okienko.core.actions.seals import Seals
from okienko.core.applications import Reading
from okienko.core.attempts import Attempts
from okienko.core.audit import log as audit
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.vault import Vault
from okienko.core.calls import Calls
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.holding import AccountLimits, Held
from okienko.core.jobs import Job
from okienko.core.starting import Starting
from okienko.core.verifying import Checked, Verifying
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account, AccountFlag, IdentityBackend, Operation
from okienko.plugins.ports import Channel, Classification, ProcedurePack
from okienko.plugins.senderproof import Proof, SenderProof, SenderVerdict, header_values
from okienko.schemas import (
    ActionState,
    Attachment,
    Case,
    CaseState,
    Decision,
    DecisionOutcome,
    EventType,
    InboundMessage,
    Procedure,
    Verdict,
)

_OPENED_BY = "SELECT envelope_id FROM case_message WHERE case_id = $1 AND role = 'opened'"
_ASSESSED = """
SELECT EXISTS (SELECT FROM event WHERE case_id = $1 AND type = 'assessed') OR EXISTS (SELECT FROM reset_action WHERE case_id = $1)
"""
_AT_ONCE = 4
"""Cases assessed at the same time, so that one whose documents take long does not hold up its neighbours."""
_HEAD = 256 << 10
"""Octets of a mail's beginning in which its header fields are read."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was gathered about one request."""

    evidence: Evidence
    account: Account | None
    standing: str
    """Who stands for the request by the sender's proof or by a valid signature; empty: anybody could have written it."""
    held: Held | None


class Assessing:
    """The job `assess`. It is done once for each case, and again when its application was typed; it is safe to repeat."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        pack: ProcedurePack,
        identity: IdentityBackend,
        starting: Starting,
        sender: SenderProof,
        verifying: Verifying | None,
        vault: Vault,
        policy: ActionPolicy,
        seals: Seals,
        limits: AccountLimits,
        marks: PeselMarks,
        spool: Path,
        calls: Calls,
        attempts: Attempts,
    ) -> None:
        self._engine = engine
        self._now = now
        self._channels = channels
        self._pack = pack
        self._identity = identity
        self._starting = starting
        self._sender = sender
        self._verifying = verifying
        self._vault = vault
        self._policy = policy
        self._seals = seals
        self._limits = limits
        self._marks = marks
        self._spool = spool
        self._calls = calls
        self._attempts = attempts

    async def assess(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Assess each case whose first answer has gone."""
        return await self._attempts.each(Job.ASSESS, ids, self._assess)

    async def _assess(self, ids: Sequence[UUID]) -> Mapping[UUID, Exception]:
        failed: dict[UUID, Exception] = {}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(case_id: UUID) -> None:
            async with gate:
                try:
                    await self._one(case_id)
                except Exception as error:  # its class decides, and for this case only
                    failed[case_id] = error

        await asyncio.gather(*map(one, ids))
        return failed

    async def _one(self, case_id: UUID) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [case_id]))[case_id]
            opened_by = await raw.fetchval(_OPENED_BY, case_id)
            done = await raw.fetchval(_ASSESSED, case_id)
            reading = await Reading.begin(raw, self._vault, case_id, opened_by) if opened_by else None
        case = cases.to_case(row)
        if reading is None or (done and not reading.again) or not wants_assessment(case, again=bool(reading.again)):
            return
        if (connector := row["connector"]) not in self._channels:
            raise MisconfiguredError(
                f"the plugin {connector!r} that took the message in is not loaded: load it, then replay"
            )
        await self._starting.ready()
        async with envelopes.load(self._engine, [opened_by], spool=self._spool, finished=True) as loaded:
            item = loaded[0]
            channel = self._channels[item.envelope.connector]
            message = await self._calls.apart(channel, "parse", lambda: channel.parse(item.envelope, item.raw))
            classification = self._calls.ask(self._pack, lambda: self._pack.classify(message))
            found = await self._gather(case, classification, message, item, channel, reading)
        decision = self._calls.ask(self._pack, lambda: self._pack.decide(message, classification, found.evidence))
        await self._settle(case, decision, classification, found, reading)

    # --- evidence ---------------------------------------------------------------------------------------------------

    async def _gather(
        self,
        case: Case,
        classification: Classification,
        message: InboundMessage,
        item: envelopes.Loaded,
        channel: Channel,
        reading: Reading,
    ) -> _Found:
        proof = await asyncio.to_thread(self._judge_sender, message, item)
        login = classification.login
        checked: Checked | None = None
        if classification.procedure in SIGNED:
            checked = await self._check_documents(message, item, channel)
        if classification.procedure in CHANGES_LOGIN:
            checked = reading.complete(checked)
        application = checked.application if checked else None
        valid = checked is not None and checked.verification.report.valid
        if valid and application is not None and application.old_login:
            # What is signed counts, not what stands in the mail.
            login = application.old_login
        standing = ""
        if checked is not None and valid:
            signatory = checked.verification.report.signatory
            standing = f"signed {signatory.given_names} {signatory.family_name}" if signatory else ""
        elif proof.proof is Proof.PROVED and login and (proof.address or "").lower() == login.lower():
            standing = "proved"
        conflict = classification.procedure is Procedure.PESEL_CONFLICT
        can = Operation.FIND_BY_LOGIN in self._identity.operations and not conflict
        held: Held | None = None
        claimed = [one for one in (login, application.new_login if application else None) if one]
        if (can or conflict) and not await self._may_look_up(case, ["pesel"] if conflict else claimed, standing):
            can, held = False, self._limits.too_many_lookups
        account = await self._find(case, login) if can and login else None
        taken: bool | None = None
        if can and application is not None and application.new_login:
            other = await self._find(case, application.new_login)
            taken = other is not None and (account is None or other.ref != account.ref)
        evidence = Evidence(
            looked_up=can and login is not None,
            account=account,
            new_login_taken=taken,
            sender=proof,
            signature=checked.verification.report if checked else None,
            application=application if valid else None,
            typed=checked.typed if checked else (),
        )
        if conflict and held is None:
            evidence = replace(evidence, carriers=await self._carriers(case, evidence))
        return _Found(evidence, account, standing, held)

    async def _may_look_up(self, case: Case, logins: Sequence[str], standing: str) -> bool:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            for login in logins:
                if not await self._limits.may_look_up(
                    raw, self._identity.name, login, case_id=case.id, standing=standing, now=self._now()
                ):
                    return False
        return True

    def _judge_sender(self, message: InboundMessage, item: envelopes.Loaded) -> SenderVerdict:
        """Reads the stored message and may ask DNS: for a thread."""
        with item.raw.open() as stream:
            raw = stream.read(-1 if self._sender.reads_messages else _HEAD)
        return self._sender.judge(message.authentication_results, header_values(raw[:_HEAD], "From"), raw)

    async def _find(self, case: Case, login: str) -> Account | None:
        """Look the login up."""
        await self._note_look_up(case, Operation.FIND_BY_LOGIN)
        return await self._calls.call(self._identity, "find_by_login", lambda: self._identity.find_by_login(login))

    async def _carriers(self, case: Case, evidence: Evidence) -> tuple[Account, ...] | None:
        """The accounts that carry the signed personal number; None when there is no such number or nobody can be asked."""
        pesel = signed_number(evidence)
        if pesel is None or Operation.FIND_BY_PESEL not in self._identity.operations:
            return None
        await self._note_look_up(case, Operation.FIND_BY_PESEL)
        return await self._calls.call(self._identity, "find_by_pesel", lambda: self._identity.find_by_pesel(pesel))

    async def _note_look_up(self, case: Case, operation: Operation) -> None:
        """It is audited before it is done: a look-up that then fails has been made all the same."""
        async with transaction(self._engine) as connection:
            data = {"backend": self._identity.name, "operation": operation.value}
            entry = NewEntry(
                AuditAction.LOOKED_UP, self._now(), self._pack.name, case.id, f"account at {self._identity.name}",
                "to assess a request about an account", data,
            )  # fmt: skip
            audit.record(await raw_connection(connection), [entry])

    async def _check_documents(
        self, message: InboundMessage, item: envelopes.Loaded, channel: Channel
    ) -> Checked | None:
        """The signed application in the mail, or what comes nearest to it; see `documents`."""
        if self._verifying is None or not self._verifying.configured:
            return None

        async def read(attachment: Attachment) -> bytes:
            def work() -> bytes:
                with channel.open_attachment(item.envelope, item.raw, attachment.index) as stream:
                    return stream.read()

            return await self._calls.apart(channel, "open_attachment", work)

        return await documents.first_that_counts(message.attachments, read, self._verifying, self._now)

    # --- what follows -----------------------------------------------------------------------------------------------

    async def _settle(
        self,
        case: Case,
        decision: Decision,
        classification: Classification,
        found: _Found,
        reading: Reading,
    ) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            row = (await cases.fetch(raw, [case.id], lock=True))[case.id]
            current = cases.to_case(row)
            if not reading.again and await raw.fetchval(_ASSESSED, case.id):
                return
            if not await reading.settle(raw, now) or not wants_assessment(current, again=bool(reading.again)):
                return
            action: Action | None = None
            held = found.held or Held("a rule is not met")
            if found.held is None and decision.outcome in (DecisionOutcome.MET, DecisionOutcome.HUMAN):
                action, held = await self._propose(raw, current, decision, classification, found, now)
            if action is not None:
                action = replace(action, handlers=action.handlers | reading.typists)
            outcome = decision.outcome.value if decision.outcome else None
            state = CaseState.REGISTERED if action and not action.frozen.must_check else CaseState.HUMAN_REVIEW
            if current.state is CaseState.REOPENED:
                state = current.state
            await raw.execute(
                "UPDATE cases SET decision = $2, state = $3, held_by = $4 WHERE id = $1",
                case.id,
                decision.model_dump_json(),
                state.value,
                None if action else held.action_id,
            )
            rules = {result.rule: result.verdict.value for result in decision.results}
            data: dict[str, Any] = {"outcome": outcome, "rules": rules, "pack": self._pack.name} | reading.told
            if action is None:
                data["why"] = held.why
            events = [NewEvent(case.id, EventType.ASSESSED, now, data, self._pack.name)]
            if action is not None:
                events.append(await self._add(connection, raw, action, classification, now))
            elif held.limit:
                events.append(NewEvent(case.id, EventType.LIMITED, now, {"limit": held.limit.value, "why": held.why}))
            await append(raw, events)
        if action is None and held.limit:
            metrics.LIMITS.labels(held.limit.value).inc()

    async def _propose(
        self, raw: Any, case: Case, decision: Decision, classification: Classification, found: _Found, now: datetime
    ) -> tuple[Action | None, Held]:
        """The action that the decision allows, or None and the reason."""
        account, application = found.account, found.evidence.application
        if classification.procedure is Procedure.PESEL_CONFLICT:
            return await self._propose_release(raw, case, decision, found, now)
        changes = classification.procedure in CHANGES_LOGIN
        old = account.login if account else (application.old_login if application else None) or classification.login
        new = application.new_login if changes and application else None
        if changes and new is None:
            # Typed by nobody yet: until the document is read, the sender's own address is what B6 asks for.
            new = case.requester.address if case.requester else None
        if not old:
            return None, Held("no login is known that the action could be for")
        if account is not None and AccountFlag.DISABLED in account.flags:
            return None, Held("the account is disabled: an administrator decides by hand")
        backend = self._identity.name
        action_id = uuid4()
        sure = action_id if found.standing and decision.outcome is DecisionOutcome.MET else None
        if held := await self._limits.held(
            raw,
            backend,
            account.ref if account else None,
            old,
            standing=found.standing,
            changes=changes,
            sure=sure,
            now=now,
        ):
            return None, held
        frozen = Frozen(
            action_id=action_id, case_id=case.id, backend=self._identity.name, account_ref=account.ref if account else None,
            old_login=old, new_login=new, steps=steps_for(classification.procedure, account, self._identity.operations),
            decision_sha256=decision_sha256(decision),
            must_check=decision.rules(Verdict.UNKNOWN), nonce=secrets.token_bytes(16),
        )  # fmt: skip
        risk = Risk.HIGH if changes else Risk.LOW
        subjects = frozenset(login.lower() for login in (old, new) if login)
        return Action(
            frozen, risk, ActionState.WAITING, now, now + self._policy.lifetime, subject_names=subjects
        ), Held("")

    async def _propose_release(
        self, raw: Any, case: Case, decision: Decision, found: _Found, now: datetime
    ) -> tuple[Action | None, Held]:
        """The report on a PESEL conflict, as an action of high risk, or None and the reason."""
        release = plan_release(found.evidence, self._identity.operations, self._marks)
        if release is None:
            return None, Held("no account is known that carries a personal number by a valid signature")
        login = release.account.login
        if held := await self._limits.held(
            raw,
            self._identity.name,
            release.account.ref,
            login,
            standing=found.standing,
            changes=False,
            sure=None,
            now=now,
        ):
            return None, held
        frozen = Frozen(
            action_id=release.action_id, case_id=case.id, backend=self._identity.name, account_ref=release.account.ref,
            old_login=login, new_login=None, steps=release.steps, decision_sha256=decision_sha256(decision),
            must_check=decision.rules(Verdict.UNKNOWN), nonce=secrets.token_bytes(16), report=release.report.text(),
        )  # fmt: skip
        # Who asks gains by it under an address that the account does not know.
        asker = frozenset({case.requester.address.lower()} if case.requester else ())
        return Action(
            frozen, Risk.HIGH, ActionState.WAITING, now, now + self._policy.lifetime, handlers=asker,
            subject_names=frozenset({login.lower()}),
        ), Held("")  # fmt: skip

    async def _add(
        self, connection: AsyncConnection, raw: Any, action: Action, classification: Classification, now: datetime
    ) -> NewEvent:
        frozen = action.frozen
        procedure = classification.procedure or Procedure.EMERGENCY_PASSWORD
        await store.insert(raw, self._seals, [(action, procedure)])
        await enqueue(connection, Job.EXPIRE, [str(frozen.action_id)], delay=action.expires_at - now)
        data = {
            "action": str(frozen.action_id), "backend": frozen.backend, "must_check": list(frozen.must_check),
            "risk": action.risk.value, "steps": [step.value for step in frozen.steps], "digest": frozen.digest,
        }  # fmt: skip
        return NewEvent(frozen.case_id, EventType.ACTION_PROPOSED, now, data)


def wants_assessment(case: Case, *, again: bool = False) -> bool:
    """Whether it is a request about an account that its first decision did not refuse, and that is still open.

    `again`: its application was typed since; then the decision in the case is no longer the first.
    """
    return (
        case.kind in ACCOUNT_KINDS
        and case.procedure in ACCOUNT_PROCEDURES
        and (again or case.decision.outcome in (DecisionOutcome.MET, DecisionOutcome.HUMAN))
        and case.state in (CaseState.REGISTERED, CaseState.HUMAN_REVIEW, CaseState.REOPENED)
    )
