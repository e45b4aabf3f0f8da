"""Messages to a person, queued in the transaction of the change that they tell of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from okienko.core.database import enqueue
from okienko.core.events import NewEvent
from okienko.core.jobs import Job
from okienko.metrics import catalogue as metrics
from okienko.plugins.ports import NotificationContext, ProcedurePack
from okienko.schemas import Address, EventType, NotificationKind

_COLUMNS = (
    "id", "case_id", "kind", "connector", "to_name", "to_address", "subject", "text", "message_id", "in_reply_to", "state",
    "created_at",
)  # fmt: skip


@dataclass
class Notices:
    """Collects messages and their events; `write` queues the messages, the caller appends the events."""

    pack: ProcedurePack
    domain: str
    now: datetime
    events: list[NewEvent] = field(default_factory=list)
    _rows: list[tuple[Any, ...]] = field(default_factory=list)
    _mailboxes: list[str] = field(default_factory=list)

    def add(
        self,
        row: Any,
        kind: NotificationKind,
        context: Callable[[UUID], NotificationContext] | NotificationContext,
        *,
        to: Address | None = None,
        withheld: str | None = None,
    ) -> UUID | None:
        """Queue one message about the case of `row` (a row of the cases table); returns its id.

        `to` unset: the case's requester. `withheld`, or no address at all: an event says why there is none, and None is
        returned. A context that needs the message's id is given as a function of it.
        """
        address = to or _requester(row)
        if address is None:
            withheld = withheld or "no_sender"
        if withheld or address is None:
            data = {"kind": kind.value, "why": withheld}
            self.events.append(NewEvent(row["id"], EventType.NOTIFICATION_WITHHELD, self.now, data))
            metrics.NOTIFICATIONS.labels(kind.value, "withheld").inc()
            return None
        notification_id = uuid4()
        text = self.pack.render(kind, context(notification_id) if callable(context) else context)
        self._rows.append(
            (
                notification_id, row["id"], kind.value, row["connector"], address.name, address.address, text.subject, text.text,
                f"{notification_id}@{self.domain}", row["origin_message_id"] if to is None else None, "queued", self.now,
            )
        )  # fmt: skip
        self._mailboxes.append(row["mailbox"])
        data = {"notification": str(notification_id), "kind": kind.value}
        self.events.append(NewEvent(row["id"], EventType.NOTIFICATION_QUEUED, self.now, data))
        return notification_id

    async def write(self, connection: AsyncConnection, raw: Any) -> None:
        """Write the rows and enqueue their jobs, in the open transaction."""
        if not self._rows:
            return
        await raw.copy_records_to_table("notification", records=self._rows, columns=_COLUMNS)
        # The reply to our message must find its case.
        refs = [(mailbox, row[8], row[1]) for mailbox, row in zip(self._mailboxes, self._rows, strict=True)]
        await raw.copy_records_to_table("thread_ref", records=refs, columns=("mailbox", "ref", "case_id"))
        await enqueue(connection, Job.NOTIFY, [str(row[0]) for row in self._rows])


def _requester(row: Any) -> Address | None:
    if not row["requester_address"]:
        return None
    return Address(name=row["requester_name"] or "", address=row["requester_address"])
