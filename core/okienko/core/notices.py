"""Messages to people, put down in the same commit as the events that call for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from okienko.core.database import enqueue, raw_connection
from okienko.core.events import NewEvent, append
from okienko.core.jobs import Job
from okienko.metrics import catalogue as metrics
from okienko.plugins.ports import RenderedText
from okienko.schemas import Case, EventType, NotificationKind

_COLUMNS = (
    "id", "case_id", "kind", "connector", "to_name", "to_address", "subject", "text", "message_id", "in_reply_to", "state",
    "created_at",
)  # fmt: skip


@dataclass
class Notices:
    """What one transaction is to write: events, and messages with their jobs."""

    domain: str
    """Of the Message-IDs."""
    events: list[NewEvent] = field(default_factory=list)
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    refs: list[tuple[Any, ...]] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)

    def add(
        self, row: Any, case: Case, kind: NotificationKind, now: datetime, render: Callable[[], RenderedText]
    ) -> None:
        """Add the message to the person, or the event that says why there is none. `row` is the case's row.

        A person's closing of the case is told even to a correspondent whom no machine answers.
        """
        why = row["silenced"] if kind is not NotificationKind.CLOSED else None
        if case.requester is None or why:
            data = {"kind": kind.value, "why": "no_sender" if case.requester is None else why}
            self.events.append(NewEvent(case.id, EventType.NOTIFICATION_WITHHELD, now, data))
            self.withheld.append(kind.value)
            return
        text = render()
        notification_id = uuid4()
        # Lasting: a second attempt after a lost answer is recognised by the mail systems on its way.
        message_id = f"{notification_id}@{self.domain}"
        self.messages.append(
            (
                notification_id, case.id, kind.value, row["connector"], case.requester.name, case.requester.address,
                text.subject, text.text, message_id, row["origin_message_id"], "queued", now,
            )
        )  # fmt: skip
        self.refs.append((case.mailbox, message_id, case.id))
        data = {"notification": str(notification_id), "kind": kind.value}
        self.events.append(NewEvent(case.id, EventType.NOTIFICATION_QUEUED, now, data))

    async def write(self, connection: Any) -> None:
        """Write it all, in the open `transaction` of the connection."""
        raw = await raw_connection(connection)
        if self.messages:
            await raw.copy_records_to_table("notification", records=self.messages, columns=_COLUMNS)
            # The reply to our message must find its case.
            await raw.copy_records_to_table("thread_ref", records=self.refs, columns=("mailbox", "ref", "case_id"))
            await enqueue(connection, Job.NOTIFY, [str(message[0]) for message in self.messages])
        await append(raw, self.events)
        for kind in self.withheld:
            metrics.NOTIFICATIONS.labels(kind, "withheld").inc()
