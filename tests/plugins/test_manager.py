"""The typed face, with plugins made in this file; test_example_plugin.py loads installed ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest

from okienko.metrics import catalogue
from okienko.plugins import hookimpl, hookspecs, manager
from okienko.plugins.context import PluginContext
from okienko.plugins.errors import PluginLoadError
from okienko.plugins.manager import PORTS, Plugins
from okienko.plugins.testing import MemoryChannel, MemoryCsd, MemoryIdentity

Install = Callable[..., None]


@pytest.fixture
def ctx(tmp_path: Path) -> PluginContext:
    return PluginContext(home=tmp_path, environ={})


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make the given hooks, `plugin={hook: function}`, the only installed plugins."""

    def put(**plugins: dict[str, Callable[..., object]]) -> None:
        points = []
        for name, hooks in plugins.items():
            module = ModuleType(f"plugin_{name}")
            for hook, function in hooks.items():
                setattr(module, hook, hookimpl(function))
            monkeypatch.setitem(sys.modules, module.__name__, module)
            points.append(EntryPoint(name=name, value=module.__name__, group="okienko"))
        monkeypatch.setattr(manager, "entry_points", lambda group: EntryPoints(points))

    return put


def nothing() -> list[object]:
    """A hook that registers nothing."""
    return []


def test_every_hook_has_a_port() -> None:
    assert set(PORTS) == {name for name in vars(hookspecs) if name.startswith("okienko_")}


def test_objects_by_name(install: Install, ctx: PluginContext) -> None:
    channel, csd, other, identity = MemoryChannel(), MemoryCsd(), MemoryCsd("other"), MemoryIdentity()
    install(
        one={"okienko_channels": lambda ctx: [channel], "okienko_csd_backends": lambda ctx: (csd, other)},
        two={"okienko_identity_backends": lambda ctx: [identity]},
        empty={"okienko_policies": nothing},
    )
    plugins = Plugins.load(ctx, only=None, disabled=[], required=["one"])
    assert plugins.channels == {"memory": channel}
    assert plugins.csd_backends == {"memory": csd, "other": other}
    assert plugins.identity_backends == {"memory": identity}
    assert plugins.procedures == {}
    assert plugins.policies == {}
    by_name = {status.name: status for status in plugins.statuses}
    assert by_name["one"].objects == ("memory", "memory", "other")
    assert by_name["one"].required
    assert {status.state for status in plugins.statuses} == {"loaded"}


def test_the_hook_gets_the_context(install: Install, ctx: PluginContext) -> None:
    seen: list[PluginContext] = []

    def hook(ctx: PluginContext) -> list[object]:
        seen.append(ctx)
        return []

    install(one={"okienko_channels": hook})
    Plugins.load(ctx)
    assert seen == [ctx]


def test_only_and_disabled(install: Install, ctx: PluginContext) -> None:
    install(
        one={"okienko_policies": nothing},
        two={"okienko_policies": nothing},
        three={"okienko_policies": nothing},
    )
    plugins = Plugins.load(ctx, only=["one", "two"], disabled=["two"])
    assert {s.name: s.state for s in plugins.statuses} == {"one": "loaded", "two": "disabled", "three": "disabled"}


def test_a_second_object_of_one_name_fails_whole(install: Install, ctx: PluginContext) -> None:
    first = MemoryCsd()
    install(
        a={"okienko_csd_backends": lambda: [first]},
        b={"okienko_csd_backends": lambda: [MemoryCsd()], "okienko_channels": lambda: [MemoryChannel()]},
        c={"okienko_csd_backends": lambda: [MemoryCsd("c"), MemoryCsd("c")]},
    )
    plugins = Plugins.load(ctx)
    assert plugins.csd_backends == {"memory": first}
    assert plugins.channels == {}
    assert [status.state for status in plugins.statuses] == ["loaded", "failed", "failed"]
    assert "'memory' is taken already" in plugins.statuses[1].problem


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"required": ["onne"]}, r"OKIENKO_REQUIRED_PLUGINS names the plugin 'onne', .* did you mean 'one'\?"),
        ({"only": ["onne"]}, r"OKIENKO_PLUGINS names the plugin 'onne', .* did you mean 'one'\?"),
        ({"required": ["zzz"]}, "installed are: broken, one"),
        ({"required": ["one"], "disabled": ["one"]}, "'one' is disabled: enable it"),
        ({"required": ["broken"]}, r"'broken' failed: okienko_policies: ZeroDivisionError: .* Mend it, or"),
    ],
)
def test_required(install: Install, ctx: PluginContext, options: dict[str, list[str]], message: str) -> None:
    install(one={"okienko_policies": nothing}, broken={"okienko_policies": lambda: [1 / 0]})
    with pytest.raises(PluginLoadError, match=message):
        Plugins.load(ctx, **options)


def test_an_interrupt_ends_the_loading(install: Install, ctx: PluginContext) -> None:
    def hook() -> None:
        raise KeyboardInterrupt

    install(one={"okienko_policies": hook})
    with pytest.raises(KeyboardInterrupt):
        Plugins.load(ctx)


def up(plugin: str) -> float | None:
    """What the metric says of the plugin."""
    return catalogue.REGISTRY.get_sample_value("okienko_plugin_up", {"plugin": plugin})


def test_stop(install: Install, ctx: PluginContext) -> None:
    install(one={"okienko_csd_backends": lambda: [MemoryCsd("paper")]}, two={"okienko_policies": nothing})
    plugins = Plugins.load(ctx)
    plugins.stop("two", "the key is wrong")
    plugins.stop("paper", "the file is gone")
    assert [(s.state, s.problem) for s in plugins.statuses] == [
        ("stopped", "the file is gone"),
        ("stopped", "the key is wrong"),
    ]
    assert up("one") == up("two") == 0
    plugins.resume("paper")
    assert [(s.state, s.problem) for s in plugins.statuses] == [("loaded", ""), ("stopped", "the key is wrong")]
    assert (up("one"), up("two")) == (1, 0)
    with pytest.raises(KeyError):
        plugins.stop("nobody", "")
