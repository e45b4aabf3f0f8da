"""Settings of the sender proof."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins.settings import PluginSettings

Accepted = Literal["dmarc", "dkim", "spf"]


def _all() -> list[Accepted]:
    return ["dmarc", "dkim", "spf"]


class SenderProofSettings(PluginSettings):
    """`OKIENKO_SENDERPROOF_…`. Without AUTHSERV_IDS and OWN_DKIM nothing is ever proved, and a person decides."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_SENDERPROOF_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    authserv_ids: list[str] = Field(
        default_factory=list, description="Names that your own receiving servers write into Authentication-Results"
    )
    skipped_ids: list[str] = Field(
        default_factory=list,
        description="Names of your servers behind those, whose fields stand above and are passed over",
    )
    fields: int = Field(
        default=1, ge=1, le=10, description="How many Authentication-Results fields your server writes into one mail"
    )
    methods: list[Accepted] = Field(
        default_factory=_all,
        description="What counts as a proof, when it passes and is aligned",
    )
    alignment: Literal["relaxed", "strict"] = Field(
        default="relaxed",
        description="relaxed: the same organisational domain (RFC 7489, section 3.1); strict: the same domain",
    )
    own_dkim: bool = Field(
        default=False, description="Check DKIM signatures ourselves where the server's results prove nothing (asks DNS)"
    )
    dkim_min_key: int = Field(default=1024, ge=1024, le=8192, description="Least bits of an RSA key for our own check")
    dkim_timeout: float = Field(default=5.0, gt=0, le=30, description="Seconds for one question to DNS")
