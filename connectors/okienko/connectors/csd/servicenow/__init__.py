"""ServiceNow by its Table and Attachment APIs."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.servicenow.settings import ServiceNowCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `servicenow`, when its address is set."""
    settings = ctx.settings(ServiceNowCsdSettings)
    if settings.url is None:
        return []
    from okienko.connectors.csd.servicenow.client import ServiceNowCsd

    return [ServiceNowCsd(settings, ctx.pace("csd servicenow"))]
