"""Settings of the Zammad connector."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings


class ZammadCsdSettings(PluginSettings):
    """`OKIENKO_CSD_ZAMMAD_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_ZAMMAD_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(default=None, description="Zammad's address, e.g. https://zammad.example.org; unset: off")
    token: SecretStr | None = Field(
        default=None, min_length=1, description="Access token of the agent that okienko works as"
    )
    mapping: Path | None = Field(default=None, description="TOML file with groups, states, priorities and fields")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(
        default=4, ge=1, le=32, description="Requests under way at a time when a batch is registered"
    )
    pending_days: int = Field(
        default=7, ge=1, le=365, description="Days after which a waiting ticket is brought up again"
    )
    solution_public: bool = Field(
        default=False, description="The customer sees the solution in Zammad, not only in our mail"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="The webhook's HMAC SHA1 signature token in Zammad; unset: no webhook"
    )

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value) if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _complete(self) -> ZammadCsdSettings:
        if self.url is not None and (self.token is None or self.mapping is None):
            raise ValueError("URL needs TOKEN and MAPPING too")
        return self
