"""The LMTP and SMTP listeners."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import structlog

from okienko.connectors.email.session import Accept, Session
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError

log = structlog.get_logger(__name__)

GRACE = 5.0
"""Seconds that transactions in hand get when the listener stops."""


class Listener:
    """Listens on one address until stopped; what is being stored when it stops is stored to the end."""

    def __init__(self, where: str, accept: Accept, settings: EmailSettings, spool: Path, *, lmtp: bool) -> None:
        self._where = where
        self._accept = accept
        self._settings = settings
        self._spool = spool
        self._lmtp = lmtp
        self._tls: ssl.SSLContext | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address: str = ""
        """Where it really listens: `host:port` or `unix:/path`."""

    async def start(self) -> None:
        """Begin to listen. Raises MisconfiguredError when the address cannot be had."""
        self._spool.mkdir(parents=True, exist_ok=True)
        if self._settings.smtp_tls_cert and not self._lmtp:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(self._settings.smtp_tls_cert, self._settings.smtp_tls_key)
        try:
            if self._where.startswith("unix:"):
                path = Path(self._where.removeprefix("unix:"))
                path.unlink(missing_ok=True)  # noqa: ASYNC240  once, before anything is served
                self._server = await asyncio.start_unix_server(self._connected, path)
                self.address = self._where
            else:
                host, _, port = self._where.rpartition(":")
                self._server = await asyncio.start_server(self._connected, host.strip("[]"), int(port), backlog=512)
                name = self._server.sockets[0].getsockname()
                self.address = f"{name[0]}:{name[1]}"
        except (OSError, ValueError) as error:
            raise MisconfiguredError(
                f"cannot listen on {self._where} ({error}): choose a free address, written host:port"
            ) from error
        log.info("listening", action="listen", protocol="lmtp" if self._lmtp else "smtp", address=self.address)

    async def stop(self) -> None:
        """Take no new connection, let transactions end, then hang up."""
        if self._server is None:
            return
        self._server.close()
        if self._sessions:
            _, left = await asyncio.wait(self._sessions, timeout=GRACE)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        session = Session(reader, writer, self._accept, self._settings, self._spool, lmtp=self._lmtp, tls=self._tls)
        try:
            if len(self._sessions) >= self._settings.max_connections:
                session.refuse()
                return
            if task is not None:
                self._sessions.add(task)
            await session.run()
        finally:
            if task is not None:
                self._sessions.discard(task)
            with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
                writer.close()
                await writer.wait_closed()
