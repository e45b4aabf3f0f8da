"""Settings that every LDAP directory needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings
from okienko.plugins.identity import Operation

LOOPBACK = ("localhost", "::1")
Attribute = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
ABILITIES = (
    Operation.FIND_BY_LOGIN,
    Operation.FIND_BY_PESEL,
    Operation.UNLOCK,
    Operation.SET_PASSWORD,
    Operation.CHANGE_LOGIN,
    Operation.RELEASE_PESEL,
)
"""What a directory can do; it sends no mail."""


class DirectorySettings(PluginSettings):
    """The server, the account that okienko uses, and where people's accounts stand."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_IDENTITY_DIRECTORY_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(
        default=None,
        description="ldaps://host[:port], or ldap://host[:port] with StartTLS; several, separated by spaces, are tried in "
        "order. Unset: the plugin offers no backend",
    )
    ca: Path | None = Field(
        default=None, description="CA certificates (PEM) that the server's must come from; unset: the system's"
    )
    bind_dn: str | None = Field(default=None, description="The operator account that okienko signs in with")
    bind_password: SecretStr | None = Field(
        default=None, min_length=1, description="Its password; best from a file, by the variable with _FILE at its end"
    )
    base: str | None = Field(default=None, description="The branch that holds people's accounts, and no others")
    account_filter: str = Field(
        default="(objectClass=person)", pattern=r"^\(.+\)$", description="What an account is, below the base"
    )
    login_attributes: list[Attribute] = Field(
        default=["mail"],
        min_length=1,
        description="Attributes that hold the login e-mail (JSON list); all that hold the old one are changed together",
    )
    pesel_attribute: Attribute | None = Field(default=None, description="Holds the PESEL; unset: no look-up by PESEL")
    given_name_attribute: Attribute = Field(default="givenName", description="Holds the given name(s)")
    family_name_attribute: Attribute = Field(default="sn", description="Holds the family name")
    birth_date_attribute: Attribute | None = Field(
        default=None, description="Holds the date of birth, beginning with the year; unset: from the PESEL"
    )
    allowed: list[Operation] | None = Field(
        default=None,
        description="What okienko may do here (JSON list); unset: all that a directory can. Give the operator account the "
        "rights for these only",
    )
    check_login: str | None = Field(
        default=None, description="Login e-mail of an account of no person, on which `okienko check` tries the rights"
    )
    timeout: float = Field(default=10.0, gt=0, le=120, description="Seconds for connecting and for each operation")
    pool_size: int = Field(default=4, ge=1, le=64, description="Most connections, and most operations at one time")
    idle_seconds: float = Field(
        default=60.0, gt=0, description="A connection unused for longer is closed, not used: firewalls forget them"
    )

    @property
    def urls(self) -> tuple[str, ...]:
        """Each server by itself."""
        return tuple((self.url or "").split())

    @property
    def operations(self) -> frozenset[Operation]:
        """What is allowed and can be done."""
        possible = frozenset(ABILITIES if self.allowed is None else self.allowed)
        needs_pesel = {Operation.FIND_BY_PESEL, Operation.RELEASE_PESEL}
        return possible if self.pesel_attribute is not None else possible - needs_pesel

    @property
    def starttls(self) -> bool:
        """Whether ldap:// is made safe by StartTLS before anything is said."""
        return True

    @field_validator("pesel_attribute", "birth_date_attribute", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("url")
    @classmethod
    def _is_ldap(cls, value: str | None) -> str | None:
        for url in (value or "").split():
            parts = urlsplit(url)
            if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError("each must be ldaps://host[:port] or ldap://host[:port], without a path")
            _ = parts.port  # raises ValueError when it is no port
        return value

    @field_validator("allowed")
    @classmethod
    def _possible(cls, value: list[Operation] | None) -> list[Operation] | None:
        if impossible := [operation.value for operation in value or () if operation not in ABILITIES]:
            raise ValueError(f"a directory cannot {', '.join(impossible)}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> DirectorySettings:
        missing = [name for name in ("bind_dn", "bind_password", "base") if getattr(self, name) is None]
        if self.urls and missing:
            # A bind without a password is no error for a server: it signs in nobody (RFC 4513, 5.1.2).
            raise ValueError(f"url needs {', '.join(missing)} as well")
        if not self.urls and self.model_fields_set - {"url"}:
            raise ValueError(f"url is missing, but {', '.join(sorted(self.model_fields_set - {'url'}))} is set")
        return self


def is_loopback(url: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in LOOPBACK or host.startswith("127.")
