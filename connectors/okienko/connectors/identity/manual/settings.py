"""Settings of identity by hand."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginSettings


class ManualIdentitySettings(PluginSettings):
    """`OKIENKO_IDENTITY_MANUAL_…`: there are none, so any variable of this prefix is a misspelling."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_IDENTITY_MANUAL_", extra="forbid", frozen=True, hide_input_in_errors=True
    )
