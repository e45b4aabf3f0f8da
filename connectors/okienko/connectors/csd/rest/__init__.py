"""Any ticket system with a JSON API over HTTP, described by one TOML file."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.rest.settings import RestCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `rest`, when its address is set."""
    settings = ctx.settings(RestCsdSettings)
    if settings.url is None:
        return []
    from okienko.connectors.csd.rest.client import rest_csd

    return [rest_csd(settings, ctx.pace("csd rest"))]
