"""Handing messages to the channels.

At least once: a crash between the relay's 250 and our commit sends the message again, with the same Message-ID. Between
workers exactly once: a message in the hands of one is not taken by another (see exclusive).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from okienko.core import cases
from okienko.core.actions.links import Links
from okienko.core.assessing import wants_assessment
from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.core.parking import problem_of, reason_of
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Channel
from okienko.schemas import Address, EventType, NotificationKind, OperatorMail, OutboundMessage

_QUEUED = """
SELECT id, case_id, kind, connector, to_name, to_address, subject, text, message_id, in_reply_to, created_at
FROM notification WHERE id = ANY($1::uuid[]) AND state = 'queued'
"""
TO_ACTIVATE = """
SELECT a.id FROM reset_action a WHERE a.case_id = ANY($1::uuid[]) AND a.state = 'done' AND 'activate' = ANY(a.steps)
AND NOT EXISTS (SELECT FROM activation v WHERE v.action_id = a.id)
"""
_AT_ONCE = 8
"""Messages handed over at the same time; what waits here has no time limit running yet."""


class Sending:
    """Step 4 of a message's way: what a person is told goes out."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        links: Links,
        calls: Calls,
        attempts: Attempts,
    ) -> None:
        self._engine = engine
        self._now = now
        self._channels = channels
        self._links = links
        self._calls = calls
        self._attempts = attempts
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def notify(self, ids: Sequence[UUID]) -> list[None | Exception]:
        """Hand each queued message to its channel, and note that it went."""
        return await self._attempts.each(Job.NOTIFY, ids, self._notify)

    async def _notify(self, ids: Sequence[UUID]) -> Mapping[UUID, Exception]:
        async with transaction(self._engine) as connection:
            rows = await (await raw_connection(connection)).fetch(_QUEUED, list(ids))
        sent = await asyncio.gather(*map(self._send, rows))
        results = [(row, error) for row, error in zip(rows, sent, strict=True)]
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(
                "UPDATE notification SET state = 'sent', sent_at = $2 WHERE id = ANY($1::uuid[])",
                [row["id"] for row, error in results if error is None],
                now,
            )
            events = []
            for row, error in results:
                data = {"notification": str(row["id"]), "kind": row["kind"]}
                if error is None:
                    events.append(NewEvent(row["case_id"], EventType.NOTIFICATION_SENT, now, data, row["connector"]))
                elif not isinstance(error, TransientError):
                    problem = "UPDATE notification SET state = 'failed', problem = $2 WHERE id = $1"
                    await raw.execute(problem, row["id"], problem_of(error))
                    data["reason"] = reason_of(error).value
                    events.append(NewEvent(row["case_id"], EventType.NOTIFICATION_FAILED, now, data, row["connector"]))
            # What is about no case (OperatorMail) is no step of one: its row says what became of it.
            await append(raw, [event for event in events if event.case_id is not None])
            # What can never be sent holds nothing up: the person is told as much as can be told.
            await _go_on(connection, raw, [row for row, error in results if not isinstance(error, TransientError)])
        for row, error in results:
            result = "sent" if error is None else "retried" if isinstance(error, TransientError) else "failed"
            metrics.NOTIFICATIONS.labels(row["kind"], result).inc()
        return {row["id"]: error for row, error in results if error is not None}

    async def _send(self, row: Any) -> Exception | None:
        try:
            text = self._links.fill(row["text"], row["id"])
        except PermanentError as error:
            return error
        message = OutboundMessage.model_construct(
            id=row["id"], case_id=row["case_id"], kind=_kind(row["kind"]),
            to=Address.model_construct(name=row["to_name"], address=row["to_address"]),
            subject=row["subject"], text=text, message_id=row["message_id"], in_reply_to=row["in_reply_to"],
            references=(row["in_reply_to"],) if row["in_reply_to"] else (), created_at=row["created_at"],
        )  # fmt: skip
        channel = self._channels.get(row["connector"])
        if channel is None:
            return MisconfiguredError(
                f"the plugin {row['connector']!r} that would send this is not loaded: load it, then replay"
            )
        async with self._gate:
            try:
                await self._calls.call(channel, "send", lambda: channel.send(message))
            except Exception as error:  # its class decides; see notify
                return error
        return None


def _kind(value: str) -> NotificationKind | OperatorMail:
    return OperatorMail(value) if value in set(OperatorMail) else NotificationKind(value)


async def _go_on(connection: AsyncConnection, raw: Any, settled: Sequence[Any]) -> None:
    """What waits for a message to have gone: the look at the account for mail 1, mail 3 for mail 2 (rule T5)."""
    told = [row["case_id"] for row in settled if row["kind"] == NotificationKind.REGISTERED]
    rows = await cases.fetch(raw, told) if told else {}
    await enqueue(connection, Job.ASSESS, [str(i) for i, row in rows.items() if wants_assessment(cases.to_case(row))])
    closed = [row["case_id"] for row in settled if row["kind"] == NotificationKind.CLOSED]
    if closed:
        await enqueue(connection, Job.ACTIVATE, [str(row["id"]) for row in await raw.fetch(TO_ACTIVATE, closed)])
