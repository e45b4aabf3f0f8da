"""The kit for CSD backends against a Jira Cloud and a Jira Data Center in memory."""

from __future__ import annotations

import pytest
import respx

from connectors.csd.jira import URL, FakeJira
from connectors.csd.jirahands import JiraHands, connector
from okienko.connectors.csd.jira_sm.client import JiraSmCsd
from okienko.plugins import httpapi
from okienko.plugins.testing.conformance import CsdConformance


class JiraChecks(CsdConformance):
    """Every check of the kit."""

    batch = 40
    cloud = True

    @pytest.fixture
    def fake(self, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> FakeJira:
        monkeypatch.setattr(httpapi, "_wait", lambda state: 0.0)
        server = FakeJira(cloud=self.cloud)
        respx_mock.route(url__startswith=URL).mock(side_effect=server)
        return server

    @pytest.fixture
    def backend(self, fake: FakeJira) -> JiraSmCsd:
        return connector(fake)

    @pytest.fixture
    def csd_workshop(self, fake: FakeJira) -> JiraHands:
        return JiraHands(fake)

    @pytest.fixture
    def assignee(self) -> str:
        return "557058:zofia"


class TestJiraCloud(JiraChecks):
    """API 3."""


class TestJiraDataCenter(JiraChecks):
    """API 2."""

    cloud = False
