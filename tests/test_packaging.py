"""The wheel: one top-level name, and it works from an empty environment's point of view."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_wheel_has_one_top_level_name_and_all_data(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"okienko"}
    for needed in (
        "okienko/plugins/puesc/pack.toml",
        "okienko/plugins/puesc/templates/unmet.txt.j2",
        "okienko/core/migrations/versions/0001_first.py",
    ):
        assert needed in names


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-ldap.lock", "requirements-ldap-build.lock"])
def test_the_lock_names_no_registry_and_every_line_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    pins = [line for line in text.splitlines() if "==" in line]
    assert pins
    assert all(line.endswith("\\") for line in pins)


def test_a_bare_machine_needs_no_compiler() -> None:
    assert "python-ldap" not in (ROOT / "requirements.lock").read_text()
    assert "python-ldap==" in (ROOT / "requirements-ldap.lock").read_text()
