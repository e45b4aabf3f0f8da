"""Jira Service Management, Cloud and Data Center, by Jira's REST API."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.jira_sm.settings import JiraSmCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `jira_sm`, when its address is set."""
    settings = ctx.settings(JiraSmCsdSettings)
    if settings.url is None:
        return []
    from okienko.connectors.csd.jira_sm.client import JiraSmCsd

    return [JiraSmCsd(settings, ctx.pace("csd jira_sm"))]
