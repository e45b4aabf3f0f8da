"""The e-mail channel: puts listeners, mailbox, parser and outbox together."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from okienko.connectors.email import files, outbound, parse, relay
from okienko.connectors.email.datasink import PREFIX
from okienko.connectors.email.settings import EmailSettings
from okienko.connectors.email.smtpserver import Listener
from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.ports import Finding, Intake, Severity
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName, Envelope, InboundMessage, OutboundMessage

_STALE = 86_400
"""Seconds after which a file in the spool can only be what a crash left behind."""


class EmailChannel:
    """See Channel."""

    name = "email"
    channel = ChannelName.EMAIL

    def __init__(self, settings: EmailSettings, home: Path) -> None:
        self._settings = settings
        self._spool = home / "spool"
        self._outbox: outbound.Outbox = (
            relay.SmtpRelay(settings)
            if settings.relay_host
            else outbound.FolderOutbox(settings.outbox_dir or home / "outbox")
        )
        self.lmtp_address = ""
        """Where the LMTP listener really listens, once `ready` is set."""
        self.smtp_address = ""
        """The same of the SMTP listener."""
        self.ready = asyncio.Event()
        """Set while mail can come in."""

    async def run(self, intake: Intake) -> None:
        """See Channel."""
        settings = self._settings
        listeners: list[Listener] = []
        await asyncio.to_thread(self._sweep)
        try:
            for where, lmtp in ((settings.lmtp_listen, True), (settings.smtp_listen, False)):
                if where:
                    listener = Listener(where, intake.accept, settings, self._spool, lmtp=lmtp)
                    await listener.start()
                    listeners.append(listener)
                    if lmtp:
                        self.lmtp_address = listener.address
                    else:
                        self.smtp_address = listener.address
            self.ready.set()
            async with asyncio.TaskGroup() as group:
                if settings.imap_host:
                    # Its libraries are loaded by those who read a mailbox.
                    from okienko.connectors.email.imapthread import run_mailbox

                    group.create_task(run_mailbox(settings, intake, self._spool))
                if listeners:
                    group.create_task(_until_cancelled())
        finally:
            self.ready.clear()
            await asyncio.gather(*(listener.stop() for listener in listeners))

    def parse(self, envelope: Envelope, raw: RawContent) -> InboundMessage:
        """See Channel."""
        del envelope  # a mail says everything itself
        return parse.parse_message(raw)

    def open_attachment(self, envelope: Envelope, raw: RawContent, index: int) -> BinaryIO:
        """See Channel."""
        del envelope
        return parse.open_attachment(raw, index)

    def read_files(self, paths: Sequence[Path]) -> Iterator[tuple[str, RawContent]]:
        """See FileSource."""
        return files.read_paths(paths)

    async def send(self, message: OutboundMessage) -> None:
        """See Channel."""
        await self._outbox.deliver(message, outbound.build(message, self._settings))

    async def check(self) -> list[Finding]:
        """See Channel."""
        findings = await self._outbox.check()
        s = self._settings
        for where, lmtp in ((s.lmtp_listen, True), (s.smtp_listen, False)):
            if where:
                findings.append(await self._try_listen(where, lmtp=lmtp))
        if s.imap_host:
            from okienko.connectors.email.imap import Mailbox

            findings.append(await asyncio.to_thread(Mailbox(s, lambda _: [], self._spool).check))
        if not (s.lmtp_listen or s.smtp_listen or s.imap_host):
            text = "no way in is configured: only `okienko intake` takes mail in"
            cure = "set OKIENKO_EMAIL_LMTP_LISTEN, OKIENKO_EMAIL_SMTP_LISTEN or OKIENKO_EMAIL_IMAP_HOST"
            findings.append(Finding("email in", Severity.WARNING, text, cure))
        return findings

    async def _try_listen(self, where: str, *, lmtp: bool) -> Finding:
        subject = "email lmtp" if lmtp else "email smtp"
        if self.ready.is_set():
            return Finding(subject, Severity.OK, f"listens on {where}")
        if where.startswith("unix:"):
            # Binding would take the socket away from a service that is running.
            folder = Path(where.removeprefix("unix:")).parent
            if await asyncio.to_thread(os.access, folder, os.W_OK | os.X_OK):
                return Finding(subject, Severity.OK, f"can listen on {where}")
            cure = "make the folder, or give okienko the right to write there"
            return Finding(subject, Severity.ERROR, f"{folder} is no folder that can be written", cure)
        listener = Listener(where, _never, self._settings, self._spool, lmtp=lmtp)
        try:
            await listener.start()
        except MisconfiguredError as error:
            variable = "OKIENKO_EMAIL_LMTP_LISTEN" if lmtp else "OKIENKO_EMAIL_SMTP_LISTEN"
            cure = f"set {variable} to a free address, or stop what listens there (okienko itself, if it is running)"
            taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            return Finding(subject, Severity.WARNING if taken else Severity.ERROR, str(error), cure)
        finally:
            await listener.stop()
        return Finding(subject, Severity.OK, f"can listen on {where}")

    def _sweep(self) -> None:
        """Remove spool files that a crash left behind; nothing in them was ever acknowledged."""
        for path in self._spool.glob(f"{PREFIX}*"):
            try:
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()
            except OSError:
                continue  # another process was faster


async def _until_cancelled() -> None:
    await asyncio.Event().wait()


async def _never(item: object) -> None:
    """What a trial listener does with mail: leave it to the sender."""
    del item
    raise TransientError("this is only a check")
