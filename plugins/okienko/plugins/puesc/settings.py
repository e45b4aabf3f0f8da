"""Settings of the PUESC pack."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins.settings import PluginSettings


class PuescSettings(PluginSettings):
    """`OKIENKO_PUESC_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_PUESC_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    pack_path: Path | None = Field(
        default=None,
        description="A pack file of one's own instead of the shipped pack.toml; a folder `templates` beside it is used too",
    )
    templates_path: Path | None = Field(default=None, description="A folder of message templates of one's own")
