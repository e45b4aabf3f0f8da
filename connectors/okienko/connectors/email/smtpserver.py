"""The LMTP and SMTP listeners. Why they are our own is said in `session`."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

from okienko.connectors.email.session import Desk, Session
from okienko.connectors.email.settings import EmailSettings
from okienko.connectors.email.transaction import Accept
from okienko.plugins.errors import MisconfiguredError

log = structlog.get_logger(__name__)

GRACE = 5.0
"""Seconds that transactions in hand get when the listener stops."""


class Listener:
    """Listens on one address until stopped; what is being stored when it stops is stored to the end."""

    def __init__(self, where: str, accept: Accept, settings: EmailSettings, spool: Path, *, lmtp: bool) -> None:
        self._where = where
        self._settings = settings
        self._desk_of = (accept, settings, spool, lmtp)
        self._desk: Desk | None = None
        self._server: asyncio.Server | None = None
        self.address: str = ""
        """Where it really listens: `host:port` or `unix:/path`."""

    async def start(self) -> None:
        """Begin to listen. Raises MisconfiguredError when the address or the certificate cannot be had."""
        accept, settings, spool, lmtp = self._desk_of
        desk = self._desk = Desk(accept, settings, spool, lmtp, None if lmtp else self._tls())
        loop = asyncio.get_running_loop()
        try:
            if self._where.startswith("unix:"):
                path = self._where.removeprefix("unix:")
                self._server = await loop.create_unix_server(lambda: Session(desk), path)
                self.address = self._where
            else:
                host, _, port = self._where.rpartition(":")
                self._server = await loop.create_server(
                    lambda: Session(desk), host.strip("[]") or None, int(port), backlog=512
                )
                name = self._server.sockets[0].getsockname()
                self.address = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        except (OSError, ValueError, OverflowError) as error:
            raise MisconfiguredError(
                f"cannot listen on {self._where} ({error}): choose a free address, written host:port or unix:/path"
            ) from error
        log.info("listening", action="listen", protocol="lmtp" if lmtp else "smtp", address=self.address)

    async def stop(self) -> None:
        """Take no new connection, hang up on idle ones, let transactions in hand end within `GRACE`."""
        if self._server is None or self._desk is None:
            return
        self._server.close()
        for session in tuple(self._desk.sessions):
            session.stop()
        if self._desk.tasks:
            _, left = await asyncio.wait(tuple(self._desk.tasks), timeout=GRACE)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if self._where.startswith("unix:"):
            await asyncio.to_thread(Path(self._where.removeprefix("unix:")).unlink, missing_ok=True)

    def _tls(self) -> ssl.SSLContext | None:
        if self._settings.smtp_tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._settings.smtp_tls_cert, self._settings.smtp_tls_key)
        except (OSError, ssl.SSLError) as error:
            raise MisconfiguredError(
                f"OKIENKO_EMAIL_SMTP_TLS_CERT and _KEY cannot be used ({error}): both are PEM files of one pair"
            ) from error
        return context
