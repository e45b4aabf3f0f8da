"""Identity in Active Directory or Samba AD, over LDAP with TLS."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.identity.ad.settings import AdSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.identity import IdentityBackend


@hookimpl
def okienko_identity_backends(ctx: PluginContext) -> Sequence[IdentityBackend]:
    """One backend, `ad`; none when no server is named."""
    settings = ctx.settings(AdSettings)
    if not settings.urls:
        return []
    from okienko.connectors.identity.ad.client import AdIdentity

    return [AdIdentity(settings, ctx.now)]
