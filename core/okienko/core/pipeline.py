"""Processing envelopes: read, look up, judge, decide, and write it all in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import envelopes, repeats
from okienko.core.accountwork import ACCOUNT_KINDS
from okienko.core.audit.personal import decision_personal
from okienko.core.audit.vault import Vault
from okienko.core.calls import Calls
from okienko.core.csd import outbox
from okienko.core.csd.outbox import Kind, New
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.facts import Keyed, gather
from okienko.core.intake import INLINE_LIMIT
from okienko.core.jobs import Job
from okienko.core.judging import Judged, judge, opened_row
from okienko.core.limits import Limit
from okienko.core.parking import park
from okienko.core.repeats import RequestKeys
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.ports import Channel, Classification, Evidence, MessagePolicy, ProcedurePack
from okienko.schemas import CaseState, Decision, Envelope, EventType, Outcome

log = structlog.get_logger(__name__)

_CASE_COLUMNS = (
    "id", "kind", "procedure", "state", "channel", "connector", "mailbox", "subject", "requester_name", "requester_address",
    "person", "decision", "description", "origin_message_id", "silenced", "opened_at", "request_key",
)  # fmt: skip
_LOCK = "SELECT id FROM envelope WHERE id = ANY($1::uuid[]) AND outcome = 'received' ORDER BY seq FOR UPDATE"
_FINISH = """
UPDATE envelope e SET outcome = d.outcome, reason = d.reason, case_id = d.case_id, finished_at = $5
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS d(id, outcome, reason, case_id) WHERE e.id = d.id
"""
_THREAD = """
INSERT INTO thread_ref (mailbox, ref, case_id) SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING
"""
# Locked, so that a case that is being registered or closed at this moment is seen as it will be.
_MERGED_INTO = "SELECT id, state FROM cases WHERE id = ANY($1::uuid[]) ORDER BY seq FOR NO KEY UPDATE"
_ANSWER_CAP = "answer_cap"
"""The reason of a Silence by which a policy says so (loopguard)."""
_ENDING = (
    "SELECT DISTINCT case_id FROM csd_outbox WHERE case_id = ANY($1::uuid[]) AND kind = 'close' AND state = 'waiting'"
)
_GROUP_OCTETS = 16 << 20
"""Most octets of messages held, on disk or in memory, and parsed at a time."""
_LARGE_SECONDS = 300.0
"""Least time limit for reading a message that is too large for its envelope's row."""


@dataclass(frozen=True, slots=True)
class _Reading:
    keyed: Keyed
    classification: Classification
    envelope: Envelope
    decision: Decision | None = None
    """The first one, where it was needed to read what is asked."""


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
        vault: Vault,
        spool: Path,
        calls: Calls,
        repeats: RequestKeys | None = None,
    ) -> None:
        self._engine = engine
        self._now = now
        self._channels = channels
        self._policies = policies
        self._pack = pack
        self._vault = vault
        self._spool = spool
        self._calls = calls
        self._repeats = repeats

    async def process(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Process the batch in few commits; where one fails for a reason in the data, each alone, and park what still fails.

        Returns, in order, None or the TransientError that says to try the same id again.
        """
        retry: dict[UUID, Exception] = {}
        try:
            groups = await envelopes.portions(self._engine, ids, octets=_GROUP_OCTETS)
        except TransientError as error:
            return [error] * len(ids)
        for group in groups:
            retry |= await self._group(group)
        return [retry.get(i) for i in ids]

    async def _group(self, ids: Sequence[UUID]) -> dict[UUID, Exception]:
        """Process the group; what is to be tried again, by id."""
        try:
            return await self._process(ids)
        except TransientError as error:
            return dict.fromkeys(ids, error)
        except Exception as error:  # whatever it is: the batch is tried one by one, and the culprit parked
            if len(ids) > 1:
                results = [await self._group([one]) for one in ids]
                return {key: again for result in results for key, again in result.items()}
            try:
                await self._park(ids[0], error)
            except TransientError as again:
                return {ids[0]: again}
            return {}

    async def _process(self, ids: Sequence[UUID]) -> dict[UUID, Exception]:
        async with envelopes.load(self._engine, ids, spool=self._spool) as loaded:
            readings = await self._read(loaded)
        ready: list[_Reading] = []
        retry: dict[UUID, Exception] = {}
        for result in readings:
            if isinstance(result, _Reading):
                ready.append(result)
            elif isinstance(result[1], TransientError):
                retry[result[0]] = result[1]
            else:
                await self._park(*result)
        if ready:
            await self._commit(ready)
        return retry

    async def _read(self, loaded: Sequence[envelopes.Loaded]) -> list[_Reading | tuple[UUID, Exception]]:
        """Parse and classify, off the event loop: the small ones together, each large one alone."""
        small = [item for item in loaded if item.raw.size <= INLINE_LIMIT]
        readings: list[_Reading | tuple[UUID, Exception]] = []
        if small:
            one = self._channels.get(small[0].envelope.connector, self._pack) if len(small) == 1 else self._pack
            readings += await self._calls.apart(one, "parse", lambda: [self._read_one(item) for item in small])
        for item in loaded:
            if item.raw.size > INLINE_LIMIT:
                alone = partial(self._read_one, item)
                limit = max(self._calls.seconds, _LARGE_SECONDS)
                readings.append(await self._calls.apart(self._pack, "parse", alone, seconds=limit))
        return readings

    def _read_one(self, item: envelopes.Loaded) -> _Reading | tuple[UUID, Exception]:
        try:
            channel = self._channels.get(item.envelope.connector)
            if channel is None:
                raise MisconfiguredError(  # noqa: TRY301  it concerns this message only, like the parser's failures
                    f"the plugin {item.envelope.connector!r} that took this in is not loaded: load it, then replay"
                )
            message = self._calls.ask(channel, lambda: channel.parse(item.envelope, item.raw))
            pack, calls = self._pack, self._calls
            numbers = calls.ask(pack, lambda: pack.numbers_in(message.subject))
            classification = calls.ask(pack, lambda: pack.classify(message))
            decision, key, mailbox = None, None, item.envelope.mailbox
            if self._repeats is not None and self._repeats.may_repeat(classification):
                decision = calls.ask(pack, lambda: pack.decide(message, classification, Evidence()))
                key = self._repeats.of(mailbox, message, classification, decision, item.raw)
            keyed = Keyed(item.seq, item.envelope.id, mailbox, message, numbers, key)
            return _Reading(keyed, classification, item.envelope, decision)
        except Exception as error:  # a parser's or pack's failure concerns this message only
            return item.envelope.id, error

    async def _commit(self, ready: Sequence[_Reading]) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            open_ids = {row["id"] for row in await raw.fetch(_LOCK, [r.keyed.envelope_id for r in ready])}
            work = [r for r in ready if r.keyed.envelope_id in open_ids]
            work.sort(key=lambda reading: reading.keyed.seq)
            window = self._repeats.window if self._repeats else timedelta()
            book = await gather(raw, [r.keyed for r in work], now, repeats_for=window)

            def decide() -> list[tuple[Judged, Envelope]]:
                policies, pack, calls = self._policies, self._pack, self._calls
                return [
                    (judge(r.keyed, r.classification, book, policies, pack, calls, r.decision), r.envelope)
                    for r in work
                ]

            judged = await self._calls.apart(self._pack, "decide", decide)
            await self._write(connection, raw, judged, now)
        for result, envelope in judged:
            metrics.MESSAGES.labels(result.outcome.value).inc()
            if result.repeats:
                metrics.LIMITS.labels(Limit.REPEAT.value).inc()
            if result.silenced == _ANSWER_CAP:
                metrics.LIMITS.labels(Limit.ANSWERS_DAY.value).inc()
            metrics.MESSAGE_BYTES.observe(envelope.size)
            if result.classification and result.decision:
                outcome = result.decision.outcome
                metrics.CASES_OPENED.labels(
                    result.classification.kind.value, outcome.value if outcome else "none"
                ).inc()
            log.info(
                "message processed", action="process", envelope_id=str(envelope.id),
                case_id=str(result.case_id) if result.case_id else None, outcome=result.outcome.value,
            )  # fmt: skip

    async def _write(self, connection: Any, raw: Any, judged: Sequence[tuple[Judged, Envelope]], now: datetime) -> None:
        opened = [(j, i) for j, i in judged if j.outcome is Outcome.CASED]
        merged = [(j, i) for j, i in judged if j.outcome is Outcome.MERGED]
        rows = [opened_row(j, e.channel.value, e.connector, now) for j, e in opened]
        await raw.copy_records_to_table("cases", records=[tuple(r.values()) for r in rows], columns=_CASE_COLUMNS)
        links = [(j.keyed.envelope_id, j.case_id, _role(j), now) for j, _ in opened + merged]
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
        # Worked on once the case has its number.
        later: list[New] = []
        for j, _ in opened:
            # The files of a request about an account stay here (see `Mails.tell`).
            about_account = j.classification is not None and j.classification.kind in ACCOUNT_KINDS
            if j.case_id and j.keyed.message.attachments and not about_account:
                later.append((j.case_id, Kind.FILES, j.keyed.envelope_id))
            later += [(j.case_id, Kind.LINK, link.case_id) for link in j.mentions if j.case_id]
        await outbox.put(raw, later, now)
        await enqueue(connection, Job.REGISTER, [str(j.case_id) for j, _ in opened])
        if merged:
            rows = await raw.fetch(_MERGED_INTO, [j.case_id for j, _ in merged])
            states = {row["id"]: row["state"] for row in rows}
            again = [(j.case_id, j.keyed.envelope_id) for j, _ in merged if j.repeats and j.case_id]
            first, limited = await repeats.count(raw, again, now)
            await append(raw, limited)
            # A case without its number takes its mails along when it is registered. Of repeats, the first is enough.
            noted = [
                j
                for j, _ in merged
                if states.get(j.case_id) != CaseState.DECIDED and (not j.repeats or j.keyed.envelope_id in first)
            ]
            # Opened again before it is told of the mail: a closed ticket may take none. One about to be closed will be closed then.
            ending = {row["case_id"] for row in await raw.fetch(_ENDING, list(states))}
            ended = [i for i, state in states.items() if state == CaseState.CLOSED or i in ending]
            owed: list[New] = [(case_id, Kind.REOPEN, None) for case_id in ended]
            owed += [(j.case_id, Kind.MAIL, j.keyed.envelope_id) for j in noted if j.case_id]
            await outbox.put(raw, owed, now)
            await outbox.wake(connection, [case_id for case_id, _, _ in owed])

    def _events(self, judged: Judged, envelope: Envelope, now: datetime, personal: bytes | None) -> list[NewEvent]:
        envelope_id, case_id = str(envelope.id), judged.case_id
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
            about: dict[str, Any] = {
                "envelope": envelope_id, "kind": judged.classification.kind.value, "source": envelope.source,
            }  # fmt: skip
            if judged.mentions:
                about["mentions"] = [str(link.case_id) for link in judged.mentions]
            events = [
                NewEvent(case_id, EventType.OPENED, envelope.received_at, about, envelope.connector),
                NewEvent(case_id, EventType.DECIDED, now, decided, self._pack.name, personal),
            ]
            if judged.silenced == _ANSWER_CAP:
                why = "the sender has had the automatic answers of the day: this case gets none"
                limit = {"limit": Limit.ANSWERS_DAY.value, "why": why}
                events.append(NewEvent(case_id, EventType.LIMITED, now, limit))
            return events
        if judged.outcome is Outcome.MERGED and case_id and judged.merge and not judged.repeats:
            data = {"envelope": envelope_id, "by": judged.reason, "sender_differs": judged.merge.sender_differs}
            return [NewEvent(case_id, EventType.MESSAGE_ADDED, now, data, envelope.connector)]
        if judged.outcome is Outcome.SUPPRESSED and case_id:
            kind = EventType.DELIVERY_FAILED if judged.reason == "delivery_report" else EventType.MESSAGE_ADDED
            return [
                NewEvent(case_id, kind, now, {"envelope": envelope_id, "suppressed": judged.reason}, envelope.connector)
            ]
        return []

    async def _park(self, envelope_id: UUID, error: Exception) -> None:
        cause = error.__cause__ or error
        log.warning(
            "envelope parked", action="park", envelope_id=str(envelope_id), error=type(cause).__name__, exc_info=cause
        )
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
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


def _role(judged: Judged) -> str:
    if judged.outcome is Outcome.CASED:
        return "opened"
    return "repeated" if judged.repeats else "merged"
