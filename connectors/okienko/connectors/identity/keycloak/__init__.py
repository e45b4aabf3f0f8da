"""Accounts in a Keycloak realm, by its Admin REST API."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.connectors.identity.keycloak.settings import KeycloakIdentitySettings
from okienko.plugins import PluginContext, hookimpl
from okienko.plugins.identity import IdentityBackend


@hookimpl
def okienko_identity_backends(ctx: PluginContext) -> Sequence[IdentityBackend]:
    """One backend, `keycloak`, when its address is set."""
    settings = ctx.settings(KeycloakIdentitySettings)
    if not settings.url:
        return []
    from okienko.connectors.identity.keycloak.client import KeycloakIdentity

    return [KeycloakIdentity(settings)]
