"""A few connections, each used by one thread at a time, lent to asynchronous callers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.faults import LOST, DirectoryError, to_error
from okienko.connectors.identity.directory.library import load
from okienko.connectors.identity.directory.settings import DirectorySettings

T = TypeVar("T")


class Pool:
    """Connections to one directory. There are never more of them than threads."""

    def __init__(self, settings: DirectorySettings) -> None:
        self._settings = settings
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    async def thread(self, work: Callable[[], T]) -> T:
        """Run blocking work in one of the pool's threads."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._settings.pool_size, "okienko-directory")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def run(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Lend a connection to `work`. A fault that leaves it becomes okienko's error; `doing` names the work in it.

        When a connection turns out to have been closed by the server while it was idle, the work is begun again on a fresh
        one, unless it has sent a change: whether that arrived is not known, so the caller must begin with a look.
        """

        def blocking() -> T:
            try:
                return self._on_a_connection(work)
            except DirectoryError as fault:
                raise to_error(fault, doing) from None

        return await self.thread(blocking)

    async def close(self) -> None:
        """Close all connections; the pool can be used again after that."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
        while (connection := self._take()) is not None:
            await asyncio.to_thread(connection.close)

    def _on_a_connection(self, work: Callable[[Connection], T]) -> T:
        connection = self._fresh_enough() or self._new()
        while True:
            connection.wrote = False
            try:
                result = work(connection)
            except DirectoryError as fault:
                if fault.result not in LOST:
                    self._give_back(connection)
                    raise
                connection.close()
                if connection.wrote or not connection.reused:
                    raise
                connection = self._new()
            except BaseException:
                self._give_back(connection)
                raise
            else:
                self._give_back(connection)
                return result

    def _new(self) -> Connection:
        return Connection(load(), self._settings)

    def _fresh_enough(self) -> Connection | None:
        while (connection := self._take()) is not None:
            if time.monotonic() - connection.used <= self._settings.idle_seconds:
                return connection
            connection.close()
        return None

    def _take(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Connection) -> None:
        connection.reused = True
        connection.used = time.monotonic()
        with self._lock:
            self._idle.append(connection)
