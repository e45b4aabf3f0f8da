"""Small parts that several CSD connectors need: files as streams, two paces, a server's clock."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import BinaryIO

import httpx

from okienko.plugins.csd import NewFile
from okienko.plugins.pace import LocalPace, Pace

_PIECE = 1 << 16


class FileStream:
    """A file's content for an HTTP request, opened anew for each attempt and read off the event loop."""

    def __init__(self, file: NewFile) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces."""
        stream: BinaryIO = await asyncio.to_thread(self._file.open)
        try:
            while piece := await asyncio.to_thread(stream.read, _PIECE):
                yield piece
        finally:
            stream.close()


class MultipartFile:
    """One file as multipart/form-data (RFC 7578), streamed; the name goes in UTF-8, as browsers send it."""

    def __init__(self, field: str, name: str, file: NewFile) -> None:
        self._boundary = f"okienko{secrets.token_hex(16)}"
        kind = file.media_type if re.fullmatch(r"[\w.+-]+/[\w.+-]+", file.media_type) else "application/octet-stream"
        quoted = name.replace('"', "%22")
        self._head = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._file = file

    @property
    def headers(self) -> dict[str, str]:
        """Content-Type and Content-Length."""
        length = len(self._head) + self._file.size + len(self._tail)
        return {"Content-Type": f"multipart/form-data; boundary={self._boundary}", "Content-Length": str(length)}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces."""
        yield self._head
        async for piece in FileStream(self._file):
            yield piece
        yield self._tail


class BothPaces:
    """The installation's pace and this process's own, which also keeps what the system asked for where none is shared."""

    def __init__(self, shared: Pace | None, per_hour: float | None) -> None:
        self._paces = [*([shared] if shared is not None else []), LocalPace(per_hour)]

    async def turn(self) -> None:
        """See Pace."""
        for pace in self._paces:
            await pace.turn()

    async def hold(self, seconds: float) -> None:
        """See Pace."""
        for pace in self._paces:
            await pace.hold(seconds)


def date_of(headers: httpx.Headers) -> datetime | None:
    """The server's own clock in its answer (RFC 9110, section 6.6.1)."""
    try:
        return parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
