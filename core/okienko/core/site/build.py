"""The site put together from settings, and the first administrator's link."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions.activation import Activation
from okienko.core.actions.approvals import Approvals
from okienko.core.actions.machine import ActionPolicy
from okienko.core.audit.vault import Vault
from okienko.core.picturing import Picturing
from okienko.core.site.applications import Applications
from okienko.core.site.context import Site
from okienko.core.site.documents import Documents
from okienko.core.site.limits import HOLDER, SIGN_IN, RateLimiter
from okienko.core.site.local import LocalAdmins
from okienko.core.site.queue import Queue
from okienko.core.site.records import Recorder
from okienko.core.site.sessions import Sessions
from okienko.core.site.settings import OidcSettings, SiteSettings
from okienko.core.typing_in import TypingIn
from okienko.core.verifying import Verifying
from okienko.plugins.ports import Channel
from okienko.plugins.settings import load_settings
from okienko.schemas import Decision

if TYPE_CHECKING:
    from okienko.core.site.oidc import Oidc


@asynccontextmanager
async def open_site(
    environ: Mapping[str, str],
    engine: AsyncEngine,
    now: Callable[[], datetime],
    *,
    approvals: Approvals,
    activation: Activation,
    policy: ActionPolicy,
    channels: Mapping[str, Channel],
    record: Recorder,
    decision_sha256: Callable[[Decision], str],
    spool: Path,
    plugin_timeout: float,
    vault: Vault,
    typing: TypingIn,
    verifying: Verifying | None,
) -> AsyncIterator[Site]:
    """The site, over the engine of reset actions. Raises MisconfiguredError for wrong settings."""
    settings, oidc = load_settings(SiteSettings, environ), load_settings(OidcSettings, environ)
    documents = Documents(engine, channels=channels, spool=spool, timeout=plugin_timeout)
    async with _provider(oidc, now, settings.public_url) as provider:
        yield Site(
            settings=settings,
            now=now,
            approvals=approvals,
            activation=activation,
            policy=policy,
            queue=Queue(engine, approvals.seals),
            documents=documents,
            applications=Applications(
                engine, now, vault=vault, typing=typing, documents=documents, verifying=verifying, pictures=Picturing()
            ),
            sessions=Sessions(engine, now, https=settings.https, recheck=recheck_of(oidc)),
            record=record,
            local=LocalAdmins(engine, now),
            decision_sha256=decision_sha256,
            oidc=provider,
            holder_limit=RateLimiter(engine, now, HOLDER),
            sign_in_limit=RateLimiter(engine, now, SIGN_IN),
        )


@asynccontextmanager
async def _provider(settings: OidcSettings, now: Callable[[], datetime], public_url: str) -> AsyncIterator[Oidc | None]:
    """The sign-in by a provider, where one is configured; its libraries are loaded only then."""
    if not settings.issuer:
        yield None
        return
    import httpx

    from okienko.core.site.oidc import Oidc

    async with httpx.AsyncClient(timeout=settings.timeout) as http:
        yield Oidc(settings, http, now, public_url=public_url)


def recheck_of(settings: OidcSettings) -> timedelta | None:
    """How long roles are believed; for ever where they are our own."""
    return timedelta(minutes=settings.recheck_minutes) if settings.issuer else None


async def announce_first_admin(site: Site, *, write: Callable[[str], object] = sys.stderr.write) -> None:
    """Print the one-time link of the very first local administrator, once in the life of a database.

    Written as a plain line and not as a log record: the filter of the log would withhold it, and it must not reach a log store
    by the usual way.
    """
    if site.oidc is not None:
        return
    token = await site.local.invite_first()
    if token is not None:
        write(
            f"\nThe first administrator sets themself up here, once, within 24 hours:\n  {invitation_url(site.settings, token)}\n\n"
        )


def invitation_url(settings: SiteSettings, token: str) -> str:
    """The link of an invitation."""
    return f"{settings.public_url}/invitation/{token}"
