"""The kit for CSD backends against a real RT 5."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from pydantic import SecretStr

from okienko.connectors.csd.rt.client import RtCsd
from okienko.connectors.csd.rt.settings import RtCsdSettings
from okienko.plugins.testing.conformance import CsdConformance
from rigs.rt5 import MAPPING, Rt5


def connector(rt: Rt5, **changes: object) -> RtCsd:
    """The connector with the rig's mapping."""
    values = {
        "url": rt.url, "token": SecretStr(rt.token), "mapping": MAPPING, "webhook_secret": SecretStr(rt.webhook_secret),
    } | changes  # fmt: skip
    return RtCsd(RtCsdSettings(**values))


class TestRt(CsdConformance):
    """Every check of the kit."""

    @pytest_asyncio.fixture
    async def backend(self, rt: Rt5) -> AsyncIterator[RtCsd]:
        backend = connector(rt)
        yield backend
        await backend.stop()
