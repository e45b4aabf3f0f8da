"""The shipped doubles keep the promises of the ports they stand for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.plugins.testing import FixedClock, MemoryChannel, MemoryIntake
from okienko.plugins.testing.conformance import ChannelConformance
from okienko.schemas import ChannelName, InboundMessage


class TestMemoryChannel(ChannelConformance):
    @pytest.fixture
    def backend(self) -> MemoryChannel:
        channel = MemoryChannel()
        channel.inbound.append(InboundMessage(subject="z kolejki"))
        return channel

    @pytest.fixture
    def sample(self) -> bytes:
        return InboundMessage(subject="Hasło", text="Proszę o reset.").model_dump_json().encode()


async def test_intake_knows_an_external_id() -> None:
    intake = MemoryIntake()
    item = RawItem(ChannelName.EMAIL, "email", "imap:a", RawContent(b"x"), external_id="1.7")
    assert await intake.accept(item) == await intake.accept(item)
    other = RawItem(ChannelName.EMAIL, "email", "imap:b", RawContent(b"x"), external_id="1.7")
    await intake.accept(other)
    assert list(intake.items.values()) == [item, other]


def test_clock_stands_still_until_moved() -> None:
    clock = FixedClock(datetime(2026, 3, 1, tzinfo=UTC))
    assert clock() == clock()
    assert clock.advance(timedelta(hours=1)) == clock() == datetime(2026, 3, 1, 1, tzinfo=UTC)
