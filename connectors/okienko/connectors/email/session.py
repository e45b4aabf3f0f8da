"""One LMTP (RFC 2033) or SMTP (RFC 5321) connection.

We speak the protocol ourselves because the library at hand, aiosmtpd, keeps a message as a list of lines and handles a line
at a time: it holds a large mail in memory several times over and cannot reach the rate we promise. Here data go chunk by
chunk into memory or, when large, into a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import TooLargeError, TransientError
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName

log = structlog.get_logger(__name__)

MAX_COMMAND = 4096
MAX_ERRORS = 20
_READ = 1 << 16
_PATH = re.compile(rb"^(?:FROM|TO):\s*<([^<>\r\n]*)>(?:\s+(.*))?$", re.IGNORECASE)
_END = b"\r\n.\r\n"

Accept = Callable[[RawItem], Awaitable[object]]


@dataclass
class _Transaction:
    sender: str | None = None
    recipients: list[tuple[str, str]] = field(default_factory=list)
    """Address and mailbox."""


class Session:
    """Speaks with one client until it quits. Answers 250 to data only when `accept` has returned."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accept: Accept, settings: EmailSettings,
        spool: Path, *, lmtp: bool, tls: ssl.SSLContext | None,
    ) -> None:  # fmt: skip
        self._reader, self._writer = reader, writer
        self._accept = accept
        self._settings = settings
        self._spool = spool
        self._lmtp = lmtp
        self._tls = tls
        self._buffer = bytearray()
        self._greeted = False
        self._errors = 0
        self._mail = _Transaction()

    async def run(self) -> None:
        """The whole conversation."""
        self._say("220 okienko " + ("LMTP" if self._lmtp else "ESMTP"))
        try:
            while True:
                line = await self._line()
                if line is None:
                    return
                if not await self._command(line):
                    return
                if self._errors > MAX_ERRORS:
                    self._say("421 4.7.0 Too many errors")
                    return
                if b"\n" not in self._buffer:
                    # With pipelined commands the answers go out together (RFC 2920).
                    await self._drain()
        except TimeoutError:
            self._say("421 4.4.2 Timeout")
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._drain()

    def refuse(self) -> None:
        """Tell the client to come back later."""
        self._say("421 4.3.2 Too busy, try again later")

    # --- commands ---------------------------------------------------------------------------------------------------

    async def _command(self, line: bytes) -> bool:
        verb, _, rest = line.partition(b" ")
        name = verb.upper().decode("ascii", "replace")
        match name:
            case "LHLO" | "EHLO" | "HELO":
                self._hello(name)
            case "MAIL":
                self._mail_from(rest)
            case "RCPT":
                self._rcpt_to(rest)
            case "DATA":
                return await self._data()
            case "RSET":
                self._mail = _Transaction()
                self._say("250 2.0.0 OK")
            case "NOOP":
                self._say("250 2.0.0 OK")
            case "VRFY":
                self._say("252 2.5.2 Send some mail, it will be tried")
            case "STARTTLS" if self._tls and not self._lmtp:
                await self._starttls()
            case "QUIT":
                self._say("221 2.0.0 Bye")
                return False
            case _:
                self._fail("500 5.5.2 Unknown command")
        return True

    def _hello(self, verb: str) -> None:
        if (verb == "LHLO") is not self._lmtp:
            self._fail("500 5.5.1 This is " + ("LMTP: say LHLO" if self._lmtp else "SMTP: say EHLO"))
            return
        self._greeted, self._mail = True, _Transaction()
        if verb == "HELO":
            self._say("250 okienko")
            return
        offers = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", f"SIZE {self._settings.max_size}"]
        if self._tls and not self._lmtp:
            offers.insert(0, "STARTTLS")
        lines = ["okienko", *offers]
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _mail_from(self, rest: bytes) -> None:
        match = _PATH.match(rest)
        if not self._greeted or self._mail.sender is not None:
            self._fail("503 5.5.1 Bad sequence of commands")
        elif not match or rest[:5].upper() != b"FROM:":
            self._fail("501 5.5.4 Write MAIL FROM:<address>")
        else:
            size = re.search(rb"\bSIZE=(\d{1,18})\b", match[2] or b"", re.IGNORECASE)
            if size and int(size[1]) > self._settings.max_size:
                self._say("552 5.3.4 Message too big")
                return
            self._mail.sender = match[1].decode("utf-8", "replace")
            self._say("250 2.1.0 OK")

    def _rcpt_to(self, rest: bytes) -> None:
        match = _PATH.match(rest)
        if self._mail.sender is None:
            self._fail("503 5.5.1 Bad sequence of commands")
        elif not match or not match[1] or rest[:3].upper() != b"TO:":
            self._fail("501 5.5.4 Write RCPT TO:<address>")
        elif len(self._mail.recipients) >= self._settings.max_recipients:
            self._fail("452 4.5.3 Too many recipients")
        else:
            address = match[1].decode("utf-8", "replace")
            mailboxes = self._settings.mailboxes
            mailbox = mailboxes.get(address.lower()) if mailboxes else "default"
            if mailbox is None:
                self._fail("550 5.1.1 No such mailbox here")
                return
            self._mail.recipients.append((address, mailbox))
            self._say("250 2.1.5 OK")

    async def _starttls(self) -> None:
        if self._buffer:
            # What was sent before the handshake must not be read as if it came after it (command injection).
            self._fail("501 5.5.1 Nothing may follow STARTTLS")
            self._buffer.clear()
            return
        self._say("220 2.0.0 Go ahead")
        await self._drain()
        if self._tls is None:
            raise ConnectionError("no TLS context")
        await self._writer.start_tls(self._tls)
        self._greeted, self._mail, self._tls = False, _Transaction(), None

    # --- data -------------------------------------------------------------------------------------------------------

    async def _data(self) -> bool:
        if not self._mail.recipients:
            self._fail(
                "503 5.5.1 No valid recipients"
                if self._mail.sender is not None
                else "503 5.5.1 Bad sequence of commands"
            )
            return True
        self._say("354 End data with <CR><LF>.<CR><LF>")
        await self._drain()
        transaction, self._mail = self._mail, _Transaction()
        head = b"" if transaction.sender is None else f"Return-Path: <{transaction.sender}>\r\n".encode()
        with tempfile.SpooledTemporaryFile(max_size=self._settings.spool_threshold, dir=str(self._spool)) as body:
            body.write(head)
            whole = await self._receive(body)
            if whole is None:
                return False
            if not whole:
                replies = ["552 5.3.4 Message too big"] * len(transaction.recipients)
            else:
                replies = await self._hand_over(transaction, body)
        for reply in replies if self._lmtp else [max(replies)]:
            self._say(reply)
        return True

    async def _receive(self, body: tempfile.SpooledTemporaryFile[bytes]) -> bool | None:
        """Data up to the final dot, unstuffed. False: too big and thrown away; None: the client went away."""
        size = 0
        # The CRLF before DATA's first line counts as the line end before a dot at the very start.
        pending = b"\r\n"
        first = True
        while True:
            if self._buffer:
                pending += bytes(self._buffer)
                self._buffer.clear()
            end = pending.find(_END)
            piece = pending[: end + 2] if end >= 0 else pending[: max(0, len(pending) - 4)]
            if end < 0:
                # A stuffed dot must not be cut apart from its line end.
                piece = (
                    piece[: len(piece) - 2]
                    if piece.endswith((b"\r\n", b"\n."))
                    else piece[: len(piece) - 1]
                    if piece.endswith(b"\r")
                    else piece
                )
            rest = pending[end + len(_END) :] if end >= 0 else pending[len(piece) :]
            if piece:
                clean = piece.replace(b"\r\n..", b"\r\n.")
                if first:
                    clean, first = clean[2:], False
                size += len(clean)
                if size <= self._settings.max_size:
                    body.write(clean)
            if end >= 0:
                self._buffer[:0] = rest
                return size <= self._settings.max_size
            pending = rest
            if not await self._fill():
                return None

    async def _hand_over(self, transaction: _Transaction, body: tempfile.SpooledTemporaryFile[bytes]) -> list[str]:
        by_mailbox: dict[str, str] = {}
        for mailbox in dict.fromkeys(mailbox for _, mailbox in transaction.recipients):
            recipients = tuple(a for a, m in transaction.recipients if m == mailbox)
            by_mailbox[mailbox] = await self._accept_one(transaction, body, mailbox, recipients)
        return [by_mailbox[mailbox] for _, mailbox in transaction.recipients]

    async def _accept_one(
        self,
        transaction: _Transaction,
        body: tempfile.SpooledTemporaryFile[bytes],
        mailbox: str,
        recipients: tuple[str, ...],
    ) -> str:
        if body.tell() <= self._settings.spool_threshold:
            body.seek(0)
            raw = RawContent(body.read())
        else:
            body.rollover()
            body.flush()
            # The file has no name of its own; the descriptor's does while it is open.
            raw = RawContent(path=Path(f"/proc/self/fd/{body.fileno()}"))
        item = RawItem(
            ChannelName.EMAIL, "email", "lmtp" if self._lmtp else "smtp", raw,
            mailbox=mailbox, mail_from=transaction.sender, rcpt_to=recipients,
        )  # fmt: skip
        try:
            await self._accept(item)
        except TooLargeError:
            return "552 5.3.4 Message too big"
        except TransientError as error:
            log.warning("message deferred", action="defer", reason=str(error))
            return "451 4.3.0 Cannot store it now, try again later"
        except Exception:
            log.exception("message deferred", action="defer")
            return "451 4.3.0 Cannot store it now, try again later"
        return "250 2.6.0 Stored"

    # --- wire -------------------------------------------------------------------------------------------------------

    async def _line(self) -> bytes | None:
        """The next command without its line end, or None at the end. Lines end in CRLF; a bare LF is taken too."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_COMMAND:
                self._say("500 5.5.2 Line too long")
                return None
            await self._drain()
            if not await self._fill():
                return None
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    async def _fill(self) -> bool:
        async with asyncio.timeout(self._settings.idle_timeout):
            data = await self._reader.read(_READ)
        self._buffer += data
        return bool(data)

    def _say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\r\n")

    def _fail(self, line: str) -> None:
        self._errors += 1
        self._say(line)

    async def _drain(self) -> None:
        async with asyncio.timeout(self._settings.idle_timeout):
            await self._writer.drain()
