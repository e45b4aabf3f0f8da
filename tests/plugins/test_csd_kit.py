"""The kit as an outsider runs it: by name, against a live system, with a table at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine


def kit(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--pyargs"]
    return subprocess.run(
        [*command, "okienko.plugins.testing.csd_kit", *options],
        cwd=folder, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def test_a_wrong_name_ends_the_session(tmp_path: Path) -> None:
    done = kit(tmp_path)
    assert (done.returncode, "give --csd NAME" in done.stdout) == (4, True)
    done = kit(tmp_path, "--csd", "bultin")
    assert done.returncode == 4
    assert "no installed plugin has a CSD backend 'bultin'; there are: builtin" in done.stdout


@pytest.mark.slow
async def test_against_a_live_system(tmp_path: Path, engine: AsyncEngine, database_url: str) -> None:
    options = ("--csd", "builtin", "--csd-mark", "[kit] ", "--csd-batch", "10")
    done = kit(tmp_path, *options, OKIENKO_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stdout[-3000:]
    table = done.stdout.partition("CSD capabilities")[2].splitlines()
    assert table[1].split()[:3] == ["basic", "public", "notes"]
    assert table[2].split()[:2] == ["builtin", "yes"]
    async with engine.connect() as connection:
        left = "SELECT count(*), count(*) FILTER (WHERE status <> 'closed') FROM csd_builtin.ticket"
        ((made, still_open),) = await connection.execute(text(left))
        strange = (
            "SELECT count(*) FROM csd_builtin.ticket WHERE subject NOT LIKE '[kit] %' AND NOT subject = ANY(:changed)"
        )
        changed = ["Zażółć gęślą jaźń 🙂", "Zmieniony temat", "Inny temat", "Razem", "[usunięto]"]
        unmarked = await connection.scalar(text(strange), {"changed": changed})
    assert made > 50
    assert (still_open, unmarked) == (0, 0)
