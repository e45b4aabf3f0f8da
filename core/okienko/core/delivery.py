"""Registering cases in the CSD and sending messages to people, in batches, each exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.parking import park
from okienko.core.states import AFTER_REGISTRATION, move
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import TransientError
from okienko.plugins.limits import guarded
from okienko.plugins.ports import (
    Channel,
    Classification,
    CsdBackend,
    IdentityBackend,
    NotificationContext,
    ProcedurePack,
    Registration,
)
from okienko.schemas import (
    ActionState,
    Address,
    Case,
    CaseKind,
    CaseState,
    CsdRef,
    DecisionOutcome,
    EventType,
    NotificationKind,
    OutboundMessage,
    Procedure,
    Verdict,
)

log = structlog.get_logger(__name__)

_NOTIFICATION_COLUMNS = (
    "id", "case_id", "kind", "connector", "to_name", "to_address", "subject", "text", "message_id", "in_reply_to", "state",
    "created_at",
)  # fmt: skip
_ACTION_COLUMNS = ("id", "case_id", "backend", "procedure", "state", "must_check", "created_at")
_REGISTERED = """
UPDATE cases c SET csd_backend = $1, csd_number = d.number, state = d.state, closed_at = d.closed_at
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[]) AS d(id, number, state, closed_at) WHERE c.id = d.id
"""
_ACCOUNT_PROCEDURES = frozenset({Procedure.EMERGENCY_PASSWORD, Procedure.EMERGENCY_PASSWORD_AND_EMAIL})


class Delivery:
    """Steps 3 and 4 of a message's way. Every method takes ids and answers None or the error to retry, in order."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        csd: CsdBackend,
        identity: IdentityBackend,
        pack: ProcedurePack,
        message_domain: str,
        timeout: float,
    ) -> None:
        self._engine = engine
        self._now = now
        self._channels = channels
        self._csd = csd
        self._identity = identity
        self._pack = pack
        self._domain = message_domain
        self._timeout = timeout

    # --- register ---------------------------------------------------------------------------------------------------

    async def register(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Give each decided case its number, move it on and queue what the person is told."""
        return await self._each(Job.REGISTER, ids, self._register)

    async def _register(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            rows = await cases.fetch(await raw_connection(connection), ids)
        waiting = {case_id: row for case_id, row in rows.items() if row["state"] == CaseState.DECIDED}
        work = [r for r in waiting.values() if self._pack.needs_registration(_classification(r))]
        refs: dict[UUID, CsdRef] = {}
        if work:
            call = self._csd.create([_registration(row) for row in work])
            refs = await guarded(call, plugin=self._csd.name, operation="create", seconds=self._timeout)
            metrics.REGISTRATIONS.labels(self._csd.name, "ok").inc(len(refs))
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await connection.exec_driver_sql("SELECT 1")
            locked = await cases.fetch(raw, list(waiting), lock=True)
            todo = [row for row in locked.values() if row["state"] == CaseState.DECIDED]
            await self._settle(connection, raw, todo, refs, now)

    async def _settle(
        self, connection: Any, raw: Any, rows: Sequence[Any], refs: Mapping[UUID, CsdRef], now: datetime
    ) -> None:
        updates: list[tuple[Any, ...]] = []
        events: list[NewEvent] = []
        notices: list[tuple[Any, ...]] = []
        actions: list[tuple[Any, ...]] = []
        for row in rows:
            case, ref = cases.to_case(row), refs.get(row["id"])
            outcome = case.decision.outcome
            target = move(case.state, AFTER_REGISTRATION[outcome] if ref else CaseState.CLOSED)
            case = case.model_copy(update={"csd": ref, "state": target})
            updates.append((case.id, ref.number if ref else None, target.value, None if ref else now))
            if ref:
                data = {"backend": ref.backend, "number": ref.number}
                events.append(NewEvent(case.id, EventType.REGISTERED, now, data, self._csd.name))
            else:
                events.append(NewEvent(case.id, EventType.CLOSED, now, {"why": "answered, no work for the CSD"}))
            kind = NotificationKind.REGISTERED
            if ref is None:
                kind = NotificationKind.SELF_SERVICE
            elif outcome is DecisionOutcome.UNMET:
                kind = NotificationKind.UNMET
            self._notify(row, case, kind, now, notices, events)
            if (
                ref
                and outcome in (DecisionOutcome.MET, DecisionOutcome.HUMAN)
                and case.procedure in _ACCOUNT_PROCEDURES
            ):
                must_check = list(case.decision.rules(Verdict.UNKNOWN))
                action_id = uuid4()
                actions.append(
                    (
                        action_id,
                        case.id,
                        self._identity.name,
                        case.procedure.value,
                        ActionState.WAITING.value,
                        must_check,
                        now,
                    )
                )
                proposed: dict[str, Any] = {
                    "action": str(action_id),
                    "backend": self._identity.name,
                    "must_check": must_check,
                }
                events.append(NewEvent(case.id, EventType.ACTION_PROPOSED, now, proposed))
        if updates:
            await raw.execute(_REGISTERED, self._csd.name, *(list(c) for c in zip(*updates, strict=True)))
        await self._write(connection, raw, notices, events)
        await raw.copy_records_to_table("reset_action", records=actions, columns=_ACTION_COLUMNS)

    def _notify(
        self, row: Any, case: Case, kind: NotificationKind, now: datetime,
        notices: list[tuple[Any, ...]], events: list[NewEvent], solution: str | None = None,
    ) -> None:  # fmt: skip
        """Add the message to the person, or the event that says why there is none."""
        withheld = row["silenced"] if kind is not NotificationKind.CLOSED else None
        if case.requester is None:
            withheld = "no_sender"
        if withheld:
            events.append(
                NewEvent(case.id, EventType.NOTIFICATION_WITHHELD, now, {"kind": kind.value, "why": withheld})
            )
            metrics.NOTIFICATIONS.labels(kind.value, "withheld").inc()
            return
        if case.requester is None:
            raise TypeError("unreachable: withheld above")
        text = self._pack.render(kind, NotificationContext(case, solution))
        notification_id = uuid4()
        message_id = f"{notification_id}@{self._domain}"
        notices.append(
            (
                notification_id, case.id, kind.value, row["connector"], case.requester.name, case.requester.address,
                text.subject, text.text, message_id, row["origin_message_id"], "queued", now, case.mailbox,
            )
        )  # fmt: skip
        data = {"notification": str(notification_id), "kind": kind.value}
        events.append(NewEvent(case.id, EventType.NOTIFICATION_QUEUED, now, data))

    async def _write(
        self, connection: Any, raw: Any, notices: Sequence[tuple[Any, ...]], events: Sequence[NewEvent]
    ) -> None:
        if notices:
            await raw.copy_records_to_table(
                "notification", records=[n[:-1] for n in notices], columns=_NOTIFICATION_COLUMNS
            )
            # The reply to our message must find its case.
            await raw.copy_records_to_table(
                "thread_ref", records=[(n[-1], n[8], n[1]) for n in notices], columns=("mailbox", "ref", "case_id")
            )
            await enqueue(connection, Job.NOTIFY, [str(n[0]) for n in notices])
        await append(raw, events)

    # --- notify -----------------------------------------------------------------------------------------------------

    async def notify(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Hand each queued message to its channel, and note that it went."""
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(
                "SELECT id, case_id, kind, connector, to_name, to_address, subject, text, message_id, in_reply_to, created_at "
                "FROM notification WHERE id = ANY($1::uuid[]) AND state = 'queued'",
                list(ids),
            )
        results = dict(zip((r["id"] for r in rows), await asyncio.gather(*map(self._send, rows)), strict=True))
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await connection.exec_driver_sql("SELECT 1")
            sent = [row for row in rows if results[row["id"]] is None]
            await raw.execute(
                "UPDATE notification SET state = 'sent', sent_at = $2 WHERE id = ANY($1::uuid[])",
                [r["id"] for r in sent],
                now,
            )
            events = [
                NewEvent(r["case_id"], EventType.NOTIFICATION_SENT, now, {"notification": str(r["id"]), "kind": r["kind"]}, r["connector"])
                for r in sent
            ]  # fmt: skip
            for row in rows:
                error = results[row["id"]]
                if error is None or isinstance(error, TransientError):
                    continue
                await raw.execute(
                    "UPDATE notification SET state = 'failed', problem = $2 WHERE id = $1", row["id"], str(error)
                )
                reason = await park(raw, Job.NOTIFY, row["id"], None, error, now)
                metrics.PARKED.labels(Job.NOTIFY, reason.value).inc()
                data = {"notification": str(row["id"]), "kind": row["kind"], "reason": reason.value}
                events.append(NewEvent(row["case_id"], EventType.NOTIFICATION_FAILED, now, data, row["connector"]))
            await append(raw, events)
        for row in rows:
            metrics.NOTIFICATIONS.labels(row["kind"], "sent" if results[row["id"]] is None else "failed").inc()
        return [e if isinstance(e := results.get(i), TransientError) else None for i in ids]

    async def _send(self, row: Any) -> Exception | None:
        channel = self._channels[row["connector"]]
        message = OutboundMessage.model_construct(
            id=row["id"], case_id=row["case_id"], kind=NotificationKind(row["kind"]),
            to=Address(name=row["to_name"], address=row["to_address"]), subject=row["subject"], text=row["text"],
            message_id=row["message_id"], in_reply_to=row["in_reply_to"],
            references=(row["in_reply_to"],) if row["in_reply_to"] else (), created_at=row["created_at"],
        )  # fmt: skip
        try:
            await guarded(channel.send(message), plugin=channel.name, operation="send", seconds=self._timeout)
        except Exception as error:  # its class decides; see notify
            return error
        return None

    # --- close, reopen, follow up -----------------------------------------------------------------------------------

    async def close(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Close each case in the CSD with the solution in its CLOSED event's request, and tell the person (mail 2)."""
        return await self._each(Job.CLOSE, ids, self._close)

    async def _close(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await cases.fetch(raw, ids)
            wanted = await raw.fetch(
                "SELECT DISTINCT ON (case_id) case_id, solution, who FROM closing WHERE case_id = ANY($1::uuid[]) AND done_at IS NULL "
                "ORDER BY case_id, id DESC",
                list(ids),
            )
        for request in wanted:
            row = rows[request["case_id"]]
            case = cases.to_case(row)
            if case.csd:
                call = self._csd.close(case.csd, request["solution"])
                await guarded(call, plugin=self._csd.name, operation="close", seconds=self._timeout)
            now = self._now()
            async with transaction(self._engine) as connection:
                raw = await raw_connection(connection)
                await connection.exec_driver_sql("SELECT 1")
                row = (await cases.fetch(raw, [case.id], lock=True))[case.id]
                case = cases.to_case(row)
                await raw.execute(
                    "UPDATE closing SET done_at = $2 WHERE case_id = $1 AND done_at IS NULL", case.id, now
                )
                if case.state is CaseState.CLOSED:
                    continue
                state = move(case.state, CaseState.CLOSED)
                await raw.execute(
                    "UPDATE cases SET state = $2, closed_at = $3 WHERE id = $1", case.id, state.value, now
                )
                events = [
                    NewEvent(
                        case.id,
                        EventType.CLOSED,
                        now,
                        {"number": case.csd.number if case.csd else None},
                        request["who"],
                    )
                ]
                notices: list[tuple[Any, ...]] = []
                closed = case.model_copy(update={"state": state, "closed_at": now})
                self._notify(row, closed, NotificationKind.CLOSED, now, notices, events, request["solution"])
                await self._write(connection, raw, notices, events)

    async def reopen(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Open closed cases again, here and in the CSD."""
        return await self._each(Job.REOPEN, ids, self._reopen)

    async def _reopen(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            rows = await cases.fetch(await raw_connection(connection), ids)
        for row in rows.values():
            case = cases.to_case(row)
            if case.state is not CaseState.CLOSED:
                continue
            if case.csd:
                call = self._csd.reopen(case.csd, "the person wrote again")
                await guarded(call, plugin=self._csd.name, operation="reopen", seconds=self._timeout)
            now = self._now()
            async with transaction(self._engine) as connection:
                raw = await raw_connection(connection)
                await connection.exec_driver_sql("SELECT 1")
                moved = await raw.fetch(
                    "UPDATE cases SET state = $2, closed_at = NULL WHERE id = $1 AND state = 'closed' RETURNING id",
                    case.id, move(case.state, CaseState.REOPENED).value,
                )  # fmt: skip
                await append(
                    raw, [NewEvent(r["id"], EventType.REOPENED, now, {"why": "the person wrote again"}) for r in moved]
                )

    async def follow_up(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Note in the CSD's ticket that a message was added to the case."""
        return await self._each(Job.FOLLOW_UP, ids, self._follow_up)

    async def _follow_up(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            rows = await raw.fetch(
                "SELECT m.envelope_id, m.at, c.csd_backend, c.csd_number, c.state FROM case_message m "
                "JOIN cases c ON c.id = m.case_id WHERE m.envelope_id = ANY($1::uuid[])",
                list(ids),
            )
        if any(row["state"] == CaseState.DECIDED for row in rows):
            raise TransientError("the case has no number in the CSD yet: the note waits for it", retry_after=1.0)
        for row in rows:
            if row["csd_number"]:
                ref = CsdRef(backend=row["csd_backend"], number=row["csd_number"])
                text = f"A further message was added to the case at {row['at']:%Y-%m-%d %H:%M} UTC (envelope {row['envelope_id']})."
                call = self._csd.comment(ref, str(row["envelope_id"]), text)
                await guarded(call, plugin=self._csd.name, operation="comment", seconds=self._timeout)

    # --- shared -----------------------------------------------------------------------------------------------------

    async def _each(
        self, job: Job, ids: Sequence[UUID], work: Callable[[Sequence[UUID]], Any]
    ) -> list[None | Exception]:
        """All at once; where that fails for good, one by one, and what still fails is parked."""
        try:
            await work(ids)
            return [None] * len(ids)
        except TransientError as error:
            if job is Job.REGISTER:
                metrics.REGISTRATIONS.labels(self._csd.name, "retried").inc(len(ids))
            return [error] * len(ids)
        except Exception as error:  # its class decides what a person is told
            if len(ids) > 1:
                return [(await self._each(job, [one], work))[0] for one in ids]
            log.exception("job parked", action="park", job=job.value, ref=str(ids[0]), error=type(error).__name__)
            try:
                async with transaction(self._engine) as connection:
                    raw = await raw_connection(connection)
                    await connection.exec_driver_sql("SELECT 1")
                    reason = await park(raw, job, ids[0], None, error, self._now())
            except TransientError as again:
                return [again]
            metrics.PARKED.labels(job, reason.value).inc()
            return [None]


def _classification(row: Any) -> Classification:
    return Classification(CaseKind(row["kind"]), Procedure(row["procedure"]) if row["procedure"] else None)


def _registration(row: Any) -> Registration:
    return Registration(
        correlation_id=row["id"],
        kind=CaseKind(row["kind"]),
        procedure=Procedure(row["procedure"]) if row["procedure"] else None,
        subject=row["subject"],
        description=row["description"],
        requester=row["requester_address"],
        opened_at=row["opened_at"],
    )
