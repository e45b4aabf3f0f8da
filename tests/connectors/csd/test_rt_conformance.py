"""The kit for CSD backends against a real RT 5."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from connectors.csd.rthands import RtHands
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

    batch = 20

    @pytest.fixture
    def backend(self, rt: Rt5) -> RtCsd:
        return connector(rt)

    @pytest.fixture
    def other_backend(self, rt: Rt5) -> RtCsd:
        return connector(rt)

    @pytest.fixture
    def csd_workshop(self, rt: Rt5, backend: RtCsd) -> RtHands:
        return RtHands(rt, backend)

    @pytest.fixture
    def other_queue(self) -> str:
        return "Helpdesk"

    @pytest.fixture
    def assignee(self) -> str:
        return "zofia"
