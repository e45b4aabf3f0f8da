"""Both plugins keep the promises of their ports."""

from __future__ import annotations

from pathlib import Path

import pytest
from okienko_example.paper import PaperCsd
from okienko_example.vip import Vip, VipSettings

from okienko.plugins.ports import MessageFacts, Silence
from okienko.plugins.testing.conformance import CsdConformance, PolicyConformance
from okienko.schemas import Address, InboundMessage


class TestPaper(CsdConformance):
    """The register on paper."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> PaperCsd:
        return PaperCsd(tmp_path / "tickets.jsonl")


class TestVip(PolicyConformance):
    """The policy."""

    @pytest.fixture
    def backend(self) -> Vip:
        return Vip(VipSettings(addresses=["jan.kowalski@example.org"]))

    def test_silence(self, backend: Vip) -> None:
        """A named sender gets no automatic answer, however the address is written."""
        message = InboundMessage(sender=Address(address="Jan.Kowalski@example.org"))
        assert backend.judge(message, MessageFacts()) == Silence("vip")
