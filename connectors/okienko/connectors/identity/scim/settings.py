"""Settings of the SCIM connector."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings
from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError


class ScimIdentitySettings(PluginSettings):
    """`OKIENKO_IDENTITY_SCIM_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_IDENTITY_SCIM_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(default=None, description="Base address, e.g. https://id.example.org/scim/v2; unset: off")
    token: SecretStr | None = Field(default=None, min_length=1, description="A fixed bearer token")
    token_url: str | None = Field(default=None, description="OAuth 2 token endpoint for client credentials")
    client_id: str | None = Field(default=None, description="Our client at the token endpoint")
    client_secret: SecretStr | None = Field(default=None, min_length=1, description="Its secret")
    scope: str | None = Field(default=None, description="Scope to ask for, where the token endpoint wants one")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=15.0, gt=0, le=120, description="Seconds for one request and its answer")
    username_is_email: bool = Field(default=True, description="userName is the login e-mail and changes with it")
    email_type: str = Field(
        default="work", pattern=r"^[A-Za-z0-9_-]{1,32}$", description="Type of the e-mail that is the login"
    )
    pesel_path: str | None = Field(
        default=None,
        description="Attribute that holds the PESEL, e.g. "
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
    )
    birth_year_path: str | None = Field(
        default=None, description="Attribute with the year or date of birth; else the year comes from the PESEL"
    )
    locked_path: str | None = Field(
        default=None, description="Boolean attribute that tells and takes away the lock; SCIM itself has none"
    )
    must_change_path: str | None = Field(
        default=None, description="Boolean attribute that says that a new password is due; SCIM itself has none"
    )
    page_size: int = Field(default=100, ge=1, le=1000, description="Accounts asked for at once")
    max_accounts: int = Field(
        default=5000, ge=1, le=200_000, description="Most accounts to read through where the server cannot filter"
    )

    @field_validator("url", "token_url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value) if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @field_validator("pesel_path", "birth_year_path", "locked_path", "must_change_path")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        # Deferred: mapping is pure and knows no settings.
        from okienko.connectors.identity.scim.mapping import split_path

        if value is not None:
            split_path(value)
        return value

    @model_validator(mode="after")
    def _one_credential(self) -> ScimIdentitySettings:
        if self.url is not None:
            if (self.token is None) == (self.token_url is None):
                raise ValueError("set exactly one of TOKEN and TOKEN_URL (with CLIENT_ID and CLIENT_SECRET)")
            if self.token_url is not None and (self.client_id is None or self.client_secret is None):
                raise ValueError("TOKEN_URL needs CLIENT_ID and CLIENT_SECRET")
        return self
