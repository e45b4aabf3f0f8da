"""The wheel and the lock file: one top-level name, all data, and nothing that ties an installation to one place."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a freshly built wheel holds."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_one_top_level_name(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"okienko"}
    assert "okienko/__init__.py" not in names


def test_the_wheel_holds_every_file_of_the_source_roots(names: set[str]) -> None:
    roots = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "sources"
    ]
    listed = subprocess.run(["git", "ls-files", *roots], cwd=ROOT, check=False, capture_output=True, text=True).stdout
    files = {path.partition("/")[2] for path in listed.splitlines() if path.partition("/")[2].startswith("okienko/")}
    assert {"okienko/plugins/puesc/pack.toml", "okienko/core/migrations/versions/0001_first.py"} <= names
    assert files <= names


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-ldap.lock", "requirements-ldap-build.lock"])
def test_the_lock_names_no_registry_and_every_pin_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index|--extra-index|--find-links|--trusted)", text, re.MULTILINE)
    pins = re.split(r"(?m)^(?=[a-zA-Z0-9])", re.sub(r"(?m)^\s*#.*\n", "", text))
    for pin in filter(str.strip, pins):
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", pin), pin
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), pin


def test_every_dependency_is_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    # An extra that needs a compiler has a lock of its own.
    for extra, names in project["project"]["optional-dependencies"].items():
        own = f"requirements-{extra}.lock"
        if (ROOT / own).exists():
            assert names_of(names) <= locked_in(own)
        else:
            wanted += names
    assert names_of(wanted) <= locked_in("requirements.lock")


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;~ ]", name)[0] for name in requirements}


def locked_in(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line.split("==")[0].split("[")[0] for line in lines if "==" in line}


def test_a_bare_machine_needs_no_compiler() -> None:
    assert "python-ldap" not in (ROOT / "requirements.lock").read_text()
    assert "python-ldap==" in (ROOT / "requirements-ldap.lock").read_text()
