"""The PKI and its notary, once for all recoveries."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.recovery.letters import Notary
from signing.pki import Pki, make_pki


@pytest.fixture(scope="session")
def recovery_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Root, issuing authority, seal and CRLs."""
    return make_pki(Path(tmp_path_factory.mktemp("recovery-pki")))


@pytest.fixture(scope="session")
def notary(recovery_pki: Pki) -> Notary:
    """Who signs applications."""
    return Notary(recovery_pki)
