"""Settings of the built-in register."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings


class BuiltinCsdSettings(PluginSettings):
    """`OKIENKO_CSD_BUILTIN_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_CSD_BUILTIN_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    prefix: str = Field(default="ZGL", pattern=r"^[A-Z]{1,8}$", description="What case numbers begin with")
    digits: int = Field(default=9, ge=4, le=18, description="Digits of a case number")
    max_file: int = Field(
        default=25 * 1024 * 1024, ge=0, description="Octets of the largest attachment that the register takes"
    )
