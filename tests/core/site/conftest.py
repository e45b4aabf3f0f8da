"""The site on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from rigs.site import Desk


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """What a test set up for logging ends with it: its stderr is closed then."""
    yield
    structlog.reset_defaults()


@pytest.fixture
async def desk(store: AsyncEngine, tmp_path: Path) -> Desk:
    """Pages for local administrators."""
    return Desk(store, tmp_path)
