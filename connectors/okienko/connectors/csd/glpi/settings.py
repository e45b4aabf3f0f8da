"""Settings of the GLPI connector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings


class GlpiCsdSettings(PluginSettings):
    """`OKIENKO_CSD_GLPI_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_GLPI_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(default=None, description="GLPI's address, e.g. https://glpi.example.org; unset: off")
    api: Literal["10", "11"] = Field(
        default="10", description="`10`: apirest.php of GLPI 10 (and 11); `11`: the high-level API of GLPI 11"
    )
    app_token: SecretStr | None = Field(default=None, min_length=1, description="API=10: token of the API client")
    user_token: SecretStr | None = Field(default=None, min_length=1, description="API=10: API token of okienko's user")
    client_id: str | None = Field(default=None, description="API=11: the OAuth client's id")
    client_secret: SecretStr | None = Field(default=None, min_length=1, description="API=11: its secret")
    username: str | None = Field(
        default=None, description="API=11: login of okienko's user; unset: the grant client_credentials"
    )
    password: SecretStr | None = Field(default=None, min_length=1, description="API=11: its password")
    mapping: Path | None = Field(default=None, description="TOML file with categories, states and priorities")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(default=4, ge=1, le=10, description="Requests under way at a time")
    time_zone: str = Field(default="UTC", description="Time zone of okienko's user in GLPI, in which it writes times")
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Secret of GLPI 11's webhook; unset: changes are only asked for"
    )

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value).rstrip("/").removesuffix("/apirest.php") if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @field_validator("app_token", "user_token")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else ""
        if not text.isascii() or not text.isprintable():
            raise ValueError("a token is of printable ASCII characters: copy it again")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone: write it like Europe/Warsaw") from None
        return value

    @model_validator(mode="after")
    def _complete(self) -> GlpiCsdSettings:
        if self.url is not None:
            needed = ("user_token", "mapping") if self.api == "10" else ("client_id", "client_secret", "mapping")
            if missing := [name.upper() for name in needed if getattr(self, name) is None]:
                raise ValueError(f"API={self.api} needs {' and '.join(missing)}")
            if (self.username is None) is not (self.password is None):
                raise ValueError("USERNAME and PASSWORD belong together")
        return self
