"""One real RT for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.rt5 import Rt5, rt5


@pytest.fixture(scope="session")
def rt() -> Iterator[Rt5]:
    """A running RT 5; skipped, or failed where peers are required, without the packages."""
    with rt5() as server:
        yield server
