"""The kit for CSD backends against a ServiceNow in memory."""

from __future__ import annotations

import pytest
import respx

from connectors.csd.servicenow import URL, FakeServiceNow
from connectors.csd.servicenowhands import ServiceNowHands, connector
from okienko.connectors.csd.servicenow.client import ServiceNowCsd
from okienko.plugins import httpapi
from okienko.plugins.testing.conformance import CsdConformance


@pytest.fixture
def fake(respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> FakeServiceNow:
    monkeypatch.setattr(httpapi, "_wait", lambda state: 0.0)
    server = FakeServiceNow()
    respx_mock.route(url__startswith=URL).mock(side_effect=server)
    return server


class TestServiceNow(CsdConformance):
    """Every check of the kit."""

    batch = 40

    @pytest.fixture
    def backend(self, fake: FakeServiceNow) -> ServiceNowCsd:
        return connector()

    @pytest.fixture
    def csd_workshop(self, fake: FakeServiceNow) -> ServiceNowHands:
        return ServiceNowHands(fake)

    @pytest.fixture
    def other_queue(self) -> str:
        return "Helpdesk"

    @pytest.fixture
    def assignee(self) -> str:
        return "zofia"
