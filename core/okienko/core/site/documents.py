"""The mails of a case as an administrator sees them: who wrote, what, and which documents came along."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from okienko.core.envelopes import Loaded, load
from okienko.plugins.errors import OkienkoError, PermanentError
from okienko.plugins.limits import in_thread
from okienko.plugins.ports import Channel
from okienko.schemas import Attachment, InboundMessage

_CHUNK = 256 << 10
TEXT_SHOWN = 20_000
"""Characters of a message's text on the page; the whole is in the downloaded message."""
MESSAGES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of a case. `message` is None when it cannot be read or was erased."""

    envelope_id: UUID
    received_at: datetime
    message: InboundMessage | None

    @property
    def text(self) -> str:
        """The text, as much as is shown."""
        return self.message.text[:TEXT_SHOWN] if self.message else ""

    @property
    def cut(self) -> bool:
        """Whether there is more text than is shown."""
        return self.message is not None and len(self.message.text) > TEXT_SHOWN


@dataclass(frozen=True, slots=True)
class Download:
    """A document on its way out: read `chunks` to the end, then it closes itself."""

    attachment: Attachment
    chunks: AsyncGenerator[bytes]


class Documents:
    """Reads messages and their attachments back from the store, by the channel that took them in."""

    def __init__(self, engine: AsyncEngine, *, channels: Mapping[str, Channel], spool: Path, timeout: float) -> None:
        self._engine = engine
        self._channels = channels
        self._spool = spool
        self._timeout = timeout

    async def letters(self, envelope_ids: Sequence[UUID]) -> list[Letter]:
        """The messages, oldest first, at most MESSAGES_SHOWN of them."""
        async with load(self._engine, list(envelope_ids)[:MESSAGES_SHOWN], spool=self._spool, finished=True) as loaded:
            return [await self._letter(one) for one in loaded]

    async def _letter(self, one: Loaded) -> Letter:
        try:
            message = await self._parse(one)
        except OkienkoError:
            message = None
        return Letter(one.envelope.id, one.envelope.received_at, message)

    async def _parse(self, one: Loaded) -> InboundMessage:
        channel = self._channels.get(one.envelope.connector)
        if channel is None:
            raise PermanentError(f"the plugin {one.envelope.connector} that took this in is not loaded")
        return await in_thread(
            lambda: channel.parse(one.envelope, one.raw), plugin=channel.name, operation="parse", seconds=self._timeout
        )

    async def attachments(self, envelope_id: UUID) -> Sequence[Attachment]:
        """What came with a message. Raises PermanentError when it cannot be read or was erased."""
        async with load(self._engine, [envelope_id], spool=self._spool, finished=True) as loaded:
            return [attachment for one in loaded for attachment in (await self._parse(one)).attachments]

    async def open(self, envelope_id: UUID, index: int) -> Download:
        """One attachment. Raises PermanentError when there is none."""
        stack = AsyncExitStack()
        try:
            loaded = await stack.enter_async_context(
                load(self._engine, [envelope_id], spool=self._spool, finished=True)
            )
            one, attachment = await self._find(loaded, index)
            channel = self._channels[one.envelope.connector]
            stream = await in_thread(
                lambda: channel.open_attachment(one.envelope, one.raw, index),
                plugin=channel.name, operation="open_attachment", seconds=self._timeout,
            )  # fmt: skip
            stack.callback(stream.close)
        except BaseException:
            await stack.aclose()
            raise
        return Download(attachment, _read(stream, stack))

    async def _find(self, loaded: Sequence[Loaded], index: int) -> tuple[Loaded, Attachment]:
        for one in loaded:
            for attachment in (await self._parse(one)).attachments:
                if attachment.index == index:
                    return one, attachment
        raise PermanentError("there is no such document")


def as_download(download: Download) -> Response:
    """The document as an answer that no browser opens by itself."""
    name = download.attachment.filename
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    headers = {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "content-length": str(download.attachment.size),
        "content-security-policy": "default-src 'none'; sandbox",
    }
    return StreamingResponse(download.chunks, headers=headers, media_type="application/octet-stream")


async def _read(stream: BinaryIO, stack: AsyncExitStack) -> AsyncGenerator[bytes]:
    async with stack:
        while piece := await run_in_threadpool(stream.read, _CHUNK):
            yield piece
