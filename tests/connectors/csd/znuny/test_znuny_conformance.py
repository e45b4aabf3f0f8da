"""The kit for CSD backends against the fake of Znuny's Generic Interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.csd.znuny.znunyhands import ZnunyHands, connector
from okienko.connectors.csd.znuny.client import ZnunyCsd
from okienko.plugins.testing.conformance import CsdConformance
from rigs.znuny import FakeZnuny


class TestZnuny(CsdConformance):
    """Every check of the kit."""

    @pytest.fixture
    def backend(self, znuny: FakeZnuny, tmp_path: Path) -> ZnunyCsd:
        assert not znuny.requests
        return connector(tmp_path)

    @pytest.fixture
    def other_backend(self, backend: ZnunyCsd, tmp_path: Path) -> ZnunyCsd:
        assert backend.name == "znuny"
        return connector(tmp_path)

    @pytest.fixture
    def csd_workshop(self, znuny: FakeZnuny, backend: ZnunyCsd, tmp_path: Path) -> ZnunyHands:
        assert backend.name == "znuny"
        return ZnunyHands(znuny, tmp_path / "znuny.toml")

    @pytest.fixture
    def other_queue(self) -> str:
        return "Raw"

    @pytest.fixture
    def assignee(self) -> str:
        return "ewa"
