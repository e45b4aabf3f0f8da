"""Streams, paces and clocks for CSD connectors."""

from __future__ import annotations

import asyncio
import io
from email import message_from_bytes
from typing import BinaryIO

import httpx
import pytest

from okienko.plugins.csd import NewFile
from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.csdparts import BothPaces, FileStream, MultipartFile, date_of
from okienko.plugins.errors import TransientError


class Stream(io.BytesIO):
    """Short reads."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 10, 10) if size is not None and size >= 0 else size)


def a_file(content: bytes, name: str = "ą.bin", media_type: str = "image/png") -> tuple[NewFile, list[Stream]]:
    opened: list[Stream] = []

    def open_it() -> BinaryIO:
        opened.append(Stream(content))
        return opened[-1]

    return NewFile(name, media_type, len(content), "", open_it), opened


@pytest.mark.asyncio
async def test_a_file_is_read_anew_for_each_attempt() -> None:
    file, opened = a_file(bytes(range(256)))
    stream = FileStream(file)
    for _ in range(2):
        assert b"".join([piece async for piece in stream]) == bytes(range(256))
    assert len(opened) == 2
    assert all(one.closed for one in opened)


@pytest.mark.asyncio
@pytest.mark.parametrize("media_type", ["image/png", "image/png\r\nX-Evil: 1", ""])
async def test_multipart(media_type: str) -> None:
    file, _ = a_file(b"tre\r\n--\xc5\x9b\xc4\x87", media_type=media_type)
    body = MultipartFile("file", 'ą "b".bin', file)
    whole = b"".join([piece async for piece in body])
    assert str(len(whole)) == body.headers["Content-Length"]
    head = f"Content-Type: {body.headers['Content-Type']}\r\n\r\n".encode()
    (part,) = message_from_bytes(head + whole).get_payload()  # type: ignore[misc]  # a multipart message
    assert part.get_payload(decode=True) == b"tre\r\n--\xc5\x9b\xc4\x87"  # type: ignore[union-attr]
    assert part.get("X-Evil") is None  # type: ignore[union-attr]
    assert part.get_content_type() == ("image/png" if media_type == "image/png" else "application/octet-stream")  # type: ignore[union-attr]
    assert 'filename="ą %22b%22.bin"'.encode() in whole


@pytest.mark.asyncio
async def test_one_writer_at_a_time() -> None:
    locks, inside = TicketLocks(), list[str]()

    async def work(name: str) -> None:
        async with locks.held("a", "b"):
            inside.append(name)
            await asyncio.sleep(0)
            inside.append(name)

    await asyncio.gather(work("x"), work("y"))
    assert inside in (["x", "x", "y", "y"], ["y", "y", "x", "x"])


@pytest.mark.asyncio
async def test_what_the_system_asks_for_holds_without_a_shared_pace_too() -> None:
    pace = BothPaces(None, None)
    await pace.turn()
    await pace.hold(600)
    with pytest.raises(TransientError):
        await pace.turn()


def test_the_servers_clock() -> None:
    moment = date_of(httpx.Headers({"Date": "Wed, 25 Nov 2026 01:00:00 GMT"}))
    assert moment is not None
    assert moment.isoformat() == "2026-11-25T01:00:00+00:00"
    assert date_of(httpx.Headers({})) is None
    assert date_of(httpx.Headers({"Date": "now"})) is None
