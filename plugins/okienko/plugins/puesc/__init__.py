"""The procedure pack of the PUESC help desk: data and templates, read by the engine in `okienko.plugins.procedure`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginContext, PluginSettings, hookimpl
from okienko.plugins.ports import ProcedurePack
from okienko.plugins.procedure.model import read_pack
from okienko.plugins.procedure.pack import DeclaredPack


class PuescSettings(PluginSettings):
    """`OKIENKO_PUESC_…`."""

    model_config = SettingsConfigDict(env_prefix="OKIENKO_PUESC_", extra="forbid", frozen=True)

    pack: Path | None = Field(default=None, description="A pack file of one's own instead of the shipped pack.toml")
    templates: Path | None = Field(default=None, description="A folder of templates of one's own")


@hookimpl
def okienko_procedures(ctx: PluginContext) -> Sequence[ProcedurePack]:
    """One pack, named in its file (`puesc`)."""
    settings = ctx.settings(PuescSettings)
    here = Path(str(resources.files("okienko.plugins.puesc")))
    return [
        DeclaredPack(read_pack(settings.pack or here / "pack.toml"), settings.templates or here / "templates", ctx.now)
    ]
