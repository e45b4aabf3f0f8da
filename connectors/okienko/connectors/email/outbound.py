"""Mails out: made by RFC 5322 with the fields of RFC 3834, handed to a relay or put into a folder."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Protocol

from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Finding, Severity
from okienko.schemas import OutboundMessage


def build(message: OutboundMessage, settings: EmailSettings) -> bytes:
    """The mail's bytes. Raises PermanentError when the recipient's address cannot stand in a header field."""
    mail = EmailMessage(policy=SMTP)
    try:
        mail["From"] = HeaderAddress(_one_line(settings.display_name), addr_spec=settings.address)
        mail["To"] = HeaderAddress(_one_line(message.to.name), addr_spec=message.to.address)
    except (ValueError, IndexError, UnicodeError):
        raise PermanentError("the recipient's address is not one that mail can be sent to") from None
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = message.created_at
    mail["Message-ID"] = f"<{message.message_id}>"
    if message.in_reply_to:
        mail["In-Reply-To"] = f"<{_one_line(message.in_reply_to)}>"
    if message.references:
        mail["References"] = " ".join(f"<{_one_line(reference)}>" for reference in message.references)
    mail["Auto-Submitted"] = "auto-replied"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(message.text, cte="quoted-printable")
    return mail.as_bytes()


def _one_line(text: str) -> str:
    return " ".join(text.split())


class Outbox(Protocol):
    """Where mails go."""

    async def deliver(self, message: OutboundMessage, mail: bytes) -> None:
        """Hand over one mail."""
        ...

    async def check(self) -> list[Finding]:
        """Try it."""
        ...


class FolderOutbox:
    """A folder of .eml files named by notification: delivering one twice leaves one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def deliver(self, message: OutboundMessage, mail: bytes) -> None:
        """Write the file whole and lasting before it gets its name."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".{message.id}.part"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
            try:
                os.write(descriptor, mail)
            finally:
                os.close(descriptor)
            partial.rename(self._folder / f"{message.id}.eml")
        except OSError as error:
            raise TransientError(f"the outbox folder {self._folder} cannot be written: {error.strerror}") from error

    async def check(self) -> list[Finding]:
        """Whether the folder can be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return [
                Finding("email outbox", Severity.ERROR, f"{self._folder}: {error.strerror}", "set OKIENKO_EMAIL_OUTBOX")
            ]
        if not os.access(self._folder, os.W_OK):
            return [
                Finding(
                    "email outbox",
                    Severity.ERROR,
                    f"{self._folder} cannot be written",
                    "give okienko the right to write",
                )
            ]
        return [Finding("email outbox", Severity.OK, f"mails are written to {self._folder}; no relay is configured")]


class SmtpRelay:
    """A configured SMTP server, TLS verified."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._gate = asyncio.Semaphore(8)

    async def deliver(self, message: OutboundMessage, mail: bytes) -> None:
        """Send with a null reverse-path, so that a bounce of an automatic answer starts no loop (RFC 3834, section 3.3)."""
        async with self._gate:
            await asyncio.to_thread(self._send, message.to.address, mail)

    async def check(self) -> list[Finding]:
        """Connect, and log in if a login is set."""
        where = f"{self._settings.relay_host}:{self._settings.relay_port}"
        try:
            await asyncio.to_thread(self._try)
        except (TransientError, PermanentError, MisconfiguredError) as error:
            return [Finding("email relay", Severity.ERROR, str(error), "see OKIENKO_EMAIL_RELAY_…")]
        return [Finding("email relay", Severity.OK, f"{where} answers")]

    def _try(self) -> None:
        with self._connected():
            pass

    def _send(self, to: str, mail: bytes) -> None:
        try:
            with self._connected() as relay:
                relay.sendmail("", [to], mail, mail_options=["SMTPUTF8"] if not to.isascii() else [])
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = next(iter(error.recipients.values()))
            raise _by_code(code, "the relay refused the recipient") from error
        except smtplib.SMTPResponseException as error:
            raise _by_code(error.smtp_code, "the relay refused the mail") from error
        except smtplib.SMTPNotSupportedError as error:
            raise PermanentError("the relay cannot carry addresses outside ASCII (SMTPUTF8)") from error
        except (smtplib.SMTPException, OSError) as error:
            raise TransientError(f"the relay broke off ({type(error).__name__})") from error

    def _connected(self) -> smtplib.SMTP:
        s = self._settings
        host = s.relay_host or ""
        try:
            context = ssl.create_default_context(cafile=str(s.relay_ca) if s.relay_ca else None)
            relay: smtplib.SMTP
            if s.relay_tls == "tls":
                relay = smtplib.SMTP_SSL(host, s.relay_port, timeout=s.relay_timeout, context=context)
            else:
                relay = smtplib.SMTP(host, s.relay_port, timeout=s.relay_timeout)
                if s.relay_tls == "starttls":
                    relay.starttls(context=context)
            if s.relay_user:
                relay.login(s.relay_user, s.relay_password.get_secret_value() if s.relay_password else "")
            return relay
        except smtplib.SMTPAuthenticationError as error:
            raise MisconfiguredError(
                f"the relay {host} refused the login {s.relay_user}: check OKIENKO_EMAIL_RELAY_PASSWORD"
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise MisconfiguredError(
                f"the relay {host} shows a certificate that is not trusted: set OKIENKO_EMAIL_RELAY_CA"
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            raise TransientError(
                f"the relay {host}:{s.relay_port} cannot be reached ({type(error).__name__})"
            ) from error


def _by_code(code: int, what: str) -> TransientError | PermanentError:
    text = f"{what} with {code}"
    return PermanentError(text) if code >= 500 else TransientError(text)
