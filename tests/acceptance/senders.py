"""Those who write: senders that deliver again what was not acknowledged, at a pace that the test sets."""

from __future__ import annotations

import contextlib
import smtplib
import threading
import time
from collections.abc import Sequence
from imaplib import IMAP4

from rigs.dovecot import Dovecot

MAIL = """From: Nadawca Zmyślony <nadawca{n}@poczta.example>\r
To: helpdesk@okienko.invalid\r
Subject: NOWE sprawa {n}\r
Message-ID: <kill.{n}@poczta.example>\r
Date: Mon, 23 Nov 2026 10:00:00 +0100\r
Content-Type: text/plain; charset=utf-8\r
\r
To jest wiadomość {n}.\r
"""


class Sender(threading.Thread):
    """Delivers mails by number. It may deliver so many as `allow` said; `done` is set after the last one."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.numbers = numbers
        self.delivered = 0
        self.again = 0
        """How often a mail was delivered once more because nobody acknowledged it."""
        self.done = threading.Event()
        self._allowed = 0
        self._changed = threading.Condition()

    def allow(self, share: float) -> None:
        """Let the sender deliver up to this share of its mails."""
        with self._changed:
            self._allowed = round(len(self.numbers) * share)
            self._changed.notify()

    def run(self) -> None:
        while self.delivered < len(self.numbers):
            with contextlib.suppress(OSError, smtplib.SMTPException, IMAP4.abort):
                self._session()
            time.sleep(0.02)
        self.done.set()

    def _session(self) -> None:
        """One connection, until it breaks or all is delivered."""
        raise NotImplementedError

    def _next(self) -> bytes | None:
        """The mail that is to go now, once it may; None after the last one."""
        if self.delivered == len(self.numbers):
            return None
        with self._changed:
            self._changed.wait_for(lambda: self._allowed > self.delivered)
        return MAIL.format(n=self.numbers[self.delivered]).encode()


class LmtpSender(Sender):
    """A mail server that hands over by LMTP."""

    def __init__(self, port: int, numbers: Sequence[int]) -> None:
        super().__init__(numbers)
        self._port = port

    def _session(self) -> None:
        with smtplib.LMTP("127.0.0.1", self._port, local_hostname="localhost", timeout=60) as lmtp:
            while mail := self._next():
                self.again += 1
                lmtp.sendmail("nadawca@poczta.example", ["helpdesk@okienko.invalid"], mail)
                self.again -= 1
                self.delivered += 1


class MailboxSender(Sender):
    """A mail server that puts mails into the mailbox that okienko reads."""

    def __init__(self, server: Dovecot, numbers: Sequence[int]) -> None:
        super().__init__(numbers)
        self._server = server

    def _session(self) -> None:
        with self._server.client() as client:
            while mail := self._next():
                assert client.append("INBOX", "", "", mail)[0] == "OK"
                self.delivered += 1
