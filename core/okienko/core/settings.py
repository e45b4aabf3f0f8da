"""Settings of the service itself. Plugins have settings and prefixes of their own."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import FILE_SUFFIX, PluginSettings, load_settings

PREFIX = "OKIENKO_"
GROUPS = ("site", "oidc")
"""Words after the prefix under which other settings of the core stand; see okienko.core.site.settings."""
TEST_PREFIX = "OKIENKO_TEST_"
"""Variables that only the test suite reads."""

ROOT_HOME = Path("/var/lib/okienko")
"""Home when root starts okienko and its own data folder is closed to the system user that PostgreSQL runs as."""


class CoreSettings(PluginSettings):
    """The service's settings, each from `OKIENKO_<NAME>` or the file named in `OKIENKO_<NAME>_FILE`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    home: Path = Field(default_factory=lambda: default_home(), description="Folder for everything the service writes")
    database_url: SecretStr | None = Field(
        default=None, description="postgresql://… of PostgreSQL 15 or newer; unset: the bundled one in the home folder"
    )
    plugins: list[str] | None = Field(default=None, description="Load only these plugins; unset: all installed")
    disabled_plugins: list[str] = Field(default_factory=list, description="Installed plugins that are not loaded")
    required_plugins: list[str] = Field(
        default_factory=lambda: ["email", "csd_builtin", "identity_manual", "puesc", "loopguard", "threading"],
        description="Plugins without which the service does not start",
    )
    csd: str = Field(default="builtin", description="CSD backend that cases are registered in")
    identity: str = Field(default="manual", description="Identity backend that reset actions go to")
    procedure: str = Field(default="puesc", description="Procedure pack that decides")
    policies: list[str] = Field(
        default_factory=lambda: ["loopguard", "threading"], description="Message policies, in the order they are asked"
    )
    max_message_size: int = Field(default=50 << 20, gt=0, description="Largest message taken in, in octets")
    web_listen: str = Field(default="127.0.0.1:8080", description="host:port of /metrics, /healthz and /readyz")
    batch_size: int = Field(default=100, ge=1, le=1000, description="Most jobs worked on in one transaction")
    plugin_timeout: float = Field(default=30.0, gt=0, description="Time limit of one call into a plugin, in seconds")
    message_domain: str = Field(
        default="okienko.invalid", pattern=r"^[A-Za-z0-9.-]+$", description="Domain of the Message-IDs we make"
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level logged")
    log_format: str = Field(default="json", pattern="^(json|console)$", description="json lines or a console format")


def default_home() -> Path:
    """The platform's user data folder; for root, `/var/lib/okienko` where that folder is closed to other users."""
    home = Path(platformdirs.user_data_dir("okienko"))
    if hasattr(os, "geteuid") and os.geteuid() == 0 and closed_parent(home) is not None:
        return ROOT_HOME
    return home


def closed_parent(path: Path) -> Path | None:
    """The first existing folder on the way to `path` that other users may not enter and list, or None."""
    for folder in reversed([path, *path.parents]):
        if folder.exists() and folder.is_dir() and folder.stat().st_mode & 0o005 != 0o005:
            return folder
    return None


def load_core_settings(environ: Mapping[str, str]) -> CoreSettings:
    """Read the core's own variables; those of plugins are left to them. Raises MisconfiguredError."""
    own = {f"{PREFIX}{name}".upper() for name in CoreSettings.model_fields}
    own |= {name + FILE_SUFFIX for name in own}
    return load_settings(CoreSettings, {name: value for name, value in environ.items() if name.upper() in own})


def refuse_unknown(environ: Mapping[str, str], plugin_names: Iterable[str]) -> None:
    """Raise MisconfiguredError for an `OKIENKO_…` variable that belongs neither to the core nor to any plugin."""
    own = {f"{PREFIX}{name}".upper() for name in CoreSettings.model_fields}
    prefixes = tuple(f"{PREFIX}{name}_".upper() for name in (*plugin_names, *GROUPS))
    for variable in environ:
        name = variable.upper()
        if not name.startswith(PREFIX) or name.startswith((TEST_PREFIX, *prefixes)):
            continue
        if name not in own and name.removesuffix(FILE_SUFFIX) not in own:
            near = difflib.get_close_matches(name, own, n=1)
            hint = f"did you mean {near[0]}?" if near else "see docs/operating.md for the list"
            raise MisconfiguredError(f"{variable} is no setting of okienko or of an installed plugin; {hint}")
