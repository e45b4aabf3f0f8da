"""Settings of the signature verifier."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins.settings import PluginSettings


class SignatureSettings(PluginSettings):
    """`OKIENKO_SIGNATURE_…`. Nothing is trusted unless it is named here; lists are written as JSON."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_SIGNATURE_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    anchors: list[Path] = Field(
        default_factory=list, description="Root certificates that are trusted (PEM or DER): in Poland NCCert's"
    )
    intermediates: list[Path] = Field(
        default_factory=list, description="Certificates of issuing authorities (PEM or DER); no trust comes from them"
    )
    crl_dir: Path | None = Field(default=None, description="Folder of CRLs (*.crl, *.pem; PEM or DER)")
    crl_urls: list[str] = Field(
        default_factory=list, description="Addresses that `okienko trust update` fetches CRLs from, into crl_dir"
    )
    trusted_list: Path | None = Field(default=None, description="Pinned copy of the national trusted list (TS 119 612)")
    trusted_list_url: str | None = Field(
        default=None, description="https address that `okienko trust update` fetches the trusted list from"
    )
    trusted_list_signers: list[Path] = Field(
        default_factory=list, description="Certificates that may seal the trusted list (from the EU's list of lists)"
    )
    pinned_seals: list[str] = Field(
        default_factory=list,
        description="SHA-256 of the public keys (SPKI, hex) of the minister's podpis zaufany seal",
    )
    max_size: int = Field(default=20 << 20, gt=0, description="Largest document that is looked at, in octets")
    max_unpacked: int = Field(default=60 << 20, gt=0, description="Most octets that a container may unpack to")
    max_parts: int = Field(default=100, ge=1, description="Most files in a container")
    max_depth: int = Field(default=100, ge=1, description="Deepest nesting of XML elements")
    warn_days: int = Field(
        default=3, ge=0, description="`okienko trust status` complains so many days before a file runs out"
    )

    @field_validator("pinned_seals")
    @classmethod
    def _hexadecimal(cls, pins: list[str]) -> list[str]:
        clean = [pin.replace(":", "").strip().lower() for pin in pins]
        for pin in clean:
            if len(pin) != 64 or not set(pin) <= set("0123456789abcdef"):
                raise ValueError("a pin is the SHA-256 of a public key: 64 hexadecimal digits")
        return clean
