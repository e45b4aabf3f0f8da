"""`okienko serve`: the service itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from enum import StrEnum
from typing import Annotated

import structlog
import typer

from okienko.core import housekeeping
from okienko.core.service import Service, open_service
from okienko.core.trustwatch import watch_trust
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import Channel

log = structlog.get_logger(__name__)


class Role(StrEnum):
    """What this process does."""

    ALL = "all"
    WEB = "web"
    WORKER = "worker"


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def serve(
        role: Annotated[
            Role, typer.Option(help="all, web (intake listeners and /metrics) or worker (jobs only)")
        ] = Role.ALL,
    ) -> None:
        """Run the service until SIGTERM or SIGINT."""
        _run(_serve(role))


def _run(main: object) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]  # a coroutine either way
    else:
        uvloop.run(main)  # type: ignore[arg-type]  # a coroutine either way


async def _serve(role: Role) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_service() as service:
        tasks: list[asyncio.Task[None]] = []
        if role in (Role.ALL, Role.WORKER):
            tasks.append(asyncio.create_task(service.worker.run(), name="worker"))
            tasks.append(asyncio.create_task(housekeeping.run(service), name="housekeeping"))
        if role in (Role.ALL, Role.WEB):
            tasks += [
                asyncio.create_task(_supervise(c, service), name=f"channel {c.name}")
                for c in service.plugins.channels.values()
            ]
        tasks.append(asyncio.create_task(_web(service, stop), name="web"))
        await housekeeping.audit_start(service, role.value)
        if service.verifying is not None and service.verifying.configured:
            tasks.append(asyncio.create_task(watch_trust(service.verifying), name="trust"))
        log.info("okienko is up", action="start", role=role.value, plugins=[s.name for s in service.plugins.statuses])
        waiter = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
        service.worker.stop()
        for task in tasks:
            if task.get_name() != "worker":
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        waiter.cancel()
        log.info("okienko is down", action="stop")
        for task, result in zip(tasks, results, strict=True):
            if task in done and isinstance(result, Exception):
                raise result


async def _supervise(channel: Channel, service: Service) -> None:
    """Run a channel; what breaks it is logged and it starts again, with patience. Wrong settings stop it for good."""
    wait = 1.0
    while True:
        try:
            await channel.run(service.intake)
            await asyncio.Event().wait()
        except MisconfiguredError as error:
            service.plugins.stop(channel.name, str(error))
            log.error(  # noqa: TRY400  the message says all; a traceback would hide it
                "channel stopped", action="channel_stop", plugin=channel.name, problem=str(error)
            )
            await asyncio.Event().wait()
        except Exception:
            log.exception("channel failed", action="channel_restart", plugin=channel.name, wait_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 60)


async def _web(service: Service, stop: asyncio.Event) -> None:
    import uvicorn

    from okienko.core.site.build import announce_first_admin
    from okienko.core.web import make_app, site_of

    host, _, port = service.settings.web_listen.rpartition(":")
    try:
        async with site_of(service) as site:
            await announce_first_admin(site)
            config = uvicorn.Config(
                make_app(service, site), host=host.strip("[]"), port=int(port), log_config=None, access_log=False, lifespan="off",
                server_header=False, timeout_graceful_shutdown=5,
            )  # fmt: skip
            server = uvicorn.Server(config)
            server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]  # the signals are ours
            await server.serve()
    except SystemExit:
        # uvicorn exits the process when the port is taken; say what to do instead.
        stop.set()
        raise MisconfiguredError(
            f"cannot listen on {service.settings.web_listen}: set OKIENKO_WEB_LISTEN to a free one"
        ) from None
