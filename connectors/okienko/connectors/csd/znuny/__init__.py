"""Znuny 6.5 and OTOBO by their Generic Interface (GenericTicketConnectorREST)."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.znuny.settings import ZnunyCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.csd import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `znuny`, when its address is set."""
    settings = ctx.settings(ZnunyCsdSettings)
    if settings.url is None:
        return []
    from okienko.connectors.csd.znuny.client import ZnunyCsd

    return [ZnunyCsd(settings, ctx.pace("csd znuny"))]
