"""A Mailbox in a thread of its own, seen from the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from pathlib import Path

from okienko.connectors.email.imap import Mailbox
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.ports import Intake, RawItem

GRACE = 10.0
"""Seconds that the thread gets to end."""


async def run_mailbox(settings: EmailSettings, intake: Intake, spool: Path) -> None:
    """Read the mailbox until cancelled. Raises what the thread died of, if it did."""
    loop = asyncio.get_running_loop()
    stopping = threading.Event()
    ended: asyncio.Future[None] = loop.create_future()

    async def store(item: RawItem) -> BaseException | None:
        try:
            async with asyncio.timeout(settings.accept_timeout):
                await intake.accept(item)
        except Exception as error:
            return error
        return None

    async def store_all(items: list[RawItem]) -> list[BaseException | None]:
        return await asyncio.gather(*(store(item) for item in items))

    def hand_over(items: list[RawItem]) -> list[BaseException | None]:
        future = asyncio.run_coroutine_threadsafe(store_all(items), loop)
        while not concurrent.futures.wait([future], timeout=0.5).done:
            if stopping.is_set() and not concurrent.futures.wait([future], timeout=GRACE / 2).done:
                future.cancel()
                raise ConnectionAbortedError("stopped while mails were being stored")
        return future.result()

    def finish(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    mailbox = Mailbox(settings, hand_over, spool)

    def body() -> None:
        error: BaseException | None = None
        try:
            mailbox.run()
        except BaseException as caught:  # it is raised in the event loop
            error = caught
        try:
            loop.call_soon_threadsafe(finish, error)
        except RuntimeError:
            # The loop was closed before the thread ended; nobody is left to hear of it.
            return

    threading.Thread(target=body, name="okienko-imap", daemon=True).start()
    try:
        await asyncio.shield(ended)
    finally:
        stopping.set()
        mailbox.stop()
        await asyncio.wait([ended], timeout=GRACE)
