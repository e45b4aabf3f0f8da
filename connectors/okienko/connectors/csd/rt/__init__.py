"""Tickets in Request Tracker 5, by its REST 2 interface."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.rt.settings import RtCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.csd import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `rt`, when its address is set."""
    settings = ctx.settings(RtCsdSettings)
    if not settings.url:
        return []
    from okienko.connectors.csd.rt.client import RtCsd

    return [RtCsd(settings, ctx.pace("rt"), ctx.now)]
