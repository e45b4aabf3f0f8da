"""GLPI: version 10 by `apirest.php`, version 11 by the high-level API `api.php/v2`."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.glpi.settings import GlpiCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `glpi`, when its address is set."""
    settings = ctx.settings(GlpiCsdSettings)
    if settings.url is None:
        return []
    from okienko.connectors.csd.glpi.client import glpi_csd

    return [glpi_csd(settings, ctx.pace("csd glpi"))]
