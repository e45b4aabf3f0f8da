"""The channel as a whole: settings, listeners and outbox together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import smtplib
import socket
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from okienko.connectors.email import okienko_channels
from okienko.connectors.email.channel import EmailChannel
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import Channel, FileSource, RawItem, Severity
from okienko.plugins.testing.conformance import ChannelConformance

MAIL = b"From: Jan <jan@example.org>\r\nTo: d@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n" + (
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n'
    b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n--b--\r\n"
)


class TestConformance(ChannelConformance):
    """What every channel keeps."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Channel:
        return EmailChannel(EmailSettings(lmtp_listen="127.0.0.1:0"), tmp_path)

    @pytest.fixture
    def sample(self) -> bytes:
        return MAIL


class Intake:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.items: list[RawItem] = []

    async def accept(self, item: RawItem) -> UUID:
        self.items.append(item)
        return uuid4()


async def test_run(tmp_path: Path) -> None:
    """Both listeners take mail in, and are gone after the cancellation; old spool files are swept away."""
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "mail-old").touch()
    os.utime(spool / "mail-old", (0, 0))
    (spool / "mail-new").touch()
    context = PluginContext(
        tmp_path, {"OKIENKO_EMAIL_LMTP_LISTEN": "127.0.0.1:0", "OKIENKO_EMAIL_SMTP_LISTEN": "127.0.0.1:0"}
    )
    (channel,) = okienko_channels(context)
    assert isinstance(channel, EmailChannel)
    assert isinstance(channel, FileSource)
    intake = Intake()
    task = asyncio.create_task(channel.run(intake))
    await asyncio.wait_for(channel.ready.wait(), 10)
    assert [file.name for file in spool.iterdir()] == ["mail-new"]

    def client() -> None:
        for kind, address in ((smtplib.LMTP, channel.lmtp_address), (smtplib.SMTP, channel.smtp_address)):
            host, _, port = address.rpartition(":")
            with kind(host, int(port)) as connection:
                connection.sendmail("jan@example.org", ["d@example.org"], MAIL)

    await asyncio.to_thread(client)
    assert [item.source for item in intake.items] == ["lmtp", "smtp"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    with pytest.raises(OSError):  # noqa: PT011  any refusal will do
        await asyncio.to_thread(client)


async def test_run_without_inbound_returns(tmp_path: Path) -> None:
    """Nothing configured, nothing to wait for."""
    await asyncio.wait_for(EmailChannel(EmailSettings(), tmp_path).run(Intake()), 5)


async def test_check(tmp_path: Path) -> None:
    """A taken address and a missing folder are named with a cure; nothing configured is a warning."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = EmailSettings(lmtp_listen=f"127.0.0.1:{port}", smtp_listen=f"unix:{tmp_path}/none/smtp")
        findings = {f.subject: f for f in await EmailChannel(settings, tmp_path).check()}
    assert findings["email outbox"].severity is Severity.OK
    assert findings["email lmtp"].severity is Severity.WARNING
    assert findings["email smtp"].severity is Severity.ERROR
    assert findings["email lmtp"].cure
    assert findings["email smtp"].cure
    nothing = {f.subject: f for f in await EmailChannel(EmailSettings(), tmp_path).check()}
    assert nothing["email in"].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMAP_HOST", "mail.example.org"),
        ("LMTP_LISTEN", "nonsense"),
        ("SMTP_TLS_CERT", "/x"),
        ("RELAY_USER", "x"),
        ("LMTP_LISTN", "127.0.0.1:24"),
    ],
)
def test_wrong_settings(tmp_path: Path, variable: str, value: str) -> None:
    """They are refused at start."""
    with pytest.raises(MisconfiguredError):
        PluginContext(tmp_path, {f"OKIENKO_EMAIL_{variable}": value}).settings(EmailSettings)


@pytest.mark.parametrize("what", ["imap", "relay"])
def test_plain_text_only_on_this_machine(what: str) -> None:
    """Passwords do not cross a network in the clear."""
    with pytest.raises(ValueError, match="only for a server on this machine"):
        EmailSettings(
            **{f"{what}_host": "mail.example.org", f"{what}_tls": "none", "imap_user": "u", "imap_password": "p"}
        )
