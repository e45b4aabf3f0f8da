"""Settings of the Znuny connector."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings


class ZnunyCsdSettings(PluginSettings):
    """`OKIENKO_CSD_ZNUNY_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_ZNUNY_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(
        default=None,
        description="Address of the web service, e.g. "
        "https://znuny.example.org/znuny/nph-genericinterface.pl/Webservice/GenericTicketConnectorREST; unset: off",
    )
    user: str | None = Field(default=None, description="Login of the agent that okienko works as")
    password: SecretStr | None = Field(default=None, min_length=1, description="Its password")
    mapping: Path | None = Field(default=None, description="TOML file with queues, states, priorities and fields")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(default=4, ge=1, le=32, description="Requests under way at a time")
    time_zone: str = Field(default="UTC", description="Znuny's OTRSTimeZone, in which it writes its times")
    pending_days: int = Field(
        default=7, ge=1, le=365, description="Days after which a waiting ticket is brought up again"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="What Znuny sends in the header X-Okienko-Secret; unset: no webhook"
    )

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value) if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone: write it like Europe/Warsaw") from None
        return value

    @model_validator(mode="after")
    def _complete(self) -> ZnunyCsdSettings:
        if self.url is not None and (self.user is None or self.password is None or self.mapping is None):
            raise ValueError("URL needs USER, PASSWORD and MAPPING too")
        return self
