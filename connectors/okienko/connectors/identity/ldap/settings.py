"""Settings of the OpenLDAP connector."""

from __future__ import annotations

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.connectors.identity.directory.settings import Attribute, DirectorySettings, is_loopback


class LdapSettings(DirectorySettings):
    """`OKIENKO_IDENTITY_LDAP_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_IDENTITY_LDAP_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    account_filter: str = Field(
        default="(objectClass=inetOrgPerson)", pattern=r"^\(.+\)$", description="What an account is, below the base"
    )
    pesel_attribute: Attribute | None = Field(default="pesel", description="Holds the PESEL; empty: no look-up by it")
    lockout_seconds: int = Field(
        default=0,
        ge=0,
        description="pwdLockoutDuration of the password policy: a lock older than this is none; 0: until unlocked",
    )
    insecure: bool = Field(default=False, description="ldap:// without StartTLS; only for a server on this machine")

    @property
    def starttls(self) -> bool:
        """Whether ldap:// is made safe by StartTLS before anything is said."""
        return not self.insecure

    @model_validator(mode="after")
    def _safe(self) -> LdapSettings:
        if self.insecure and not all(is_loopback(url) for url in self.urls):
            raise ValueError("insecure is allowed only for a server on this machine")
        return self
