"""Checks that hold a plugin's object to its port, for the plugin author's own pytest suite (needs pytest-asyncio).

from okienko.plugins.testing.conformance import CsdConformance

class TestPaper(CsdConformance):
    @pytest.fixture
    def backend(self, tmp_path): return PaperCsd(tmp_path / "tickets")
"""

import pytest

# Before the imports below, so that a failed check shows the values it compared.
pytest.register_assert_rewrite(
    "okienko.plugins.testing.conformance.identity",
    "okienko.plugins.testing.conformance.channel",
    "okienko.plugins.testing.conformance.csdbase",
    "okienko.plugins.testing.conformance.csdchanges",
    "okienko.plugins.testing.conformance.csdcreate",
    "okienko.plugins.testing.conformance.csdfields",
    "okienko.plugins.testing.conformance.csdfiles",
    "okienko.plugins.testing.conformance.csdtickets",
    "okienko.plugins.testing.conformance.policy",
    "okienko.plugins.testing.conformance.verifier",
    "okienko.plugins.testing.conformance.findings",
)

from okienko.plugins.testing.conformance.channel import ChannelConformance  # noqa: E402  after the registration
from okienko.plugins.testing.conformance.csd import CsdConformance  # noqa: E402  after the registration
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop  # noqa: E402  after the registration
from okienko.plugins.testing.conformance.identity import IdentityConformance  # noqa: E402  after the registration
from okienko.plugins.testing.conformance.policy import PolicyConformance  # noqa: E402  after the registration
from okienko.plugins.testing.conformance.verifier import SignatureConformance  # noqa: E402  after the registration
from okienko.plugins.testing.conformance.workshop import AccountWorkshop  # noqa: E402  after the registration

__all__ = [
    "AccountWorkshop",
    "ChannelConformance",
    "CsdConformance",
    "CsdWorkshop",
    "IdentityConformance",
    "PolicyConformance",
    "SignatureConformance",
]
