"""The kit for CSD backends against the fake of Zammad's REST API."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.csd.zammad.zammadhands import ZammadHands, connector
from okienko.connectors.csd.zammad.client import ZammadCsd
from okienko.plugins.testing.conformance import CsdConformance
from rigs.zammad import FakeZammad


class TestZammad(CsdConformance):
    """Every check of the kit."""

    @pytest.fixture
    def backend(self, zammad: FakeZammad, tmp_path: Path) -> ZammadCsd:
        assert not zammad.requests
        return connector(tmp_path)

    @pytest.fixture
    def other_backend(self, backend: ZammadCsd, tmp_path: Path) -> ZammadCsd:
        assert backend.name == "zammad"
        return connector(tmp_path)

    @pytest.fixture
    def csd_workshop(self, zammad: FakeZammad, backend: ZammadCsd, tmp_path: Path) -> ZammadHands:
        assert backend.name == "zammad"
        return ZammadHands(zammad, tmp_path / "zammad.toml")

    @pytest.fixture
    def other_queue(self) -> str:
        return "Users"

    @pytest.fixture
    def assignee(self) -> str:
        return "ewa@example.org"
