"""The SMTP relay that mails go out by (RFC 5321), and what its refusals mean to us."""

from __future__ import annotations

import asyncio
import smtplib
import ssl

from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.ports import Finding, Severity
from okienko.schemas import OutboundMessage

CONNECTIONS = 8
"""At one time."""
MAILS_EACH = 100
"""Mails over one connection; many relays end it at some such number."""


class SmtpRelay:
    """A configured SMTP server, TLS verified."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        # A relay turns away who opens too many connections at a time.
        self._gate = asyncio.Semaphore(CONNECTIONS)
        self._waiting = 0
        self._idle: list[tuple[smtplib.SMTP, int]] = []
        """Connections for those who wait, and how many mails each has carried. None is kept open when nobody waits."""

    async def deliver(self, message: OutboundMessage, mail: bytes) -> None:
        """Send, by default with a null reverse-path, so that a bounce starts no loop (RFC 3834, section 3.3)."""
        self._waiting += 1
        try:
            await self._gate.acquire()
        finally:
            self._waiting -= 1
        try:
            await asyncio.to_thread(self._send, message.to.address, mail)
        finally:
            self._gate.release()

    async def check(self) -> list[Finding]:
        """Connect, and log in if a login is set."""
        where = f"{self._settings.relay_host}:{self._settings.relay_port}"
        try:
            await asyncio.to_thread(self._try)
        except OkienkoError as error:
            cure = "check OKIENKO_EMAIL_RELAY_HOST, _PORT, _TLS, _CA, _USER and _PASSWORD, and the network"
            return [Finding("email relay", Severity.ERROR, str(error), cure)]
        return [Finding("email relay", Severity.OK, f"{where} answers")]

    def _try(self) -> None:
        with self._connected():
            pass

    def _send(self, to: str, mail: bytes) -> None:
        relay, carried = self._taken()
        keep = False
        try:
            relay.sendmail(self._settings.relay_sender, [to], mail, mail_options=[] if to.isascii() else ["SMTPUTF8"])
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = next(iter(error.recipients.values()))
            raise _by_code(code, "the relay refused the recipient") from None
        except smtplib.SMTPResponseException as error:
            raise _by_code(error.smtp_code, "the relay refused the mail") from None
        except smtplib.SMTPNotSupportedError:
            raise PermanentError("the relay cannot carry addresses outside ASCII (SMTPUTF8)") from None
        except (smtplib.SMTPException, OSError) as error:
            raise TransientError(f"the relay broke off ({type(error).__name__})") from error
        else:
            keep = self._waiting > 0 and carried + 1 < MAILS_EACH
        finally:
            if keep:
                self._idle.append((relay, carried + 1))
            else:
                _leave(relay)

    def _taken(self) -> tuple[smtplib.SMTP, int]:
        """A connection that another mail has just left and that still answers, or a new one."""
        while True:
            try:
                relay, carried = self._idle.pop()
            except IndexError:
                return self._connected(), 0
            try:
                if relay.noop()[0] == 250:
                    return relay, carried
            except (smtplib.SMTPException, OSError):
                pass
            _leave(relay)

    def _connected(self) -> smtplib.SMTP:
        s = self._settings
        host = s.relay_host or ""
        relay: smtplib.SMTP | None = None
        try:
            context = ssl.create_default_context(cafile=str(s.relay_ca) if s.relay_ca else None)
            if s.relay_tls == "tls":
                relay = smtplib.SMTP_SSL(host, s.relay_port, timeout=s.send_timeout, context=context)
            else:
                relay = smtplib.SMTP(host, s.relay_port, timeout=s.send_timeout)
                if s.relay_tls == "starttls":
                    relay.starttls(context=context)
            relay.ehlo_or_helo_if_needed()
            if s.relay_user:
                relay.login(s.relay_user, s.relay_password.get_secret_value() if s.relay_password else "")
            return relay
        except (smtplib.SMTPException, OSError) as error:
            if relay is not None:
                relay.close()
            raise _no_connection(error, s) from None


def _no_connection(error: smtplib.SMTPException | OSError, s: EmailSettings) -> OkienkoError:
    match error:
        case smtplib.SMTPAuthenticationError() if error.smtp_code >= 500:
            return MisconfiguredError(
                f"the relay {s.relay_host} refused the login {s.relay_user}: check OKIENKO_EMAIL_RELAY_PASSWORD"
            )
        case smtplib.SMTPNotSupportedError():
            return MisconfiguredError(
                f"the relay {s.relay_host} offers no STARTTLS or no login: check OKIENKO_EMAIL_RELAY_PORT and _TLS"
            )
        case ssl.SSLCertVerificationError():
            return MisconfiguredError(
                f"the relay {s.relay_host} shows a certificate that is not trusted: set OKIENKO_EMAIL_RELAY_CA"
            )
        case FileNotFoundError() if s.relay_ca is not None:
            return MisconfiguredError(f"OKIENKO_EMAIL_RELAY_CA: there is no file {s.relay_ca}")
        case _:
            where = f"{s.relay_host}:{s.relay_port}"
            return TransientError(f"the relay {where} cannot be reached ({type(error).__name__})")


def _leave(relay: smtplib.SMTP) -> None:
    """The mail is handed over or not by now: how the good-bye goes changes nothing."""
    try:
        relay.quit()
    except (smtplib.SMTPException, OSError):
        relay.close()


def _by_code(code: int, what: str) -> TransientError | PermanentError:
    text = f"{what} with {code}"
    return PermanentError(text) if code >= 500 else TransientError(text)
