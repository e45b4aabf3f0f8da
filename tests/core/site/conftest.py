"""The site on a real database."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from rigs.site import Desk, complete_schema


@pytest.fixture
async def desk(store: AsyncEngine, tmp_path: Path) -> Desk:
    """Pages for local administrators."""
    await complete_schema(store)
    return Desk(store, tmp_path)
