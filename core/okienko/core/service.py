"""The composition root: settings, database, plugins and the engine, put together in one place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import database
from okienko.core.actions import store
from okienko.core.actions.links import Links
from okienko.core.actions.pesels import PeselMarks
from okienko.core.actions.seals import Seals
from okienko.core.audit import keys as audit_keys
from okienko.core.audit.keyring import KeySource
from okienko.core.audit.vault import Vault
from okienko.core.calls import Calls
from okienko.core.csd.breaker import Breaker
from okienko.core.delivery import Delivery
from okienko.core.embedded import EmbeddedPostgres
from okienko.core.envelopes import sweep
from okienko.core.intake import DurableIntake
from okienko.core.pacing import shared_paces
from okienko.core.pipeline import Pipeline
from okienko.core.recovery import Recovery, sender_proof
from okienko.core.repeats import RequestKeys
from okienko.core.settings import CoreSettings, load_core_settings, refuse_unknown
from okienko.core.site.settings import SiteSettings
from okienko.core.verifying import Verifying
from okienko.core.worker import Worker
from okienko.metrics import catalogue as metrics
from okienko.plugins.context import PluginContext, utc_now
from okienko.plugins.csd import CsdBackend
from okienko.plugins.errors import MisconfiguredError, OkienkoError
from okienko.plugins.manager import Plugins
from okienko.plugins.settings import load_settings

log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass
class Service:
    """Everything that runs, ready to be used."""

    settings: CoreSettings
    engine: AsyncEngine
    plugins: Plugins
    intake: DurableIntake
    worker: Worker
    delivery: Delivery
    calls: Calls
    vault: Vault
    anchors: Path
    recovery: Recovery
    verifying: Verifying | None
    """Checks signed documents; None when the configured verifier's plugin is not loaded."""
    environ: Mapping[str, str]
    now: Callable[[], datetime]
    csd: CsdBackend


@asynccontextmanager
async def open_database(
    settings: CoreSettings, *, migrate: bool | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncEngine]:
    """The database by URL, or the bundled one. `migrate` unset: only the bundled one is brought up to date by itself."""
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
        else:
            embedded = EmbeddedPostgres(settings.home)
            stack.callback(embedded.stop)
            await asyncio.to_thread(embedded.start)
            keeper = asyncio.create_task(_keep_up(embedded))
            stack.push_async_callback(_end, keeper)
            url = embedded.url
        engine = database.make_engine(url)
        stack.push_async_callback(engine.dispose)
        if migrate or (migrate is None and settings.database_url is None):
            await upgrade_database(engine, settings, os.environ if environ is None else environ)
        yield engine


async def upgrade_database(engine: AsyncEngine, settings: CoreSettings, environ: Mapping[str, str]) -> list[str]:
    """`database.upgrade` with this installation's keyring, if there is one."""
    source = key_source(settings, environ)
    seals = Seals(source)
    return await database.upgrade(engine, partial(store.seal_open, seals=seals) if source.exists() else None)


async def _keep_up(embedded: EmbeddedPostgres) -> None:
    """Start the bundled PostgreSQL again when it died: nobody else looks after it."""
    while True:
        await asyncio.sleep(1)
        if await asyncio.to_thread(embedded.alive):
            continue
        log.error("the bundled PostgreSQL is gone", action="database_restart")
        try:
            await asyncio.to_thread(embedded.revive)
        except OkienkoError as error:
            log.error("the bundled PostgreSQL does not start", action="database_restart", problem=str(error))  # noqa: TRY400  the message says all


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def require_schema(engine: AsyncEngine) -> None:
    """Raise MisconfiguredError when the database is not at this program's revision."""
    have, want = await database.revision(engine), database.head_revision()
    if have != want:
        raise MisconfiguredError(
            f"the database is at schema {have or 'none'}, this okienko needs {want}: run `okienko db upgrade`"
        )


def load_plugins(
    settings: CoreSettings, engine: AsyncEngine | None, environ: Mapping[str, str], now: Callable[[], datetime]
) -> Plugins:
    """Load the configured plugins and refuse settings that belong to nobody."""
    refuse_unknown(environ, [point.name for point in entry_points(group="okienko")])
    context = PluginContext(home=settings.home, environ=environ, now=now, database=engine)
    if engine is not None:
        context = replace(context, paces=shared_paces(engine, settings.csd_requests_per_hour, settings.csd_burst))
    plugins = Plugins.load(
        context, only=settings.plugins, disabled=settings.disabled_plugins, required=settings.required_plugins
    )
    for status in plugins.statuses:
        metrics.PLUGIN_UP.labels(status.name).set(1 if status.state == "loaded" else 0)
        if status.state == "failed":
            log.error("plugin failed", action="plugin_load", plugin=status.name, problem=status.problem)
    return plugins


@asynccontextmanager
async def open_service(
    environ: Mapping[str, str] | None = None, *, now: Callable[[], datetime] = utc_now
) -> AsyncIterator[Service]:
    """Build the service and take it down again. Raises MisconfiguredError naming what is wrong and the cure."""
    environ = os.environ if environ is None else environ
    settings = load_core_settings(environ)
    prepare_home(settings.home)
    metrics.BUILD_INFO.labels(version("okienko")).set(1)
    async with open_database(settings, environ=environ) as engine:
        await require_schema(engine)
        keys = key_source(settings, environ)
        await audit_keys.prepare(engine, keys, now())
        vault = Vault(keys)
        plugins = load_plugins(settings, engine, environ, now)
        csd = pick(plugins.csd_backends, settings.csd, "OKIENKO_CSD")
        identity = pick(plugins.identity_backends, settings.identity, "OKIENKO_IDENTITY")
        pack = pick(plugins.procedures, settings.procedure, "OKIENKO_PROCEDURE")
        policies = [pick(plugins.policies, name, "OKIENKO_POLICIES") for name in settings.policies]
        await csd.start()
        calls = Calls(settings.plugin_timeout, on_stop=plugins.stop, on_resume=plugins.resume)
        calls.guard(csd, csd_breaker(csd.name))
        site = load_settings(SiteSettings, environ)
        ring = vault.source.load()
        older = [key.derive("links") for key in ring.keys if key.purpose == "vault"]
        links = Links(ring.current("vault").derive("links"), site.public_url, older)
        sender = sender_proof(environ)
        window = timedelta(hours=settings.repeat_hours)
        requests = RequestKeys(ring.current("vault").derive("requests"), sender, window=window)
        pipeline = Pipeline(
            engine, now, channels=plugins.channels, policies=policies, pack=pack, vault=vault, spool=settings.home / "spool",
            calls=calls, repeats=requests if window else None,
        )  # fmt: skip
        older_marks = [key.derive("pesel marks") for key in ring.keys if key.purpose == "vault"]
        marks = PeselMarks(ring.current("vault").derive("pesel marks"), older_marks)
        delivery = Delivery(
            engine, now, channels=plugins.channels, csd=csd, pack=pack, links=links,
            message_domain=settings.message_domain, spool=settings.home / "spool", csd_policy=dict(settings.csd_policy.items()), calls=calls,
            patience=timedelta(minutes=settings.csd_patience_minutes), doubt=timedelta(seconds=settings.csd_doubt_seconds),
        )  # fmt: skip
        verifying = find_verifying(plugins, settings, environ)
        recovery = Recovery.build(
            engine, now, settings=settings, channels=plugins.channels, identity=identity, pack=pack, links=links,
            seals=Seals(keys), marks=marks, sender=sender, verifying=verifying, vault=vault, calls=calls,
        )  # fmt: skip
        service = Service(
            settings=settings,
            engine=engine,
            plugins=plugins,
            intake=DurableIntake(engine, now, max_size=settings.max_message_size, batch_size=settings.batch_size),
            worker=Worker(engine, pipeline, delivery, recovery, batch_size=settings.batch_size),
            delivery=delivery,
            recovery=recovery,
            calls=calls,
            vault=vault,
            anchors=anchor_folder(settings),
            verifying=verifying,
            environ=environ,
            now=now,
            csd=csd,
        )
        try:
            yield service
        finally:
            await identity.close()
            if verifying is not None:
                await verifying.close()


def csd_breaker(name: str, clock: Callable[[], float] = time.monotonic) -> Breaker:
    """The breaker before a CSD, whose state is logged and shown in the metrics."""
    metrics.BREAKER_OPEN.labels(name).set(0)

    def changed(is_open: bool) -> None:  # noqa: FBT001  the breaker's signature
        metrics.BREAKER_OPEN.labels(name).set(is_open)
        if is_open:
            metrics.BREAKER_TRIPS.labels(name).inc()
            log.error("the CSD does not answer and is left alone", action="breaker_open", plugin=name)
        else:
            log.info("the CSD answers again", action="breaker_close", plugin=name)

    return Breaker(f"the CSD {name}", clock=clock, on_change=changed)


def find_verifying(plugins: Plugins, settings: CoreSettings, environ: Mapping[str, str]) -> Verifying | None:
    """The configured verifier with worker processes that start when the first document comes."""
    owner = next((s.name for s in plugins.statuses if settings.verifier in s.objects and s.state == "loaded"), None)
    if owner is None or settings.verifier not in plugins.signature_verifiers:
        return None
    return Verifying(environ, settings.home, plugin=owner, verifier=settings.verifier)


def key_source(settings: CoreSettings, environ: Mapping[str, str]) -> KeySource:
    """Where the keyring is, by the settings."""
    text = settings.keyring.get_secret_value() if settings.keyring else None
    return audit_keys.source_of(settings.home, text, environ)


def anchor_folder(settings: CoreSettings) -> Path:
    """Where anchors are written and looked for."""
    return settings.audit_anchors or settings.home / "anchors"


def prepare_home(home: Path) -> None:
    """Make the home folder. Raises MisconfiguredError when that cannot be."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o755)
        (home / "spool").mkdir(exist_ok=True, mode=0o700)
        sweep(home / "spool")
    except OSError as error:
        raise MisconfiguredError(
            f"the home folder {home} cannot be written ({error.strerror}): set OKIENKO_HOME to a folder that can"
        ) from None


def pick(things: Mapping[str, T], name: str, variable: str) -> T:
    """The thing of that name. Raises MisconfiguredError that lists the names there are."""
    try:
        return things[name]
    except KeyError:
        have = ", ".join(sorted(things)) or "none"
        raise MisconfiguredError(
            f"{variable} asks for {name!r}, but no loaded plugin offers it; there are: {have}"
        ) from None


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    """A worker at work while the block runs; at the end it finishes what it has in hand."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await task
