"""The e-mail channel: puts listeners, mailbox, parser and outbox together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from okienko.connectors.email import files, outbound, parse
from okienko.connectors.email.imap import Mailbox, run_mailbox
from okienko.connectors.email.settings import EmailSettings
from okienko.connectors.email.smtpserver import Listener
from okienko.plugins.ports import Finding, Intake, Severity
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName, Envelope, InboundMessage, OutboundMessage


class EmailChannel:
    """See Channel."""

    name = "email"
    channel = ChannelName.EMAIL

    def __init__(self, settings: EmailSettings, home: Path) -> None:
        self._settings = settings
        self._spool = home / "spool"
        self._outbox: outbound.Outbox = (
            outbound.SmtpRelay(settings)
            if settings.relay_host
            else outbound.FolderOutbox(settings.outbox or home / "outbox")
        )
        self.lmtp_address = ""
        """Where the LMTP listener really listens, once `ready` is set."""
        self.smtp_address = ""
        self.ready = asyncio.Event()

    async def run(self, intake: Intake) -> None:
        """See Channel."""
        listeners: list[Listener] = []
        try:
            for where, lmtp in ((self._settings.lmtp_listen, True), (self._settings.smtp_listen, False)):
                if where:
                    listener = Listener(where, intake.accept, self._settings, self._spool, lmtp=lmtp)
                    await listener.start()
                    listeners.append(listener)
                    if lmtp:
                        self.lmtp_address = listener.address
                    else:
                        self.smtp_address = listener.address
            self.ready.set()
            if self._settings.imap_host:
                await run_mailbox(self._settings, intake.accept, self._spool)
            elif listeners:
                await asyncio.Event().wait()
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
        for where in filter(None, (s.lmtp_listen, s.smtp_listen)):
            findings.append(Finding("email listener", Severity.OK, f"will listen on {where}"))
        if s.imap_host:
            findings.append(await asyncio.to_thread(Mailbox(s, lambda _: [], self._spool).check))
        if not (s.lmtp_listen or s.smtp_listen or s.imap_host):
            cure = "set OKIENKO_EMAIL_LMTP_LISTEN, OKIENKO_EMAIL_SMTP_LISTEN or OKIENKO_EMAIL_IMAP_HOST"
            findings.append(
                Finding(
                    "email in", Severity.WARNING, "no way in is configured: only `okienko intake` takes mail in", cure
                )
            )
        return findings
