"""Settings of the service itself. Plugins have settings and prefixes of their own."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, PositiveInt, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from okienko.core.csd.merge import Rule
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import FILE_SUFFIX, PluginSettings, load_settings

PREFIX = "OKIENKO_"
GROUPS = ("site", "oidc", "senderproof")
"""Words after the prefix under which other settings stand that belong to no plugin by that name."""
TEST_PREFIX = "OKIENKO_TEST_"
"""Variables that only the test suite reads."""

_IDENTITIES = ("cli:", "local:", "oidc:")

ROOT_HOME = Path("/var/lib/okienko")
"""Home when root starts okienko and its own data folder is closed to the system user that PostgreSQL runs as."""


class CoreSettings(PluginSettings):
    """The service's settings, each from `OKIENKO_<NAME>` or the file named in `OKIENKO_<NAME>_FILE`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    home: Path = Field(
        default_factory=lambda: default_home(),
        description="Folder for everything the service writes; for root /var/lib/okienko where the platform's is closed to other users",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://user@host/database, PostgreSQL 15 or newer; unset: the bundled one in the home folder",
    )
    plugins: list[str] | None = Field(default=None, description="Load only these plugins; unset: all installed")
    disabled_plugins: list[str] = Field(default_factory=list, description="Installed plugins that are not loaded")
    required_plugins: list[str] = Field(
        default_factory=lambda: ["email", "csd_builtin", "identity_manual", "puesc", "loopguard", "threading"],
        description="Plugins without which the service does not start",
    )
    csd: str = Field(default="builtin", description="CSD backend that cases are registered in")
    csd_requests_per_hour: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description="Requests an hour that a CSD allows all processes together, by its backend's name as JSON; unset: no limit of ours",
    )
    csd_burst: int = Field(
        default=10, ge=1, le=1000, description="How many of an hour's requests may come at once after a rest"
    )
    csd_patience_minutes: int = Field(
        default=5,
        ge=1,
        description="Minutes a case waits for the CSD before the person is told okienko's own number; at once when the CSD is down",
    )
    csd_doubt_seconds: int = Field(
        default=30,
        ge=1,
        description="Longest that a CSD may take to finish what it began: so long a lost answer is only looked for, not asked for again",
    )
    identity: str = Field(default="manual", description="Identity backend that reset actions go to")
    procedure: str = Field(default="puesc", description="Procedure pack that decides")
    verifier: str = Field(default="signature", description="Who checks signed applications")
    policies: list[str] = Field(
        default_factory=lambda: ["loopguard", "threading"], description="Message policies, in the order they are asked"
    )
    max_message_size: int = Field(default=50 << 20, gt=0, description="Largest message taken in, in octets")
    web_listen: str = Field(default="127.0.0.1:8080", description="host:port of /metrics, /healthz and /readyz")
    batch_size: int = Field(default=100, ge=1, le=1000, description="Most jobs worked on in one transaction")
    plugin_timeout: float = Field(default=30.0, gt=0, description="Time limit of one call into a plugin, in seconds")
    message_domain: str = Field(
        default="okienko.invalid",
        pattern=r"^[A-Za-z0-9.-]+$",
        description="Domain of the Message-IDs we make: set it to one of yours",
    )
    approvals_low: int = Field(default=1, ge=1, le=5, description="People who must approve a reset action of low risk")
    approvals_high: int = Field(
        default=2, ge=2, le=5, description="Different people who must approve one of high risk: a change of login"
    )
    people: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Who is who: an e-mail address to the person's other identities, as JSON, so that one person is one approver",
    )
    action_hours: int = Field(default=72, ge=1, description="Hours after which a reset action that waits expires")
    cool_down_minutes: int = Field(
        default=120,
        ge=0,
        description="Minutes between the last approval and a change of login, in which its holder may stop it",
    )
    activation_hours: int = Field(
        default=24, ge=1, le=168, description="Hours in which the link of mail 3 works (rule T5)"
    )
    actions_per_account_per_day: int = Field(
        default=2, ge=1, description="Reset actions for one account in a day; more go to a human"
    )
    lookups_per_account_per_day: int = Field(
        default=10,
        ge=1,
        description="Requests for one account in a day that it is looked up for; more go to a human. Proved and unproved ones are counted apart",
    )
    repeat_hours: int = Field(
        default=24,
        ge=0,
        le=168,
        description="Hours after its beginning in which the same recovery request again becomes part of the open case; 0: never",
    )
    csd_policy: dict[Literal["status", "subject", "priority", "queue", "assignee"], Rule] = Field(
        default_factory=dict,
        description="Who wins a field that both sides changed: field to csd, okienko or newest, as JSON; the others: csd",
    )
    csd_poll_seconds: float = Field(
        default=60.0, ge=5, description="Seconds between two questions to the CSD what has changed, where it can tell"
    )
    keyring: SecretStr | None = Field(
        default=None,
        description="Master and signing keys; unset: the file keys/keyring in the home folder, made at first start",
    )
    audit_anchors: Path | None = Field(
        default=None,
        description="Folder of the audit's anchors, best on another machine; unset: anchors in the home folder",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level logged, to stderr"
    )
    log_format: Literal["json", "console"] = Field(default="json", description="One JSON object a line, or for the eye")

    @field_validator("people")
    @classmethod
    def _addresses_and_identities(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for address, names in value.items():
            if "@" not in address or address.startswith(_IDENTITIES):
                raise ValueError('write {"address@example": ["cli:LOGIN", "local:NAME", "oidc:ISSUER:SUBJECT"]}')
            if wrong := [name for name in names if not name.startswith(_IDENTITIES) and "@" not in name]:
                raise ValueError(
                    f"{wrong[0]!r} is none of cli:LOGIN, local:NAME, oidc:ISSUER:SUBJECT, or a further address"
                )
        return value

    @field_validator("web_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("write host:port, such as 127.0.0.1:8080 or [::1]:8080")
        return value


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


def unknown_variables(environ: Mapping[str, str], plugin_names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each `OKIENKO_…` variable that belongs neither to the core nor to any plugin, with a hint at the right one."""
    own = {f"{PREFIX}{name}".upper() for name in CoreSettings.model_fields}
    prefixes = tuple(f"{PREFIX}{name}_".upper() for name in (*plugin_names, *GROUPS))
    for variable in environ:
        name = variable.upper()
        if not name.startswith(PREFIX) or name.startswith((TEST_PREFIX, *prefixes)):
            continue
        if name not in own and name.removesuffix(FILE_SUFFIX) not in own:
            near = difflib.get_close_matches(name, own, n=1)
            yield variable, f"did you mean {near[0]}?" if near else "see docs/operating.md for the list"


def refuse_unknown(environ: Mapping[str, str], plugin_names: Iterable[str]) -> None:
    """Raise MisconfiguredError for an `OKIENKO_…` variable that belongs neither to the core nor to any plugin."""
    for variable, hint in unknown_variables(environ, plugin_names):
        raise MisconfiguredError(f"{variable} is no setting of okienko or of an installed plugin; {hint}")
