"""Zammad 6 by its REST API v1."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.zammad.settings import ZammadCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.csd import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `zammad`, when its address is set."""
    settings = ctx.settings(ZammadCsdSettings)
    if settings.url is None:
        return []
    from okienko.connectors.csd.zammad.client import ZammadCsd

    return [ZammadCsd(settings, ctx.pace("csd zammad"))]
