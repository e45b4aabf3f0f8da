"""What keeps the five folders one namespace, and the documents true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from okienko.plugins import hookspecs, testing
from okienko.plugins.testing import conformance

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "plugins", "connectors", "schemas", "metrics")
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("okienko_"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_namespace_has_no_init(folder: str) -> None:
    """An okienko/__init__.py in one folder would hide the other four."""
    assert (ROOT / folder / "okienko").is_dir()
    assert not (ROOT / folder / "okienko" / "__init__.py").exists()


@pytest.mark.parametrize("package", ["", "csd", "identity"])
def test_connectors_are_namespaces(package: str) -> None:
    """Someone else's distribution may add a connector beside ours."""
    assert not (ROOT / "connectors" / "okienko" / "connectors" / package / "__init__.py").exists()


def test_every_hook_is_documented() -> None:
    document = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", document, re.MULTILINE) == [
        name for name in vars(hookspecs) if name.startswith("okienko_")
    ]
    for section in re.split(r"^## ", document, flags=re.MULTILINE)[1:]:
        assert all(word in section for word in ("**Called**", "**Argument**", "**Returns**", "```python"))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_plugin_that_uses_it(hook: str) -> None:
    """No hook without one of our own plugins behind it."""
    sources = [path for folder in ("plugins", "connectors") for path in (ROOT / folder).rglob("*.py")]
    users = [path for path in sources if f"@hookimpl\ndef {hook}(" in path.read_text(encoding="utf-8")]
    assert users


def test_the_guide_shows_the_example_as_it_is() -> None:
    """Code that docs/writing-a-plugin.md shows stands in the example, line by line."""
    example = ROOT / "tests" / "example_plugin"
    files = [*(example / "okienko_example").glob("*.py"), *(example / "tests").glob("*.py")]
    known = {line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()}
    known |= {"from okienko.plugins.testing.conformance import PolicyConformance"}
    guide = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    shown = [
        line.strip() for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()
    ]
    assert [line for line in shown if line and line not in known] == []


def test_doubles_and_checks_are_in_the_guide() -> None:
    guide = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    names = {*testing.__all__, *conformance.__all__} - {"MemoryTicket"}
    assert [name for name in sorted(names) if name not in guide] == []


def test_doubles_work_without_pytest() -> None:
    """Who only wants the doubles, in a demo say, need not install pytest."""
    code = "import sys; sys.modules['pytest'] = None; import okienko.plugins.testing, okienko.plugins.manager"
    subprocess.run([sys.executable, "-c", code], check=True)
