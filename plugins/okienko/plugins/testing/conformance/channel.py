"""Checks of the port Channel."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import UTC, datetime
from uuid import UUID

import pytest

from okienko.plugins.errors import UnreadableError
from okienko.plugins.ports import Channel
from okienko.plugins.raw import RawContent
from okienko.plugins.testing.conformance.findings import assert_findings
from okienko.plugins.testing.doubles import MemoryIntake
from okienko.schemas import ChannelName, Envelope, InboundMessage

NASTY = (
    b"",
    b"\x00",
    b"\xff\xfe" * 50,
    b"\r\n" * 1000,
    b"{" * 5000,
    b"From: a@b\r\nSubject: =?utf-8?q?=FF?=\r\n\r\nx",
    b"From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nnever closed",
    b"Content-Type: text/plain; charset=no-such\r\n\r\n\xe5\xe4",
    b'{"subject": 1}',
)
"""Bytes that nobody should send and somebody will."""


def envelope(backend: Channel, raw: RawContent) -> Envelope:
    """An envelope of the channel round the bytes."""
    return Envelope(
        id=UUID(int=1),
        channel=backend.channel,
        connector=backend.name,
        source="conformance",
        received_at=datetime(2026, 1, 5, 8, 30, tzinfo=UTC),
        size=raw.size,
    )


@pytest.mark.asyncio
class ChannelConformance:
    """Subclass it as `Test…` and give it the fixtures `backend` (the channel) and `sample` (bytes that it can read)."""

    @pytest.fixture
    def backend(self) -> Channel:
        """The object to check, set up so that `run` touches nothing outside the test."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def sample(self) -> bytes:
        """One thing as the channel takes it in, with an attachment if the channel knows any."""
        raise NotImplementedError("override the fixture `sample`")

    async def test_port(self, backend: Channel) -> None:
        """It has every member of the port, a name and one of the three ways."""
        assert isinstance(backend, Channel)
        assert backend.name
        assert isinstance(backend.channel, ChannelName)

    async def test_run_ends_when_cancelled(self, backend: Channel) -> None:
        """`run` returns by itself or ends soon after it is cancelled, so that the service can stop."""
        task = asyncio.create_task(backend.run(MemoryIntake()))
        await asyncio.sleep(0.05)
        task.cancel()
        # Not `await task` in a time-out: that would wait for ever for a task that takes no notice of being cancelled.
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done, "run() goes on 5 s after it was cancelled"
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def test_parse_sample(self, backend: Channel, sample: bytes) -> None:
        """It reads its own sample, and the same bytes give the same message."""
        raw = RawContent(sample)
        message = backend.parse(envelope(backend, raw), raw)
        assert isinstance(message, InboundMessage)
        assert backend.parse(envelope(backend, raw), raw) == message
        assert "\x00" not in message.subject + message.text

    @pytest.mark.parametrize("data", NASTY, ids=range(len(NASTY)))
    async def test_parse_anything(self, backend: Channel, data: bytes) -> None:
        """Whatever the bytes are, `parse` gives a message or UnreadableError, and nothing else leaves it."""
        raw = RawContent(data)
        try:
            message = backend.parse(envelope(backend, raw), raw)
        except UnreadableError:
            return
        assert isinstance(message, InboundMessage)

    async def test_parse_cut_sample(self, backend: Channel, sample: bytes) -> None:
        """A message cut off anywhere gives a message or UnreadableError."""
        for length in range(0, len(sample), max(1, len(sample) // 50)):
            raw = RawContent(sample[:length])
            with contextlib.suppress(UnreadableError):
                assert isinstance(backend.parse(envelope(backend, raw), raw), InboundMessage)

    async def test_attachments(self, backend: Channel, sample: bytes) -> None:
        """Every attachment that the message names opens and has the stated size and hash; no other index opens."""
        raw = RawContent(sample)
        shell = envelope(backend, raw)
        message = backend.parse(shell, raw)
        for attachment in message.attachments:
            with backend.open_attachment(shell, raw, attachment.index) as stream:
                content = stream.read()
            assert len(content) == attachment.size
            assert hashlib.sha256(content).hexdigest() == attachment.sha256
        with pytest.raises(IndexError):
            backend.open_attachment(shell, raw, max((a.index for a in message.attachments), default=0) + 1000)

    async def test_check(self, backend: Channel) -> None:
        """`okienko check` gets something to show."""
        assert_findings(await backend.check())
