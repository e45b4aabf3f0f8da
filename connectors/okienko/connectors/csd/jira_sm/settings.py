"""Settings of the Jira Service Management connector."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings


class Flavour(StrEnum):
    """Which of the two Jiras."""

    CLOUD = "cloud"
    DATACENTER = "datacenter"


class JiraSmCsdSettings(PluginSettings):
    """`OKIENKO_CSD_JIRA_SM_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_JIRA_SM_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(
        default=None, description="Jira's address, e.g. https://example.atlassian.net, see csd-jira-sm.md; unset: off"
    )
    flavour: Flavour = Field(default=Flavour.CLOUD, description="`cloud` (API 3) or `datacenter` (API 2)")
    user: str | None = Field(
        default=None, min_length=1, description="E-mail (Cloud) or login for HTTP Basic; unset: Bearer"
    )
    token: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="API token (Cloud, with USER), personal access token (Data Center) or password",
    )
    token_url: str | None = Field(
        default=None, description="OAuth token endpoint of a service account, in place of TOKEN"
    )
    client_id: str | None = Field(default=None, min_length=1, description="OAuth client")
    client_secret: SecretStr | None = Field(default=None, min_length=1, description="Its secret")
    scope: str | None = Field(default=None, description="OAuth scopes, space between them; Data Center wants them")
    mapping: Path | None = Field(
        default=None, description="TOML file with projects, issue types, states, priorities and fields"
    )
    resolution: str | None = Field(
        default=None, min_length=1, description="Resolution that closing sets, where the screen has it"
    )
    solution_public: bool = Field(default=False, description="The solution as a comment that the customer sees")
    link_type: str = Field(default="Relates", min_length=1, description="Type of the links between issues")
    settle_minutes: int = Field(
        default=10, ge=1, le=120, description="Minutes after which Jira's search shows every change for certain"
    )
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(
        default=2, ge=1, le=10, description="Requests under way at once when a batch is registered"
    )
    requests_per_hour: float | None = Field(
        default=None, gt=0, description="Most requests of this process in an hour; unset: as fast as Jira answers"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Secret of Jira's webhook; unset: changes are only asked for"
    )

    @field_validator("url", "token_url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value).rstrip("/") if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _complete(self) -> JiraSmCsdSettings:
        if self.url is None:
            return self
        if self.mapping is None:
            raise ValueError("URL needs MAPPING")
        oauth = [self.token_url, self.client_id, self.client_secret]
        if (self.token is None) is not all(one is not None for one in oauth):
            raise ValueError("URL needs either TOKEN, or TOKEN_URL, CLIENT_ID and CLIENT_SECRET")
        if self.flavour is Flavour.CLOUD and self.token is not None and self.user is None:
            raise ValueError("an API token of Jira Cloud needs USER, the e-mail of its account")
        return self
