"""Mails out, into a folder and to a relay."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from okienko.connectors.email.outbound import FolderOutbox, SmtpRelay, build
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Severity
from okienko.schemas import Address, NotificationKind, OutboundMessage


def message(**more: Any) -> OutboundMessage:
    given: dict[str, Any] = {
        "id": UUID(int=7),
        "case_id": UUID(int=8),
        "kind": NotificationKind.REGISTERED,
        "to": Address(name="Żaneta Łoś", address="zaneta@example.org"),
        "subject": "Zgłoszenie ZGL-1 przyjęte",
        "text": "Dzień dobry,\n\n.kropka\nFrom here\n" + "długi wiersz " * 100,
        "message_id": "n7@okienko.invalid",
        "in_reply_to": "q@example.org",
        "references": ("p@example.org", "q@example.org"),
        "created_at": datetime(2026, 1, 5, 8, 30, tzinfo=UTC),
    }
    return OutboundMessage(**(given | more))


def test_fields() -> None:
    """Everything that the RFCs ask for, in ASCII lines of a legal length."""
    data = build(message(), EmailSettings())
    assert data.isascii()
    assert max(len(line) for line in data.split(b"\r\n")) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")
    mail = message_from_bytes(data, policy=default)
    assert mail["From"] == "Help Desk <helpdesk@okienko.invalid>"
    assert mail["To"] == "Żaneta Łoś <zaneta@example.org>"
    assert mail["Subject"] == "Zgłoszenie ZGL-1 przyjęte"
    assert mail["Date"] == "Mon, 05 Jan 2026 08:30:00 +0000"
    assert mail["Message-ID"] == "<n7@okienko.invalid>"
    assert mail["In-Reply-To"] == "<q@example.org>"
    assert mail["References"] == "<p@example.org> <q@example.org>"
    assert mail["Auto-Submitted"] == "auto-replied"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n").strip() == message().text.strip()


@pytest.mark.parametrize(
    "evil", ["x\r\nBcc: all@example.org", "x\nBcc: a", "x\rBcc: a", "x\x00\u2028Bcc: a", "\ud800Bcc"]
)
def test_no_injection(evil: str) -> None:
    """Nothing that a person wrote becomes a field of its own."""
    try:
        plain = evil.encode() and evil
    except UnicodeEncodeError:
        plain = evil.encode("utf-8", "replace").decode()
    odd = message(
        subject=plain, to=Address(name=plain, address="a@example.org"), in_reply_to=plain, references=(plain, plain)
    )
    mail = message_from_bytes(build(odd, EmailSettings()), policy=default)
    assert mail["Bcc"] is None
    assert mail["Auto-Submitted"] == "auto-replied"


@pytest.mark.parametrize(
    "address", ["", "no-at", "a@b@c", "a@example.org\r\nBcc: x@example.org", "<a@example.org>", "a b@x"]
)
def test_impossible_recipient(address: str) -> None:
    """It is parked, not tried for ever."""
    with pytest.raises(PermanentError):
        build(message(to=Address.model_construct(name="", address=address)), EmailSettings())


async def test_folder(tmp_path: Path) -> None:
    """The same notification twice is one file, and no partial file is left."""
    outbox = FolderOutbox(tmp_path / "out")
    data = build(message(), EmailSettings())
    await outbox.deliver(message(), data)
    await outbox.deliver(message(), data)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [f"{UUID(int=7)}.eml"]
    assert (tmp_path / "out" / f"{UUID(int=7)}.eml").read_bytes() == data
    (finding,) = await outbox.check()
    assert finding.severity is Severity.OK


async def test_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "out").touch()
    outbox = FolderOutbox(tmp_path / "out")
    with pytest.raises(TransientError):
        await outbox.deliver(message(), b"x")
    (finding,) = await outbox.check()
    assert finding.severity is Severity.ERROR
    assert finding.cure


class Handler:
    """Answers what `answers` holds, then 250."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.refuse = ""
        self.mails: list[tuple[str | None, list[str], bytes]] = []

    async def handle_RCPT(  # noqa: N802  aiosmtpd names it
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd names it
        if self.answers:
            return self.answers.pop(0)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def relay(handler: Handler) -> Iterator[EmailSettings]:
    """A relay by another author, with a login."""

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.login == b"okienko" and data.password == b"right", handled=False)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(
        handler,
        hostname="127.0.0.1",
        port=port,
        authenticator=authenticate,
        auth_require_tls=False,
        enable_SMTPUTF8=True,
    )
    controller.start()
    yield EmailSettings(relay_host="127.0.0.1", relay_port=port, relay_tls="none", send_timeout=5)
    controller.stop()


# aiosmtpd's own session object still sets the field that it deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Session.login_data is deprecated:DeprecationWarning")


async def test_relay_451_then_ok(relay: EmailSettings, handler: Handler) -> None:
    """Refused for now, then taken; the reverse-path is null and the mail arrives as it was built."""
    outbox = SmtpRelay(relay)
    data = build(message(), relay)
    handler.answers = ["451 4.3.0 later"]
    with pytest.raises(TransientError):
        await outbox.deliver(message(), data)
    await outbox.deliver(message(), data)
    ((sender, recipients, content),) = handler.mails
    assert sender in ("", "<>")
    assert recipients == ["zaneta@example.org"]
    assert content == data


async def test_relay_refusals(relay: EmailSettings, handler: Handler) -> None:
    """5xx is for ever, at RCPT as at DATA; 4xx is not."""
    outbox = SmtpRelay(relay)
    handler.answers = ["554 5.7.1 never"]
    with pytest.raises(PermanentError):
        await outbox.deliver(message(), b"x")
    handler.refuse = "550 5.1.1 unknown"
    with pytest.raises(PermanentError):
        await outbox.deliver(message(), b"x")
    handler.refuse = "450 4.2.1 busy"
    with pytest.raises(TransientError):
        await outbox.deliver(message(), b"x")


async def test_relay_smtputf8(relay: EmailSettings, handler: Handler) -> None:
    """An address outside ASCII goes out as it is."""
    to = Address(name="", address="żaneta@example.org")
    await SmtpRelay(relay).deliver(message(to=to), build(message(to=to), relay))
    assert handler.mails[0][1] == ["żaneta@example.org"]
    assert "To: żaneta@example.org\r\n".encode() in handler.mails[0][2]


async def test_relay_login(relay: EmailSettings, handler: Handler) -> None:
    """The right password works; the wrong one is the installation's fault and is not repeated in the message."""
    good = EmailSettings(**relay.model_dump() | {"relay_user": "okienko", "relay_password": "right"})
    await SmtpRelay(good).deliver(message(), b"Subject: x\r\n\r\nx\r\n")
    assert (await SmtpRelay(good).check())[0].severity is Severity.OK
    bad = EmailSettings(**relay.model_dump() | {"relay_user": "okienko", "relay_password": "wr0ng"})
    with pytest.raises(MisconfiguredError) as error:
        await SmtpRelay(bad).deliver(message(), b"x")
    assert "wr0ng" not in str(error.value)
    (finding,) = await SmtpRelay(bad).check()
    assert finding.severity is Severity.ERROR
    assert finding.cure


async def test_relay_without_starttls(relay: EmailSettings) -> None:
    """TLS that is asked for is never left out."""
    strict = EmailSettings(**relay.model_dump() | {"relay_tls": "starttls"})
    with pytest.raises(MisconfiguredError):
        await SmtpRelay(strict).deliver(message(), b"x")


async def test_relay_gone() -> None:
    """Nobody listens: try again later."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    settings = EmailSettings(relay_host="127.0.0.1", relay_port=port, relay_tls="none", send_timeout=2)
    async with asyncio.timeout(10):
        with pytest.raises(TransientError):
            await SmtpRelay(settings).deliver(message(), b"x")
