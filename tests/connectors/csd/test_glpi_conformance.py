"""The kit for CSD backends against a fake GLPI, by either API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import respx

from connectors.csd.glpihands import GlpiHands, Hands11, connector
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.testing.conformance import CsdConformance
from rigs.glpi import URL, FakeGlpi


@pytest.fixture
def glpi() -> Iterator[FakeGlpi]:
    fake = FakeGlpi()
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        router.route().mock(side_effect=fake.answer)
        yield fake


class TestGlpi10(CsdConformance):
    """Every check of the kit, by apirest.php."""

    batch = 30

    @pytest.fixture
    def backend(self, glpi: FakeGlpi) -> SystemCsd:
        return connector("10")

    @pytest.fixture
    def other_backend(self, glpi: FakeGlpi) -> SystemCsd:
        return connector("10")

    @pytest.fixture
    def csd_workshop(self, glpi: FakeGlpi) -> GlpiHands:
        return GlpiHands(glpi)

    @pytest.fixture
    def other_queue(self) -> str:
        return "Sprzęt & sieć"

    @pytest.fixture
    def assignee(self) -> str:
        return "zofia"


class TestGlpi11(TestGlpi10):
    """Every check of the kit, by the high-level API."""

    @pytest.fixture
    def backend(self, glpi: FakeGlpi) -> SystemCsd:
        return connector("11")

    @pytest.fixture
    def other_backend(self, glpi: FakeGlpi) -> SystemCsd:
        return connector("11")

    @pytest.fixture
    def csd_workshop(self, glpi: FakeGlpi) -> Hands11:
        return Hands11(glpi)
