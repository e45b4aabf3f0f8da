"""Settings of the pages for people, and of the sign-in by an identity provider."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.settings import PluginSettings

_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SiteSettings(PluginSettings):
    """`OKIENKO_SITE_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_SITE_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    public_url: str = Field(
        default="http://localhost:8080", description="Address under which people reach the pages; https except on this machine"
    )  # fmt: skip
    trusted_proxies: list[IPv4Network | IPv6Network] = Field(
        default_factory=list, description="Networks of reverse proxies whose X-Forwarded-For is believed"
    )
    timezone: str = Field(default="Europe/Warsaw", description="Time zone of the times that the pages show")
    approval_sign_in_minutes: int = Field(
        default=30, ge=1, le=480, description="Minutes for which a sign-in is enough to approve; then it has to be repeated"
    )  # fmt: skip
    help_phone: str = Field(default="33 483 20 55", description="Phone number that the pages for account holders name")
    digest_to: list[str] = Field(
        default_factory=list, description="Addresses that get the daily digest; none: no digest"
    )
    digest_language: str = Field(default="pl", pattern="^(pl|en)$", description="Language of the digest")
    digest_hour: int = Field(
        default=7, ge=0, le=23, description="Hour of the day, in the time zone of the pages, before which no digest is sent"
    )  # fmt: skip

    @field_validator("public_url")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("write https://host or https://host:port")
        if parts.path not in ("", "/"):
            raise ValueError("the pages live at the root of their host: write the address without a path")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("plain http is for this machine only: write https:// and put a TLS proxy in front")
        return value.rstrip("/")

    @field_validator("digest_to")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        if not all(_ADDRESS.fullmatch(address) for address in value):
            raise ValueError('write bare e-mail addresses: ["anna@urzad.example"]')
        return value

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("there is no such time zone: write a name like Europe/Warsaw") from None
        return value

    @property
    def https(self) -> bool:
        """Whether browsers reach the pages by https."""
        return self.public_url.startswith("https:")

    @property
    def hosts(self) -> frozenset[str]:
        """Host names that a request may name; compared without the port."""
        host = urlsplit(self.public_url).hostname or ""
        return _LOOPBACK | {host} if host in _LOOPBACK else frozenset({host})


class OidcSettings(PluginSettings):
    """`OKIENKO_OIDC_…`; without an issuer administrators are local ones."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_OIDC_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    issuer: str | None = Field(
        default=None, description="Issuer of the identity provider, exactly as its tokens name it"
    )
    client_id: str = Field(default="okienko", description="Our name at the identity provider")
    client_secret: SecretStr | None = Field(default=None, description="Our secret there; unset: a public client")
    client_auth: str = Field(
        default="client_secret_basic", pattern="^client_secret_(basic|post)$", description="How the secret is sent"
    )
    scopes: str = Field(default="openid profile email", description="Scopes asked for")
    algorithms: list[str] = Field(
        default_factory=lambda: ["RS256", "PS256", "ES256", "EdDSA"], description="Signature algorithms accepted"
    )
    roles_claim: str = Field(
        default="roles", description="Claim with the roles, a path with dots: realm_access.roles for Keycloak"
    )
    admin_role: str = Field(default="identity_admin", description="Value in that claim that lets a person decide")
    auditor_role: str = Field(default="auditor", description="Value in that claim that lets a person look only")
    acr_values: list[str] = Field(default_factory=list, description="Accepted values of acr; none: any")
    amr_values: list[str] = Field(default_factory=list, description="One of these must be in amr; none: any")
    clock_skew: int = Field(default=60, ge=0, le=300, description="Seconds that clocks may differ")
    recheck_minutes: int = Field(
        default=20, ge=2, le=480, description="Minutes for which the provider's word about somebody's roles is believed"
    )  # fmt: skip
    api_audience: str | None = Field(
        default=None, description="Audience of access tokens that the JSON API takes; unset: it takes none"
    )
    timeout: float = Field(default=10.0, gt=0, description="Time limit of one request to the provider, in seconds")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.issuer is not None:
            parts = urlsplit(self.issuer)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
                raise ValueError("the issuer's address begins with https://")
        if bad := [a for a in self.algorithms if a == "none" or a.startswith("HS")]:
            raise ValueError(f"algorithms that anyone could sign with are not allowed: {', '.join(bad)}")
        if self.api_audience is not None and self.api_audience == self.client_id:
            raise ValueError("api_audience has to differ from client_id, or ID tokens would pass for access tokens")
        return self
