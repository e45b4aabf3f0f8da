"""Processing envelopes: read, look up, judge, decide, and write it all in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import envelopes
from okienko.core.audit import log as audit
from okienko.core.audit.personal import decision_personal, look_up_entries
from okienko.core.audit.vault import Vault
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.facts import Keyed, gather
from okienko.core.intake import INLINE_LIMIT
from okienko.core.jobs import Job
from okienko.core.judging import Judged, judge, opened_row
from okienko.core.parking import park
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import MisconfiguredError, OkienkoError, TransientError
from okienko.plugins.limits import guarded
from okienko.plugins.ports import Channel, Classification, Evidence, IdentityBackend, MessagePolicy, ProcedurePack
from okienko.schemas import EventType, Outcome

log = structlog.get_logger(__name__)

_CASE_COLUMNS = (
    "id", "kind", "procedure", "state", "channel", "connector", "mailbox", "subject", "requester_name", "requester_address",
    "person", "decision", "description", "origin_message_id", "silenced", "opened_at",
)  # fmt: skip
_LOCK = "SELECT id FROM envelope WHERE id = ANY($1::uuid[]) AND outcome = 'received' ORDER BY seq FOR UPDATE"
_FINISH = """
UPDATE envelope e SET outcome = d.outcome, reason = d.reason, case_id = d.case_id, finished_at = $5
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS d(id, outcome, reason, case_id) WHERE e.id = d.id
"""
_THREAD = """
INSERT INTO thread_ref (mailbox, ref, case_id) SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING
"""
_CLOSED = "SELECT id, csd_number FROM cases WHERE id = ANY($1::uuid[]) AND state = 'closed'"


class Pipeline:
    """Step 2 of a message's way. `process` takes any number of envelope ids and does each exactly once."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        policies: Sequence[MessagePolicy],
        pack: ProcedurePack,
        identity: IdentityBackend,
        vault: Vault,
        spool: Path,
        timeout: float,
    ) -> None:
        self._engine = engine
        self._now = now
        self._channels = channels
        self._policies = policies
        self._pack = pack
        self._identity = identity
        self._vault = vault
        self._spool = spool
        self._timeout = timeout

    async def process(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Process the batch in one commit; if that fails for a reason in the data, each alone, and park what still fails.

        Returns, in order, None or the TransientError that says to try the same id again.
        """
        try:
            await self._process(ids)
            return [None] * len(ids)
        except TransientError as error:
            return [error] * len(ids)
        except Exception as error:  # whatever it is: the batch is tried one by one, and the culprit parked
            if len(ids) > 1:
                return [(await self.process([one]))[0] for one in ids]
            log.exception("envelope parked", action="park", envelope_id=str(ids[0]), error=type(error).__name__)
            try:
                await self._park(ids[0], error)
            except TransientError as again:
                return [again]
            return [None]

    async def _process(self, ids: Sequence[UUID]) -> None:
        async with envelopes.load(self._engine, ids, spool=self._spool) as loaded:
            read: list[tuple[Keyed, Classification, envelopes.Loaded]] = []
            failed: list[tuple[UUID, Exception]] = []
            for item in loaded:
                try:
                    keyed = await self._read(item)
                    read.append((keyed, self._pack.classify(keyed.message), item))
                except Exception as error:  # a parser's or pack's failure concerns this message only
                    if isinstance(error, TransientError):
                        raise
                    failed.append((item.envelope.id, error))
        evidence = await self._look_up([(keyed.envelope_id, classification) for keyed, classification, _ in read])
        for envelope_id, problem in failed:
            if not isinstance(problem, OkienkoError):
                log.error("parse failed", action="park", envelope_id=str(envelope_id), error=type(problem).__name__)
            await self._park(envelope_id, problem)
        if read:
            await self._commit(read, evidence)

    async def _read(self, item: envelopes.Loaded) -> Keyed:
        channel = self._channels.get(item.envelope.connector)
        if channel is None:
            raise MisconfiguredError(
                f"the plugin {item.envelope.connector!r} that took this in is not loaded: load it, then replay"
            )
        if item.raw.size > INLINE_LIMIT:
            message = await guarded(
                asyncio.to_thread(channel.parse, item.envelope, item.raw),
                plugin=channel.name, operation="parse", seconds=max(self._timeout, 300.0),
            )  # fmt: skip
        else:
            message = channel.parse(item.envelope, item.raw)
        return Keyed(item.seq, item.envelope.id, item.envelope.mailbox, message, self._pack.numbers_in(message.subject))

    async def _look_up(self, asked: Sequence[tuple[UUID, Classification]]) -> list[Evidence]:
        if not self._identity.can_look_up:
            return [Evidence()] * len(asked)
        envelope_ids = [envelope_id for envelope_id, classification in asked if classification.login is not None]
        if envelope_ids:
            # Audited before it is done: a look-up whose decision then fails has been made all the same.
            async with transaction(self._engine) as connection:
                await connection.exec_driver_sql("SELECT 1")
                entries = look_up_entries(self._identity.name, envelope_ids, self._pack.name, self._now())
                audit.record(await raw_connection(connection), entries)

        async def one(classification: Classification) -> Evidence:
            if classification.login is None:
                return Evidence()
            call = self._identity.find_by_login(classification.login)
            account = await guarded(call, plugin=self._identity.name, operation="find_by_login", seconds=self._timeout)
            return Evidence(account=account)

        return list(await asyncio.gather(*(one(c) for _, c in asked)))

    async def _commit(
        self, read: Sequence[tuple[Keyed, Classification, envelopes.Loaded]], evidence: Sequence[Evidence]
    ) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await connection.exec_driver_sql("SELECT 1")
            open_ids = {row["id"] for row in await raw.fetch(_LOCK, [k.envelope_id for k, _, _ in read])}
            work = [(k, c, i, e) for (k, c, i), e in zip(read, evidence, strict=True) if k.envelope_id in open_ids]
            book = await gather(raw, [k for k, _, _, _ in work], now)
            judged = [
                (judge(k, c, e, book, self._policies, self._pack), item) for k, c, item, e in work
            ]  # fmt: skip
            await self._write(connection, raw, judged, now)
        for result, item in judged:
            metrics.MESSAGES.labels(result.outcome.value).inc()
            metrics.MESSAGE_BYTES.observe(item.envelope.size)
            if result.classification and result.decision:
                outcome = result.decision.outcome
                metrics.CASES_OPENED.labels(
                    result.classification.kind.value, outcome.value if outcome else "none"
                ).inc()
            log.info(
                "message processed", action="process", envelope_id=str(item.envelope.id),
                case_id=str(result.case_id) if result.case_id else None, outcome=result.outcome.value,
            )  # fmt: skip

    async def _write(
        self, connection: Any, raw: Any, judged: Sequence[tuple[Judged, envelopes.Loaded]], now: datetime
    ) -> None:
        opened = [(j, i) for j, i in judged if j.outcome is Outcome.CASED]
        merged = [(j, i) for j, i in judged if j.outcome is Outcome.MERGED]
        rows = [opened_row(j, i.envelope.channel.value, i.envelope.connector, now) for j, i in opened]
        await raw.copy_records_to_table("cases", records=[tuple(r.values()) for r in rows], columns=_CASE_COLUMNS)
        links = [
            (j.keyed.envelope_id, j.case_id, "opened" if j.outcome is Outcome.CASED else "merged", now)
            for j, _ in opened + merged
        ]
        await raw.copy_records_to_table("case_message", records=links, columns=("envelope_id", "case_id", "role", "at"))
        refs = sorted({(j.keyed.mailbox, ref, j.case_id) for j, _ in opened + merged for ref in j.keyed.refs}, key=str)
        if refs:
            await raw.execute(_THREAD, *(list(column) for column in zip(*refs, strict=True)))
        done = [(j.keyed.envelope_id, j.outcome.value, j.reason, j.case_id) for j, _ in judged]
        await raw.execute(_FINISH, *(list(column) for column in zip(*done, strict=True)), now) if done else None
        told = [(j.case_id, text) for j, _ in opened if j.case_id and (text := decision_personal(j)) is not None]
        sealed = await self._vault.seal_many(raw, [(case_id, "audit", text) for case_id, text in told], now)
        personal: dict[UUID | None, bytes] = dict(zip((case_id for case_id, _ in told), sealed, strict=True))
        await append(raw, [event for j, i in judged for event in self._events(j, i, now, personal.get(j.case_id))])
        await enqueue(connection, Job.REGISTER, [str(j.case_id) for j, _ in opened])
        await enqueue(connection, Job.FOLLOW_UP, [str(j.keyed.envelope_id) for j, _ in merged])
        closed = {row["id"] for row in await raw.fetch(_CLOSED, [j.case_id for j, _ in merged])} if merged else set()
        await enqueue(connection, Job.REOPEN, sorted(str(case_id) for case_id in closed))

    def _events(self, judged: Judged, item: envelopes.Loaded, now: datetime, personal: bytes | None) -> list[NewEvent]:
        envelope_id, case_id = str(item.envelope.id), judged.case_id
        if judged.outcome is Outcome.CASED and judged.decision and judged.classification and case_id:
            d = judged.decision
            decided = {
                "outcome": d.outcome.value if d.outcome else None,
                # Without the evidence, which may name the sender: an event cannot be erased. It stands with the case.
                "rules": {r.rule: r.verdict.value for r in d.results},
                "pack": self._pack.name,
                "procedure": judged.classification.procedure.value if judged.classification.procedure else None,
                "envelope": envelope_id,
            }
            about = {"envelope": envelope_id, "kind": judged.classification.kind.value, "source": item.envelope.source}
            return [
                NewEvent(case_id, EventType.OPENED, item.envelope.received_at, about, item.envelope.connector),
                NewEvent(case_id, EventType.DECIDED, now, decided, self._pack.name, personal),
            ]
        if judged.outcome is Outcome.MERGED and case_id and judged.merge:
            data = {"envelope": envelope_id, "by": judged.reason, "sender_differs": judged.merge.sender_differs}
            return [NewEvent(case_id, EventType.MESSAGE_ADDED, now, data, item.envelope.connector)]
        if judged.outcome is Outcome.SUPPRESSED and case_id:
            kind = EventType.DELIVERY_FAILED if judged.reason == "delivery_report" else EventType.MESSAGE_ADDED
            return [
                NewEvent(
                    case_id, kind, now, {"envelope": envelope_id, "suppressed": judged.reason}, item.envelope.connector
                )
            ]
        return []

    async def _park(self, envelope_id: UUID, error: Exception) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await connection.exec_driver_sql("SELECT 1")
            if not await raw.fetch(_LOCK, [envelope_id]):
                return
            reason = await park(raw, Job.PROCESS, envelope_id, envelope_id, error, now)
            await raw.execute(
                "UPDATE envelope SET outcome = 'parked', reason = $2, finished_at = $3 WHERE id = $1",
                envelope_id,
                reason.value,
                now,
            )
        metrics.PARKED.labels(Job.PROCESS, reason.value).inc()
        metrics.MESSAGES.labels(Outcome.PARKED.value).inc()
