"""A fresh fake of Zammad for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import respx

from connectors.csd.zammad.zammadhands import connector
from okienko.connectors.csd.zammad.client import ZammadCsd
from rigs.zammad import FakeZammad


@pytest.fixture
def zammad() -> Iterator[FakeZammad]:
    """Behind its address while the test runs."""
    fake = FakeZammad()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="zammad.example.org").mock(side_effect=fake.answer)
        yield fake


@pytest_asyncio.fixture
async def csd(zammad: FakeZammad, tmp_path: Path) -> AsyncIterator[ZammadCsd]:
    """The connector before it."""
    backend = connector(tmp_path)
    await backend.start()
    yield backend
    await backend.stop()
