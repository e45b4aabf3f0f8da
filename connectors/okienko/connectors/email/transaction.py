"""Handing one received message over, and the answer that each recipient gets (RFC 5321, 4.2.5; RFC 2033, 4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from okienko.connectors.email.datasink import DataSink
from okienko.plugins.errors import TooLargeError, TransientError
from okienko.plugins.ports import RawItem
from okienko.schemas import ChannelName

log = structlog.get_logger(__name__)

LATER = "451 4.3.0 Cannot store it now, try again later"
TOO_BIG = "552 5.3.4 Message too big"

Accept = Callable[[RawItem], Awaitable[object]]


async def store(
    accept: Accept, sink: DataSink, sender: str, recipients: list[tuple[str, str]], *, source: str, limit: float
) -> list[str]:
    """One item for each distinct mailbox among the recipients (address, mailbox); one answer for each recipient."""
    sink.close()
    if sink.too_big:
        return [TOO_BIG] * len(recipients)
    if sink.broken:
        log.error("message deferred", action="defer", problem=f"spool: {sink.broken.strerror}")
        return ["452 4.3.1 No room to store it now, try again later"] * len(recipients)
    raw = sink.content()
    answers: dict[str, str] = {}
    for mailbox in dict.fromkeys(mailbox for _, mailbox in recipients):
        addresses = tuple(a for a, m in recipients if m == mailbox)
        item = RawItem(
            ChannelName.EMAIL, "email", source, raw, mailbox=mailbox, mail_from=sender, rcpt_to=addresses
        )  # fmt: skip
        answers[mailbox] = await _accept_one(accept, item, limit)
    return [answers[mailbox] for _, mailbox in recipients]


async def _accept_one(accept: Accept, item: RawItem, limit: float) -> str:
    try:
        async with asyncio.timeout(limit):
            await accept(item)
    except TooLargeError:
        return TOO_BIG
    except TransientError as error:
        # The reason is for our log: it may name hosts and tables, which are none of the client's business.
        log.warning("message deferred", action="defer", problem=str(error))
        return LATER
    except Exception:
        log.exception("message deferred", action="defer")
        return LATER
    return "250 2.6.0 Stored"
