"""Loading plugins, each on its own: one that is broken is named, and the rest starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from okienko.metrics import catalogue
from okienko.plugins import hookspecs
from okienko.plugins.context import PluginContext
from okienko.plugins.errors import OkienkoError, PluginLoadError
from okienko.plugins.ports import Channel, CsdBackend, IdentityBackend, MessagePolicy, PluginStatus, ProcedurePack

GROUP = "okienko"
"""The entry-point group; the built-in plugins are in it like all others."""

PORTS: dict[str, type] = {
    "okienko_channels": Channel,
    "okienko_csd_backends": CsdBackend,
    "okienko_identity_backends": IdentityBackend,
    "okienko_procedures": ProcedurePack,
    "okienko_policies": MessagePolicy,
}
"""The port that the objects of each hook implement."""


@dataclass
class Plugins:
    """The typed face before pluggy: what the loaded plugins registered, by the objects' names."""

    channels: dict[str, Channel] = field(default_factory=dict)
    csd_backends: dict[str, CsdBackend] = field(default_factory=dict)
    identity_backends: dict[str, IdentityBackend] = field(default_factory=dict)
    procedures: dict[str, ProcedurePack] = field(default_factory=dict)
    policies: dict[str, MessagePolicy] = field(default_factory=dict)
    statuses: list[PluginStatus] = field(default_factory=list)
    """One for each installed plugin, in the order of loading: built-in ones first, then by name."""

    @classmethod
    def load(
        cls,
        ctx: PluginContext,
        *,
        only: Sequence[str] | None = None,
        disabled: Sequence[str] = (),
        required: Sequence[str] = (),
    ) -> Plugins:
        """Load the installed plugins one by one. `only` None means all; names are those of the entry points.

        A failing optional plugin is left out whole and its status says why. Raises PluginLoadError when a required one
        is not installed, disabled or fails, and when `only` names one that is not installed.
        """
        plugins = cls()
        entries = sorted(((_describe(point), point) for point in entry_points(group=GROUP)), key=_built_in_first)
        installed = [status.name for status, _ in entries]
        for name in only or ():
            if name not in installed:
                raise PluginLoadError(_not_installed(name, installed, "OKIENKO_PLUGINS"))
        for found, point in entries:
            status = replace(found, required=found.name in required)
            if status.name in disabled or (only is not None and status.name not in only):
                plugins.statuses.append(replace(status, state="disabled"))
            else:
                plugins.statuses.append(plugins._load_one(point, status, ctx))
        plugins._require(required, installed)
        return plugins

    def stop(self, name: str, problem: str) -> None:
        """Mark a plugin as stopped while the service runs. `name` is the plugin's, or that of an object it registered.

        Raises KeyError when there is neither.
        """
        self._mark(name, "stopped", problem)

    def resume(self, name: str) -> None:
        """Mark a stopped plugin as working again. Raises KeyError as `stop` does."""
        self._mark(name, "loaded", "")

    def _mark(self, name: str, state: str, problem: str) -> None:
        found = [status for status in self.statuses if status.name == name]
        found = found or [status for status in self.statuses if name in status.objects]
        if not found:
            raise KeyError(name)
        self.statuses = [replace(s, state=state, problem=problem) if s in found else s for s in self.statuses]
        for status in found:
            catalogue.PLUGIN_UP.labels(status.name).set(1 if state == "loaded" else 0)

    def _load_one(self, point: EntryPoint, status: PluginStatus, ctx: PluginContext) -> PluginStatus:
        twin = next((other for other in self.statuses if other.name == status.name), None)
        if twin is not None:
            problem = f"the package {twin.origin!r} has a plugin of this name too; uninstall one of them"
            return replace(status, state="failed", problem=problem)
        try:
            objects = _collect(point, ctx)
            self._place(objects)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's SystemExit must not end the service
            return replace(status, state="failed", problem=_describe_error(error))
        names = tuple(thing.name for things in objects.values() for thing in things)
        return replace(status, hooks=tuple(objects), objects=names)

    def _place(self, objects: dict[str, list[Any]]) -> None:
        """Put all objects of one plugin into the registries, or none of them."""
        registries: dict[str, dict[str, Any]] = {
            "okienko_channels": self.channels,
            "okienko_csd_backends": self.csd_backends,
            "okienko_identity_backends": self.identity_backends,
            "okienko_procedures": self.procedures,
            "okienko_policies": self.policies,
        }
        for hook, things in objects.items():
            seen = set(registries[hook])
            for thing in things:
                if thing.name in seen:
                    raise PluginLoadError(
                        f"{hook}: the name {thing.name!r} is taken already; "
                        "rename the object or disable the plugin that has it"
                    )
                seen.add(thing.name)
        for hook, things in objects.items():
            registries[hook].update((thing.name, thing) for thing in things)

    def _require(self, required: Sequence[str], installed: Sequence[str]) -> None:
        states = {status.name: status for status in reversed(self.statuses)}
        for name in required:
            if name not in states:
                raise PluginLoadError(_not_installed(name, installed, "OKIENKO_REQUIRED_PLUGINS"))
            status = states[name]
            if status.state == "disabled":
                raise PluginLoadError(
                    f"the required plugin {name!r} is disabled: enable it or take it out of OKIENKO_REQUIRED_PLUGINS"
                )
            if status.state == "failed":
                raise PluginLoadError(
                    f"the required plugin {name!r} failed: {status.problem}. "
                    "Mend it, or take it out of OKIENKO_REQUIRED_PLUGINS to start without it"
                )


def _collect(point: EntryPoint, ctx: PluginContext) -> dict[str, list[Any]]:
    """Import one plugin, validate its hooks, call them; its objects by hook.

    A pluggy manager of its own lets `check_pending` and a failing hook speak of this plugin alone.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugin = point.load()
    manager.register(plugin, point.name)
    manager.check_pending()
    callers = manager.get_hookcallers(plugin)
    if not callers:
        raise PluginLoadError("it implements no hook of okienko: mark one with @hookimpl, see docs/hooks.md")
    return {caller.name: _call(caller, ctx) for caller in callers}


def _call(caller: pluggy.HookCaller, ctx: PluginContext) -> list[Any]:
    """The objects that one plugin's implementation of one hook returns, each checked against its port."""
    try:
        return _checked(PORTS[caller.name], caller(ctx=ctx))
    except Exception as error:
        raise PluginLoadError(f"{caller.name}: {_describe_error(error)}") from error


def _checked(port: type, answers: list[Any]) -> list[Any]:
    # pluggy leaves a None out of the answers.
    if not answers:
        raise PluginLoadError("it returned None: return a list, empty when there is nothing")
    if not isinstance(answers[0], Iterable):
        raise PluginLoadError(f"it returned a {type(answers[0]).__name__}: return a list")
    things = list(answers[0])
    for thing in things:
        _check_port(port, thing)
    return things


def _check_port(port: type, thing: Any) -> None:
    if not isinstance(thing, port):
        members = {name for base in port.__mro__ for name in (*vars(base), *vars(base).get("__annotations__", {}))}
        missing = sorted(name for name in members if not name.startswith("_") and not hasattr(thing, name))
        raise PluginLoadError(
            f"the object of class {type(thing).__name__} is no {port.__name__}: it lacks {', '.join(missing)}"
        )
    if isinstance(thing, type):
        raise PluginLoadError(f"it returned the class {thing.__name__} itself: return an object of it")
    name = getattr(thing, "name", None)
    if not isinstance(name, str) or not name:
        raise PluginLoadError(f"the name of the object of class {type(thing).__name__} is {name!r}: it must be text")


def _describe(point: EntryPoint) -> PluginStatus:
    try:
        name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")
    except Exception:  # a package without readable metadata is still listed
        name, version = "unknown", "unknown"
    return PluginStatus(name=point.name, version=version, origin="built in" if name == "okienko" else name)


def _built_in_first(entry: tuple[PluginStatus, EntryPoint]) -> tuple[bool, str, str]:
    """Sort key: an add-on that takes a built-in object's name fails itself, and never puts the built-in one out."""
    status, _ = entry
    return (status.origin != "built in", status.name, status.origin)


def _describe_error(error: BaseException) -> str:
    return str(error) if isinstance(error, OkienkoError) else f"{type(error).__name__}: {error}"


def _not_installed(name: str, installed: Sequence[str], variable: str) -> str:
    near = difflib.get_close_matches(name, installed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"installed are: {', '.join(sorted(installed)) or 'none'}"
    return f"{variable} names the plugin {name!r}, which is not installed; {hint}"
