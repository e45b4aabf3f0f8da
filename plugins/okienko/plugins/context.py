"""What a plugin gets when it is asked to register its objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.plugins.pace import LocalPace, Pace
from okienko.plugins.settings import PluginSettings, load_settings

S = TypeVar("S", bound=PluginSettings)


def utc_now() -> datetime:
    """The real clock: now, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class PluginContext:
    """The service as a plugin sees it."""

    home: Path
    """`OKIENKO_HOME`: the folder for files that must last."""
    environ: Mapping[str, str]
    now: Callable[[], datetime] = utc_now
    """The clock; timezone-aware UTC. Never call datetime.now() yourself."""
    database: AsyncEngine | None = None
    """The service's own database, for the built-in register. None when a plugin is only listed or checked offline."""
    paces: Callable[[str], Pace] = lambda _name: LocalPace()
    """See `pace`; the core lends one that all processes share."""
    loaded_settings: dict[str, PluginSettings] = field(default_factory=dict)

    def pace(self, name: str) -> Pace:
        """The turn-taking before the system of that name, shared by all workers of the installation."""
        return self.paces(name)

    def settings(self, cls: type[S]) -> S:
        """The plugin's settings, read and checked once. Raises MisconfiguredError naming variable and cure."""
        key = cls.__qualname__ + cls.__module__
        if key not in self.loaded_settings:
            self.loaded_settings[key] = load_settings(cls, self.environ)
        value = self.loaded_settings[key]
        assert isinstance(value, cls)  # noqa: S101  narrows the type of what was stored two lines above
        return value
