"""Settings of the ServiceNow connector."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings


class ServiceNowCsdSettings(PluginSettings):
    """`OKIENKO_CSD_SERVICENOW_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_SERVICENOW_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(
        default=None,
        description="The instance, e.g. https://example.service-now.com, see csd-servicenow.md; unset: off",
    )
    user: str | None = Field(default=None, min_length=1, description="User that okienko works as")
    password: SecretStr | None = Field(default=None, min_length=1, description="Its password")
    client_id: str | None = Field(default=None, min_length=1, description="OAuth client; unset: HTTP Basic")
    client_secret: SecretStr | None = Field(
        default=None, min_length=1, description="Its secret; without USER the grant is client credentials"
    )
    scope: str | None = Field(default=None, description="OAuth scope, where the instance wants one")
    table: str = Field(
        default="incident", pattern=r"^[a-z][a-z0-9_]*$", description="Table of the tickets, of the family task"
    )
    mapping: Path | None = Field(default=None, description="TOML file with groups, states, priorities and fields")
    close_code: str | None = Field(default=None, min_length=1, description="Value of close_code that closing writes")
    hold_reason: str | None = Field(default=None, min_length=1, description="Value of hold_reason of a waiting ticket")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(
        default=4, ge=1, le=10, description="Requests under way at once when a batch is registered"
    )
    requests_per_hour: float | None = Field(
        default=None,
        gt=0,
        description="Most requests of this process in an hour; unset: as fast as the instance answers",
    )
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Key of the webhook's HMAC; unset: changes are only asked for"
    )

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value).rstrip("/") if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _complete(self) -> ServiceNowCsdSettings:
        if self.url is None:
            return self
        if self.mapping is None:
            raise ValueError("URL needs MAPPING")
        if (self.user is None) is not (self.password is None):
            raise ValueError("USER and PASSWORD go together")
        if (self.client_id is None) is not (self.client_secret is None):
            raise ValueError("CLIENT_ID and CLIENT_SECRET go together")
        if self.user is None and self.client_id is None:
            raise ValueError("URL needs USER and PASSWORD, or CLIENT_ID and CLIENT_SECRET, or all four")
        return self
