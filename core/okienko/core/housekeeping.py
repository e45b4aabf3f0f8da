"""What the service does by the clock. PgQueuer's schedules see to it that one process of all does it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from importlib.metadata import version

import asyncpg
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.models import Schedule

from okienko.core.audit.daily import daily
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.csd.news import Poll
from okienko.core.database import UNREACHABLE, raw_connection, transaction
from okienko.core.limits import sweep
from okienko.core.reconcile import wake_backlog
from okienko.core.service import Service
from okienko.core.site.digest import queue_digest
from okienko.core.site.settings import SiteSettings
from okienko.core.worker import connect_arguments
from okienko.plugins.errors import OkienkoError
from okienko.plugins.settings import load_settings

log = structlog.get_logger(__name__)

HOURLY = "7 * * * *"
"""Hourly, though the work is daily: what is not due costs one query, and what failed is tried again within the hour."""
TWICE_AN_HOUR = "*/30 * * * *"
"""The digest may be due at any full hour."""
FREQUENTLY = "*/5 * * * *"
"""So often that what strangers fill a table with is soon gone again."""
MINUTELY = "* * * * *"
_PATIENCE = timedelta(seconds=30)


async def run(service: Service) -> None:
    """Keep the schedule until cancelled; a lost database connection is made again. The audit and the digest are looked after at once."""
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)  # as in the worker
    await _audit(service)
    await _digest(service)
    interval = timedelta(seconds=service.settings.csd_poll_seconds)
    poll = asyncio.create_task(Poll(service.engine, service.now, service.csd, service.calls, interval=interval).run())
    try:
        while True:
            try:
                await _schedule(service)
            except (*UNREACHABLE, asyncpg.PostgresError, ExceptionGroup, RuntimeError) as error:
                log.warning("schedule lost the database", action="reconnect", error=type(error).__name__)
            await asyncio.sleep(_PATIENCE.total_seconds())
    finally:
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)


async def _schedule(service: Service) -> None:
    connection = await asyncpg.connect(**connect_arguments(service.engine))
    try:
        manager = SchedulerManager(Queries(AsyncpgDriver(connection)))

        async def audit(_: Schedule) -> None:
            await _audit(service)

        async def digest(_: Schedule) -> None:
            await _digest(service)

        manager.schedule("audit_daily", HOURLY)(audit)
        manager.schedule("digest", TWICE_AN_HOUR)(digest)

        async def sweep_allowances(_: Schedule) -> None:
            await _sweep(service)

        manager.schedule("sweep_allowances", FREQUENTLY)(sweep_allowances)

        async def acknowledge(_: Schedule) -> None:
            await _acknowledge(service)

        manager.schedule("acknowledge", MINUTELY)(acknowledge)
        await manager.run()
    finally:
        with contextlib.suppress(*UNREACHABLE, asyncpg.PostgresError):
            await connection.close(timeout=5)


async def _audit(service: Service) -> None:
    try:
        await daily(service.engine, service.now(), keys=service.vault.source, folder=service.anchors)
    except OkienkoError as error:
        log.error("audit not looked after", action="audit_daily", problem=str(error))  # noqa: TRY400  the message says all


async def _digest(service: Service) -> None:
    try:
        queued = await queue_digest(
            service.engine, service.now(), policy=service.recovery.policy, seals=service.recovery.approvals.seals,
            settings=load_settings(SiteSettings, service.environ), message_domain=service.settings.message_domain,
        )  # fmt: skip
    except OkienkoError as error:
        log.error("digest not queued", action="digest", problem=str(error))  # noqa: TRY400  the message says all
    else:
        if queued:
            log.info("digest queued", action="digest", mails=queued)


async def _sweep(service: Service) -> None:
    try:
        await sweep(service.engine, service.now())
    except OkienkoError as error:
        log.warning("allowances not swept", action="sweep_allowances", problem=str(error))


async def _acknowledge(service: Service) -> None:
    """Whoever waits for a number from the CSD for too long is given okienko's own; and somebody is woken who registers."""
    try:
        await service.delivery.acknowledge()
        await wake_backlog(service.engine)
    except OkienkoError as error:
        log.error("who waits for the CSD was not told", action="acknowledge", problem=str(error))  # noqa: TRY400  as above


async def audit_start(service: Service, role: str) -> None:
    """Audit which code decides from now on."""
    loaded = {s.name: s.version or "" for s in service.plugins.statuses if s.state == "loaded"}
    async with transaction(service.engine) as connection:
        data = {"version": version("okienko"), "role": role, "plugins": loaded}
        record(
            await raw_connection(connection),
            [NewEntry(AuditAction.SERVICE_STARTED, service.now(), "okienko", data=data)],
        )
