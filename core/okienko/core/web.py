"""The web shell: /metrics, /healthz and /readyz, and behind them the pages for people."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from okienko.core import database
from okienko.core.actions.frozen import decision_sha256
from okienko.core.csd.webhook import Webhook
from okienko.core.ledger import read_ledger
from okienko.core.service import Service
from okienko.core.site.app import site_routes
from okienko.core.site.build import open_site
from okienko.core.site.context import Site
from okienko.core.site.records import record_in_audit
from okienko.metrics import catalogue
from okienko.metrics.ledger import Snapshot
from okienko.plugins.errors import OkienkoError

DATABASE_SECONDS = 3.0
"""How long an answer waits for the database: a probe must hear "not ready" before it gives up itself."""


def site_of(service: Service) -> AbstractAsyncContextManager[Site]:
    """The pages for people over a running service. Raises MisconfiguredError for wrong settings."""
    recovery = service.recovery
    return open_site(
        service.environ, service.engine, service.now, approvals=recovery.approvals, activation=recovery.activation,
        policy=recovery.policy, channels=service.plugins.channels, record=record_in_audit(service.engine, service.now),
        decision_sha256=decision_sha256, spool=service.settings.home / "spool", plugin_timeout=service.settings.plugin_timeout,
        vault=service.vault, typing=recovery.typing, verifying=service.verifying,
    )  # fmt: skip


def make_app(service: Service, site: Site | None = None) -> Starlette:
    """The ASGI application over a running service; with `site`, the pages for people too."""

    async def metrics(request: Request) -> Response:
        registry = CollectorRegistry()
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                registry.register(Snapshot(await read_ledger(service.engine)))
        except (OkienkoError, TimeoutError):
            # The process's own counters still tell something when the database is away.
            catalogue.DATABASE_UP.set(0)
        else:
            catalogue.DATABASE_UP.set(1)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        if "openmetrics" in content_type:
            body = encode(catalogue.REGISTRY).removesuffix(b"# EOF\n") + encode(registry)
        else:
            body = encode(catalogue.REGISTRY) + encode(registry)
        return Response(body, headers={"Content-Type": content_type})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        problems: dict[str, str] = {}
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                have, want = await database.revision(service.engine), database.head_revision()
            if have != want:
                problems["database"] = f"schema {have or 'none'}, need {want}: run `okienko db upgrade`"
        except TimeoutError:
            problems["database"] = (
                f"no answer in {DATABASE_SECONDS:g} s: see whether PostgreSQL runs and can be reached"
            )
        except OkienkoError as error:
            problems["database"] = str(error)
        degraded = {s.name: s.problem for s in service.plugins.statuses if s.state in ("failed", "stopped")}
        body = {
            "ready": not problems, "version": version("okienko"), "problems": problems, "failed_plugins": degraded,
            # Ready all the same: intake goes on.
            "resting": service.calls.resting(),
        }  # fmt: skip
        return JSONResponse(body, status_code=503 if problems else 200)

    routes: list[BaseRoute] = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    routes.append(Webhook(service.engine, service.now, service.csd, service.calls).route)
    return Starlette(routes=[*routes, *(site_routes(site) if site is not None else [])])
