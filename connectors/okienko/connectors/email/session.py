"""One LMTP (RFC 2033) or SMTP (RFC 5321) connection, with pipelining (RFC 2920) and enhanced status codes (RFC 2034).

We speak the protocol ourselves because the library at hand, aiosmtpd, keeps a message as a list of lines and handles a line
at a time: it holds a large mail in memory several times over and cannot reach the rate we promise (1,500 mails a second).
Here whole chunks go to a DataSink, and a connection costs no task until a message is whole.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import structlog

from okienko.connectors.email.commands import CommandError, Sender, read_recipient, read_sender
from okienko.connectors.email.datasink import DataSink
from okienko.connectors.email.settings import EmailSettings
from okienko.connectors.email.transaction import LATER, TOO_BIG, Accept, store

log = structlog.get_logger(__name__)

MAX_COMMAND = 4096
"""Octets of one command line; RFC 5321, 4.5.3.1.4 asks for 512 and extensions add to it."""
LAST_WORDS = 10.0
"""Seconds that a client has to take our last answer."""
HIGH_WATER = 1 << 20
"""Octets that may wait for a transaction to end before the client is no longer read."""
_SEQUENCE = "503 5.5.1 Bad sequence of commands"


@dataclass(frozen=True)
class Desk:
    """What all sessions of one listener share."""

    accept: Accept
    settings: EmailSettings
    spool: Path
    lmtp: bool
    tls: ssl.SSLContext | None = None
    sessions: set[Session] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Transactions being stored."""


class Session(asyncio.Protocol):
    """Speaks with one client until it quits. Answers 250 to data only when `accept` has returned.

    One transaction at a time: commands that arrive meanwhile wait in the buffer, and their client is not read any further
    when there are too many of them.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._settings = desk.settings
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._data_since = 0.0
        self._buffer = bytearray()
        self._out: list[str] = []
        self._sink: DataSink | None = None
        self._busy = False
        self._choked = False
        self._read_paused = False
        self._stopping = False
        self._ended = False
        """The client will send no more."""
        self._closing = False
        self._secure = False
        self._greeted = False
        self._errors = 0
        self._sender: Sender | None = None
        self._recipients: list[tuple[str, str]] = []
        """Address and mailbox of each, in the order given."""

    # --- asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or turn away when there are too many."""
        # uvloop's transport is no subclass of asyncio's, but has its face.
        self._transport = cast("asyncio.Transport", transport)
        if len(self._desk.sessions) >= self._settings.max_connections:
            self._hang_up("421 4.3.2 Too many connections, try again later")
            return
        self._desk.sessions.add(self)
        self._last = self._loop.time()
        self._timer = self._loop.call_later(self._settings.idle_timeout, self._tick)
        self._out.append("220 okienko " + ("LMTP" if self._desk.lmtp else "ESMTP"))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        self._last = self._loop.time()
        self._buffer += data
        self._pump()

    def eof_received(self) -> bool:
        """The client sends no more: keep the way back open only while an answer is due."""
        self._ended = True
        # TLS knows no half-closed connection.
        return self._busy and not self._secure

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what is being stored is stored to the end."""
        del exc
        self._transport = None
        self._desk.sessions.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._sink is not None and not self._busy:
            self._sink.discard()
        self._buffer.clear()

    def pause_writing(self) -> None:
        """The client does not read its answers: make no more of them."""
        self._choked = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._choked = False
        self._pump()

    def stop(self) -> None:
        """Hang up now, or after the transaction in hand."""
        self._stopping = True
        if not self._busy:
            self._hang_up("421 4.3.2 Service stops, try again later")

    def _tick(self) -> None:
        """One timer a connection, set again lazily: moving it at every read would cost more than reading."""
        if self._closing:
            # It does not take our last answer.
            if self._transport is not None:
                self._transport.abort()
            return
        now = self._loop.time()
        left = self._last + self._settings.idle_timeout - now
        if self._sink is not None:
            # A few octets now and then must not hold a place for ever.
            left = min(left, self._data_since + self._settings.message_timeout - now)
        if self._busy:
            # The wait is ours, not the client's.
            left = self._settings.idle_timeout
        if left > 0:
            self._timer = self._loop.call_later(left, self._tick)
        else:
            self._hang_up("421 4.4.2 Timeout")

    # --- the buffer -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Do all that the buffer has commands or data for."""
        while self._transport is not None and not (self._busy or self._choked or self._closing):
            if self._sink is not None:
                if not self._sink.feed(self._buffer):
                    break
                self._store(self._sink)
                continue
            end = self._buffer.find(b"\n")
            if end < 0 and len(self._buffer) <= MAX_COMMAND:
                break
            if end < 0 or end > MAX_COMMAND:
                self._hang_up("500 5.5.6 Line too long")
                return
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            self._command(line)
            if self._errors > self._settings.max_bad_commands:
                self._hang_up("421 4.7.0 Too many errors")
                return
        self._flush()
        if self._ended and not self._busy:
            self._close()
        self._regulate()

    def _regulate(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        full = self._choked or len(self._buffer) > HIGH_WATER
        if full and not self._read_paused:
            self._transport.pause_reading()
        elif not full and self._read_paused:
            self._transport.resume_reading()
        self._read_paused = full

    def _flush(self) -> None:
        """Answers to pipelined commands go out together (RFC 2920, section 3.2)."""
        if self._out and self._transport is not None:
            self._transport.write(("\r\n".join(self._out) + "\r\n").encode())
        self._out.clear()

    def _hang_up(self, line: str) -> None:
        self._out.append(line)
        self._flush()
        self._close()

    def _close(self) -> None:
        if self._transport is not None and not self._closing:
            self._closing = True
            self._buffer.clear()
            self._transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(LAST_WORDS, self._tick)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _command(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\x00" in line:
            self._fail("500 5.5.2 A command is one line that ends in CR LF")
            return
        verb, _, rest = line[:-2].partition(b" ")
        rest = rest.strip(b" ")
        match verb.upper():
            case b"MAIL":
                self._mail(rest)
            case b"RCPT":
                self._rcpt(rest)
            case b"DATA":
                self._data(rest)
            case (b"LHLO" | b"EHLO" | b"HELO") as name:
                self._hello(name.decode(), rest)
            case b"RSET":
                self._reset()
                self._out.append("250 2.0.0 OK")
            case b"NOOP":
                self._out.append("250 2.0.0 OK")
            case b"VRFY":
                self._out.append("252 2.5.2 Send some mail, it will be tried")
            case b"STARTTLS" if self._desk.tls is not None and not self._secure:
                self._starttls()
            case b"QUIT":
                self._hang_up("221 2.0.0 Bye")
            case _:
                self._fail("500 5.5.1 Unknown command")

    def _fail(self, line: str) -> None:
        self._errors += 1
        self._out.append(line)

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []

    def _hello(self, verb: str, rest: bytes) -> None:
        if (verb == "LHLO") is not self._desk.lmtp:
            # RFC 2033, section 4.1: an LMTP server must not take HELO or EHLO, nor an SMTP server LHLO.
            self._fail("500 5.5.1 This is " + ("LMTP: say LHLO" if self._desk.lmtp else "SMTP: say EHLO"))
            return
        if not rest:
            self._fail(f"501 5.5.4 Write {verb} and your name")
            return
        self._greeted = True
        self._reset()
        offers = ["okienko"]
        if verb != "HELO":
            offers += ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", f"SIZE {self._settings.max_size}"]
            if self._desk.tls is not None and not self._secure:
                offers.append("STARTTLS")
        self._out += [f"250-{offer}" for offer in offers[:-1]]
        self._out.append(f"250 {offers[-1]}")

    def _mail(self, rest: bytes) -> None:
        if not self._greeted or self._sender is not None:
            self._fail(_SEQUENCE)
            return
        try:
            sender = read_sender(rest)
        except CommandError as error:
            self._fail(str(error))
            return
        if sender.size > self._settings.max_size:
            # Not a mistake of the client's: RFC 1870, section 6.1, asks before sending.
            self._out.append(TOO_BIG)
            return
        self._sender = sender
        self._out.append("250 2.1.0 OK")

    def _rcpt(self, rest: bytes) -> None:
        if self._sender is None:
            self._fail(_SEQUENCE)
            return
        try:
            address = read_recipient(rest)
        except CommandError as error:
            self._fail(str(error))
            return
        mailboxes = self._settings.mailboxes
        mailbox = mailboxes.get(address.lower()) if mailboxes else "default"
        if mailbox is None:
            self._out.append("550 5.1.1 No such mailbox here")
        elif len(self._recipients) >= self._settings.max_recipients:
            self._out.append("452 4.5.3 Too many recipients")
        else:
            self._recipients.append((address, mailbox))
            self._out.append("250 2.1.5 OK")

    def _data(self, rest: bytes) -> None:
        if rest:
            self._fail("501 5.5.4 DATA takes nothing")
        elif self._sender is None:
            self._fail(_SEQUENCE)
        elif not self._recipients:
            self._fail("503 5.5.1 No valid recipients")
        else:
            s = self._settings
            self._data_since = self._loop.time()
            self._sink = DataSink(
                self._sender.address, limit=s.max_size, threshold=s.spool_threshold, spool=self._desk.spool
            )
            self._out.append("354 End data with <CR><LF>.<CR><LF>")

    # --- STARTTLS (RFC 3207) ----------------------------------------------------------------------------------------

    def _starttls(self) -> None:
        if self._transport is None or self._desk.tls is None:
            return
        self._transport.pause_reading()
        # What was sent before the handshake must not be read as if it had come under its protection.
        self._buffer.clear()
        self._out.append("220 2.0.0 Go ahead")
        self._flush()
        self._busy = True
        self._spawn(self._handshake(self._transport, self._desk.tls))

    async def _handshake(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        try:
            secured = await self._loop.start_tls(transport, self, context, server_side=True, ssl_handshake_timeout=30)
        except (OSError, ssl.SSLError) as error:
            log.info("TLS handshake failed", action="starttls", problem=type(error).__name__)
            transport.abort()
            self.connection_lost(None)
            return
        if secured is None:
            transport.abort()
            return
        self._transport = secured
        self._secure, self._greeted, self._busy = True, False, False
        self._reset()
        self._last = self._loop.time()
        self._pump()

    # --- storing ----------------------------------------------------------------------------------------------------

    def _store(self, sink: DataSink) -> None:
        self._busy = True
        self._spawn(self._transaction(sink, self._sender.address if self._sender else "", self._recipients))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._desk.tasks.add(task)
        task.add_done_callback(self._desk.tasks.discard)

    async def _transaction(self, sink: DataSink, sender: str, recipients: list[tuple[str, str]]) -> None:
        replies = [LATER] * len(recipients)
        try:
            replies = await store(
                self._desk.accept,
                sink,
                sender,
                recipients,
                source="lmtp" if self._desk.lmtp else "smtp",
                limit=self._settings.accept_timeout,
            )
        except OSError as error:
            log.exception("message deferred", action="defer", problem=f"spool: {error.strerror}")
        finally:
            sink.discard()
            self._answer(replies)

    def _answer(self, replies: list[str]) -> None:
        self._sink = None
        self._reset()
        self._busy = False
        self._last = self._loop.time()
        # RFC 2033, section 4.2: one answer for each accepted recipient. SMTP has one answer for all; when one desk could
        # not store it the client has to come again, and the others know the message when they see it.
        self._out += replies if self._desk.lmtp else [LATER if LATER in replies else max(replies)]
        if self._stopping:
            self._hang_up("421 4.3.2 Service stops, try again later")
        else:
            self._pump()
