"""The procedure pack of the PUESC help desk: data and templates, read by the engine in `okienko.plugins.procedure`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.ports import ProcedurePack
from okienko.plugins.procedure.model import read_pack
from okienko.plugins.procedure.pack import DeclaredPack
from okienko.plugins.puesc.settings import PuescSettings

SHIPPED = Path(__file__).parent


@hookimpl
def okienko_procedures(ctx: PluginContext) -> Sequence[ProcedurePack]:
    """One pack, named in its file (`puesc`)."""
    settings = ctx.settings(PuescSettings)
    path = settings.pack_path or SHIPPED / "pack.toml"
    folder = settings.templates_path or path.parent / "templates"
    if settings.templates_path is None and not folder.is_dir():
        folder = SHIPPED / "templates"
    return [DeclaredPack(read_pack(path), folder, ctx.now)]
