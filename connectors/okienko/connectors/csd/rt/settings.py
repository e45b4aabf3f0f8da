"""Settings of the RT connector."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings
from okienko.plugins.addresses import safe_url
from okienko.plugins.errors import MisconfiguredError


class RequestorMails(StrEnum):
    """Which of its own mails RT may send to the person."""

    ALL = "all"
    REPLIES = "replies"
    """All but those of the registration, which okienko tells itself."""
    NONE = "none"
    """None in the whole life of the ticket, a clerk's public answer neither."""


class SolutionAs(StrEnum):
    """How the solution is written into the ticket."""

    COMMENT = "comment"
    """Internal: RT mails it to nobody, okienko tells the person."""
    CORRESPOND = "correspond"
    """Public: the person sees it in RT, and RT mails it too."""


class RtCsdSettings(PluginSettings):
    """`OKIENKO_CSD_RT_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_RT_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str | None = Field(default=None, description="RT's address, e.g. https://rt.example.org; unset: off")
    token: SecretStr | None = Field(
        default=None, min_length=1, description="Authentication token of okienko's user in RT"
    )
    mapping: Path | None = Field(default=None, description="The mapping file, see docs/csd-rt.md")
    ca_file: Path | None = Field(default=None, description="PEM file of the CA, instead of the system's")
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect")
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one request and its answer")
    connections: int = Field(
        default=4, ge=1, le=10, description="Requests under way at once when a batch is registered"
    )
    bulk: int = Field(default=5, ge=1, le=50, description="Tickets that one request registers")
    requests_per_hour: float | None = Field(
        default=None, gt=0, description="Most requests of this process in an hour; unset: as fast as RT answers"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Secret of RT's webhook; unset: changes are only asked for"
    )
    requestor_mails: RequestorMails = Field(
        default=RequestorMails.REPLIES,
        description="Mails that RT itself may send to the person: `all`, `replies` (none about the registration), `none`",
    )
    solution_as: SolutionAs = Field(
        default=SolutionAs.COMMENT, description="The solution as internal `comment` or public `correspond`"
    )
    solution_field: str | None = Field(default=None, min_length=1, description="Custom field for the solution as well")

    @field_validator("url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        try:
            return safe_url(value).rstrip("/").removesuffix("/REST/2.0") if value is not None else None
        except MisconfiguredError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _complete(self) -> RtCsdSettings:
        if self.url is not None:
            missing = [name.upper() for name in ("token", "mapping") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"URL needs {' and '.join(missing)}")
        return self
