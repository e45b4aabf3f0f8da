"""Settings of the Active Directory connector."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.connectors.identity.directory.settings import Attribute, DirectorySettings


class AdSettings(DirectorySettings):
    """`OKIENKO_IDENTITY_AD_…`. There is no way without TLS: a domain controller refuses passwords then, and so do we."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_IDENTITY_AD_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    account_filter: str = Field(
        default="(&(objectCategory=person)(objectClass=user))",
        pattern=r"^\(.+\)$",
        description="What an account is, below the base",
    )
    login_attributes: list[Attribute] = Field(
        default=["mail", "userPrincipalName"],
        min_length=1,
        description="Attributes that hold the login e-mail (JSON list); all that hold the old one are changed together",
    )
    pesel_attribute: Attribute | None = Field(
        default="employeeID", description="Holds the PESEL; empty: no look-up by it"
    )
