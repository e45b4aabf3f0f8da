"""A package that is not ours, installed by pip, comes in by the entry points; a broken one harms only itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "example_plugin"

LOAD = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from okienko.plugins.context import PluginContext
from okienko.plugins.errors import PluginLoadError
from okienko.plugins.manager import Plugins
options = json.loads(sys.argv[1])
try:
    plugins = Plugins.load(PluginContext(home=Path("/nonexistent"), environ=dict(os.environ)), **options)
except PluginLoadError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({
        "statuses": {s.name: asdict(s) for s in plugins.statuses},
        "policies": sorted(plugins.policies), "csd": sorted(plugins.csd_backends), "channels": sorted(plugins.channels),
    }))
"""


def load(path: Path, environ: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """What a fresh interpreter that sees `path` loads."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, json.dumps(options)],
        env=os.environ | {"PYTHONPATH": str(path)} | (environ or {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    result: dict[str, Any] = json.loads(process.stdout)
    return result


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed by pip without any registry."""
    folder = tmp_path_factory.mktemp("example")
    # A copy, because pip builds in the folder it is given.
    source = shutil.copytree(EXAMPLE, folder / "source")
    target = folder / "site"
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_example_loads(installed: Path) -> None:
    result = load(installed, only=["vip", "paper"])
    assert (result["policies"], result["csd"]) == (["vip"], ["paper"])
    vip = result["statuses"]["vip"]
    assert (vip["origin"], vip["version"], vip["state"]) == ("okienko-example", "0.3.0", "loaded")
    assert (vip["hooks"], vip["objects"]) == (["okienko_policies"], ["vip"])
    assert result["statuses"]["csd_builtin"]["state"] == "disabled"


def test_example_beside_the_built_in(installed: Path) -> None:
    assert {"builtin", "paper"} <= set(load(installed)["csd"])


def test_example_settings(installed: Path) -> None:
    result = load(installed, {"OKIENKO_VIP_ADRESSES": '["x@example.org"]'}, only=["vip", "paper"])
    assert result["policies"] == []
    assert "OKIENKO_VIP_ADDRESSES" in result["statuses"]["vip"]["problem"]
    assert result["statuses"]["paper"]["state"] == "loaded"


def test_example_passes_the_conformance_checks(installed: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    environ = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=EXAMPLE, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "26 passed" in done.stdout


GOOD = """
from okienko.plugins import hookimpl
class Policy:
    name = "{name}"
    def judge(self, message, facts): return None
@hookimpl
def okienko_policies(ctx): return [Policy()]
"""
HOOK = "from okienko.plugins import hookimpl\n@hookimpl\ndef okienko_policies(ctx): "
BROKEN = {
    "imports_nothing": ("import no_such_module_anywhere", "ModuleNotFoundError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "syntax": ("def broken(:", "SyntaxError"),
    "wrong_hook": (
        "from okienko.plugins import hookimpl\n@hookimpl\ndef okienko_chanels(ctx): return []",
        "okienko_chanels",
    ),
    "wrong_argument": (
        "from okienko.plugins import hookimpl\n@hookimpl\ndef okienko_policies(context): return []",
        "context",
    ),
    "no_hook": ("x = 1", "implements no hook"),
    "raises": (HOOK + "raise RuntimeError('no disk')", "okienko_policies: RuntimeError: no disk"),
    "hook_exits": (HOOK + "raise SystemExit(4)", "SystemExit: 4"),
    "no_method": (HOOK + "return [type('Half', (), {'name': 'half'})()]", "Half is no MessagePolicy: it lacks judge"),
    "no_name": (HOOK + "return [type('Nameless', (), {'name': None, 'judge': print})()]", "name"),
    "a_class": (HOOK + "return [type('Whole', (), {'name': 'whole', 'judge': print})]", "the class Whole itself"),
    "none": (HOOK + "return None", "returned None"),
    "no_list": (HOOK + "return 7", "returned a int"),
    "half_way": (HOOK + "yield 1 / 0", "ZeroDivisionError"),
    "taken": (GOOD.format(name="good"), "'good' is taken already"),
}
"""Module text by plugin name, and what the problem must say."""


def package(site: Path, plugin: str, module: str, text: str) -> None:
    """A package with one plugin, as an installer would leave it."""
    info = site / f"okienko_{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: okienko-{module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[okienko]\n{plugin} = okienko_{module}\n")
    (site / f"okienko_{module}.py").write_text(text)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site folder with every broken plugin and two good ones."""
    site = tmp_path_factory.mktemp("site")
    for name, (text, _) in BROKEN.items():
        package(site, name, name, text)
    package(site, "a_good_one", "good", GOOD.format(name="good"))
    package(site, "z_good_one", "last", GOOD.format(name="last"))
    return site


@pytest.fixture(scope="module")
def outcome(broken: Path) -> dict[str, Any]:
    """All of them loaded at once."""
    return load(broken)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plugin_is_named(outcome: dict[str, Any], name: str) -> None:
    status = outcome["statuses"][name]
    assert status["state"] == "failed"
    assert BROKEN[name][1] in status["problem"]
    assert (status["origin"], status["hooks"], status["objects"]) == (f"okienko-{name}", [], [])


def test_the_others_load(outcome: dict[str, Any]) -> None:
    assert {"good", "last"} <= set(outcome["policies"])
    assert not {"half", "whole"} & set(outcome["policies"])
    assert outcome["statuses"]["csd_builtin"]["state"] == "loaded"


def test_required_and_broken(broken: Path) -> None:
    error = load(broken, required=["wrong_hook"])["error"]
    assert "'wrong_hook'" in error
    assert "okienko_chanels" in error
    assert "OKIENKO_REQUIRED_PLUGINS" in error


def test_one_plugin_name_in_two_packages(tmp_path: Path) -> None:
    package(tmp_path, "twin", "one", GOOD.format(name="one"))
    package(tmp_path, "twin", "two", GOOD.format(name="two"))
    result = load(tmp_path, only=["twin"])
    assert result["policies"] == ["one"]


USURPER = """
from okienko.connectors.identity.manual.client import ManualIdentity
from okienko.plugins import hookimpl
@hookimpl
def okienko_identity_backends(ctx): return [ManualIdentity()]
"""


def test_an_add_on_does_not_put_out_the_built_in(tmp_path: Path) -> None:
    package(tmp_path, "aaa", "aaa", USURPER)
    statuses = load(tmp_path, only=["aaa", "identity_manual"])["statuses"]
    assert statuses["identity_manual"]["state"] == "loaded"
    assert "'manual' is taken already" in statuses["aaa"]["problem"]


def test_broken_metadata_is_listed(tmp_path: Path) -> None:
    package(tmp_path, "odd", "odd", GOOD.format(name="odd"))
    (tmp_path / "okienko_odd-1.0.dist-info" / "METADATA").write_text("")
    assert "odd" in load(tmp_path)["statuses"]
