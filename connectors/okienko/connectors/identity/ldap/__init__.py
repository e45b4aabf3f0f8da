"""Identity in OpenLDAP with the password policy overlay."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.identity import IdentityBackend


@hookimpl
def okienko_identity_backends(ctx: PluginContext) -> Sequence[IdentityBackend]:
    """One backend, `ldap`; none when no server is named."""
    settings = ctx.settings(LdapSettings)
    if not settings.urls:
        return []
    from okienko.connectors.identity.ldap.client import LdapIdentity

    return [LdapIdentity(settings, ctx.now)]
