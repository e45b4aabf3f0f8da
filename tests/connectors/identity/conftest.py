"""Real directory servers, started once for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.samba import Samba, samba
from rigs.slapd import Slapd, slapd


@pytest.fixture(scope="session")
def slapd_server() -> Iterator[Slapd]:
    """OpenLDAP with ppolicy and unique."""
    with slapd() as running:
        yield running


@pytest.fixture(scope="session")
def samba_server() -> Iterator[Samba]:
    """A Samba AD domain controller."""
    with samba() as running:
        yield running
