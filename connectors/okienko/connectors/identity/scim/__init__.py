"""Accounts behind SCIM 2.0 (RFC 7643, RFC 7644)."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.identity.scim.settings import ScimIdentitySettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.identity import IdentityBackend


@hookimpl
def okienko_identity_backends(ctx: PluginContext) -> Sequence[IdentityBackend]:
    """One backend, `scim`, when its address is set."""
    settings = ctx.settings(ScimIdentitySettings)
    if not settings.url:
        return []
    from okienko.connectors.identity.scim.client import ScimIdentity

    return [ScimIdentity(settings)]
