"""Settings of the declarative connector: the address and the secrets. Everything else is in the file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings


class RestCsdSettings(PluginSettings):
    """`OKIENKO_CSD_REST_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_REST_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(
        default=None, description="Address of the API, below which the file's paths are; unset: off"
    )
    mapping: Path | None = Field(default=None, description="TOML file that describes the API, see docs/csd-rest.md")
    token: SecretStr | None = Field(
        default=None, min_length=1, description="Token, for authentication `bearer` and `header`"
    )
    username: str | None = Field(default=None, description="User, for authentication `basic`")
    password: SecretStr | None = Field(default=None, min_length=1, description="Its password")
    client_id: str | None = Field(default=None, description="Client, for authentication `oauth2`")
    client_secret: SecretStr | None = Field(default=None, min_length=1, description="Its secret")
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Secret of the webhook; unset: changes are only asked for"
    )
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(default=4, ge=1, le=10, description="Requests under way at a time")

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value).rstrip("/") if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @field_validator("token")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else ""
        if not text.isascii() or not text.isprintable():
            raise ValueError("a token is of printable ASCII characters: copy it again")
        return value

    @model_validator(mode="after")
    def _complete(self) -> RestCsdSettings:
        if self.url is not None and self.mapping is None:
            raise ValueError("URL needs MAPPING")
        return self
