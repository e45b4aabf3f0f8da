"""The octets after DATA: found, unstuffed and kept, chunk by chunk (RFC 5321, sections 4.1.1.4 and 4.5.2)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from okienko.plugins.raw import RawContent

_END = b"\r\n.\r\n"
_STARTS_OF_END = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))
PREFIX = "mail-"
"""Spool files begin with it, so that what a crash left behind can be told from other files."""


class DataSink:
    """One message on its way in. Feed it the connection's buffer until `feed` says that the final dot came.

    Only <CRLF>.<CRLF> ends a message. A dot between bare line feeds or carriage returns is text, or else one mail could be
    made to look like two to us and like one to the server before us (SMTP smuggling).
    """

    def __init__(self, return_path: str, *, limit: int, threshold: int, spool: Path) -> None:
        self._front = f"Return-Path: <{return_path}>\r\n".encode()
        self._limit = limit
        self._threshold = threshold
        self._spool = spool
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._opened = False
        self._first = True
        self.too_big = False
        """Over the limit: the octets are read to the end and thrown away."""
        self.broken: OSError | None = None
        """Why the spool file could not be written."""

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the message out of `buffer`. True when the final dot was among it."""
        if not self._opened:
            # The line end before the first line, which a dot may follow at once, is the one of the DATA command.
            buffer[:0] = b"\r\n"
            self._opened = True
        end = buffer.find(_END)
        if end >= 0:
            self._take(bytes(buffer[: end + 2]))
            del buffer[: end + len(_END)]
            return True
        # What may be the beginning of the end, or of a stuffed dot, waits for the next chunk.
        keep = next((len(start) for start in _STARTS_OF_END if buffer.endswith(start)), 0)
        if cut := len(buffer) - keep:
            self._take(bytes(buffer[:cut]))
            del buffer[:cut]
        return False

    def content(self) -> RawContent:
        """The whole message with the envelope's sender in front (RFC 5321, section 4.4); valid until `discard`."""
        if self._file is not None:
            self._file.close()
            return RawContent(path=self._path)
        return RawContent(self._whole())

    def close(self) -> None:
        """After the last feed: bring a file's last octets to it, so that a full disk shows in `broken`."""
        if self._file is not None and not self._file.closed:
            try:
                self._file.close()
            except OSError as error:
                self.broken = error

    def discard(self) -> None:
        """Let go of memory and file."""
        self._pieces.clear()
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _take(self, piece: bytes) -> None:
        # A dot at the start of a line goes when anything else follows it on the line (RFC 5321, section 4.5.2).
        piece = piece.replace(b"\r\n.", b"\r\n")
        if self._first:
            piece = piece[2:]
            self._first = False
        if self.too_big or self.broken:
            return
        self._size += len(piece)
        if self._size > self._limit:
            self.discard()
            self.too_big = True
            return
        try:
            self._keep(piece)
        except OSError as error:
            self.broken = error
            self.discard()

    def _keep(self, piece: bytes) -> None:
        if self._file is not None:
            self._file.write(piece)
            return
        self._pieces.append(piece)
        if self._size > self._threshold:
            self._spool.mkdir(parents=True, exist_ok=True)
            # Not removed when closed: the reader opens it by its name, which Windows refuses while it is open here.
            self._file = tempfile.NamedTemporaryFile(dir=self._spool, prefix=PREFIX, delete=False)
            self._path = Path(self._file.name)
            self._file.write(self._whole())
            self._pieces.clear()

    def _whole(self) -> bytes:
        """What is in memory, after the Return-Path unless the server before us put the same one there."""
        data = b"".join(self._pieces)
        return data if data[: len(self._front)].lower() == self._front.lower() else self._front + data
