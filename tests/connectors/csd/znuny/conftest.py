"""A fresh fake of Znuny for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import respx

from connectors.csd.znuny.znunyhands import connector
from okienko.connectors.csd.znuny.client import ZnunyCsd
from rigs.znuny import FakeZnuny


@pytest.fixture
def znuny() -> Iterator[FakeZnuny]:
    """Behind its address while the test runs."""
    fake = FakeZnuny()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="znuny.example.org").mock(side_effect=fake.answer)
        yield fake


@pytest_asyncio.fixture
async def csd(znuny: FakeZnuny, tmp_path: Path) -> AsyncIterator[ZnunyCsd]:
    """The connector before it."""
    backend = connector(tmp_path)
    await backend.start()
    yield backend
    await backend.stop()
