"""The octets after DATA: found, unstuffed and kept, chunk by chunk (RFC 5321, sections 4.1.1.4 and 4.5.2)."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from okienko.plugins.raw import RawContent

_END = b"\r\n.\r\n"
_STARTS_OF_END = tuple(_END[:n] for n in range(len(_END) - 1, 0, -1))
_HEAD = 1 << 16


class DataSink:
    """One message on its way in. Feed it the connection's buffer until `feed` says that the final dot came.

    Only <CRLF>.<CRLF> ends a message. A dot between bare line feeds or carriage returns is text, or else one mail could be
    made to look like two to us and like one to the server before us (SMTP smuggling).
    """

    def __init__(self, limit: int, threshold: int, spool: Path) -> None:
        self._limit = limit
        self._threshold = threshold
        self._spool = spool
        self._pieces: list[bytes] = []
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._started = False
        self._done = False
        self._size = 0
        self.too_big = False
        """Over the limit: the octets were read and thrown away."""
        self.broken: OSError | None = None
        """The spool file could not be written."""

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the message out of `buffer`. True when the final dot was among it."""
        if not self._started:
            # A dot in the first line counts: the line end before it is the one of the DATA command.
            buffer[:0] = b"\r\n"
        end = buffer.find(_END)
        if end >= 0:
            self._take(bytes(buffer[: end + 2]))
            del buffer[: end + len(_END)]
            self._done = True
            return True
        keep = next((len(start) for start in _STARTS_OF_END if buffer.endswith(start)), 0)
        cut = len(buffer) - keep
        if cut:
            self._take(bytes(buffer[:cut]))
            del buffer[:cut]
        elif not self._started:
            del buffer[:2]
        return False

    def content(self, return_path: str) -> RawContent:
        """The message, with the envelope's sender in front (RFC 5321, section 4.4). Valid until `discard`."""
        line = f"Return-Path: <{return_path}>\r\n".encode()
        if self._path is not None and self._file is not None:
            self._file.flush()
            self._file.close()
            return RawContent(path=self._path)
        data = b"".join(self._pieces)
        return RawContent(data if data[: len(line)].lower() == line.lower() else line + data)

    def open_with(self, return_path: str) -> None:
        """Remember what stands in front when the message has to go to a file before it is whole."""
        self._front = f"Return-Path: <{return_path}>\r\n".encode()

    def discard(self) -> None:
        """Let go of memory and file."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _take(self, piece: bytes) -> None:
        # Any dot at the start of a line goes when other characters follow it (RFC 5321, section 4.5.2).
        piece = piece.replace(b"\r\n.", b"\r\n")
        if not self._started:
            self._started = True
            piece = piece[2:]
