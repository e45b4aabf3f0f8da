"""Identity by hand: an administrator does the reset in their own tool and marks it done."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.identity.manual.client import ManualIdentity
from okienko.connectors.identity.manual.settings import ManualIdentitySettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.ports import IdentityBackend


@hookimpl
def okienko_identity_backends(ctx: PluginContext) -> Sequence[IdentityBackend]:
    """One backend, `manual`."""
    ctx.settings(ManualIdentitySettings)
    return [ManualIdentity()]
