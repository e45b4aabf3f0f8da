"""The built-in register: a small CSD in the service's own database, for those who have none."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.csd.builtin.client import BuiltinCsd
from okienko.connectors.csd.builtin.settings import BuiltinCsdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import CsdBackend


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend, `builtin`."""
    return [BuiltinCsd(ctx.settings(BuiltinCsdSettings), ctx.database, ctx.now)]
