"""Settings of the Keycloak connector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings
from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError

_ATTRIBUTE = r"^[A-Za-z0-9_.-]{1,64}$"


class KeycloakIdentitySettings(PluginSettings):
    """`OKIENKO_IDENTITY_KEYCLOAK_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_IDENTITY_KEYCLOAK_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(default=None, description="Keycloak's address, e.g. https://sso.example.org; unset: off")
    realm: str | None = Field(default=None, min_length=1, description="The realm that the accounts are in")
    client_realm: str | None = Field(default=None, min_length=1, description="Realm of our own client, if another one")
    client_id: str | None = Field(default=None, min_length=1, description="Our confidential client (service account)")
    client_secret: SecretStr | None = Field(default=None, min_length=1, description="Its secret")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=15.0, gt=0, le=120, description="Seconds for one request and its answer")
    pesel_attribute: str | None = Field(
        default="pesel", pattern=_ATTRIBUTE, description="User attribute with the PESEL"
    )
    birth_year_attribute: str | None = Field(
        default=None,
        pattern=_ATTRIBUTE,
        description="User attribute with the year or date of birth; else the year comes from the PESEL",
    )
    username_is_email: Literal["auto", "yes", "no"] = Field(
        default="auto", description="The user name is the e-mail and changes with it; auto: as the realm says"
    )
    link_client_id: str | None = Field(
        default=None, description="Client that the person comes back to after the activation link"
    )
    link_redirect_uri: str | None = Field(default=None, description="Where to; must be allowed in that client")
    verify_email: bool = Field(default=True, description="The activation link also proves the e-mail (VERIFY_EMAIL)")
    logout_sessions: bool = Field(default=True, description="End all sessions after a change of login or password")
    max_accounts: int = Field(default=200, ge=1, le=10_000, description="Most accounts of one PESEL to read through")

    @field_validator("pesel_attribute", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value) if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _complete(self) -> KeycloakIdentitySettings:
        if self.url is not None:
            missing = [n.upper() for n in ("realm", "client_id", "client_secret") if getattr(self, n) is None]
            if missing:
                raise ValueError(f"URL needs {', '.join(missing)} too")
        if self.link_redirect_uri is not None and self.link_client_id is None:
            raise ValueError("LINK_REDIRECT_URI needs LINK_CLIENT_ID, or Keycloak answers `Client id missing`")
        return self

    @property
    def admin_url(self) -> str:
        """Base of the Admin REST API of the realm."""
        return f"{str(self.url).rstrip('/')}/admin/realms/{quote(str(self.realm), safe='')}"

    @property
    def token_url(self) -> str:
        """Where our client gets its token."""
        realm = quote(str(self.client_realm or self.realm), safe="")
        return f"{str(self.url).rstrip('/')}/realms/{realm}/protocol/openid-connect/token"
