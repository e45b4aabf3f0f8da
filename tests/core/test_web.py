"""/readyz and /metrics: what a probe hears when all is well, and quickly when the database is away."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import database, web
from okienko.core.calls import Calls
from okienko.core.service import Service
from okienko.core.settings import CoreSettings
from okienko.plugins.context import utc_now
from okienko.plugins.manager import Plugins
from okienko.plugins.ports import PluginStatus
from okienko.plugins.testing.doubles import MemoryCsd


@asynccontextmanager
async def asking(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the web shell over a service that has this database and one failed plugin; nothing else is asked."""
    plugins = Plugins(statuses=[PluginStatus("rt", "1", "okienko-rt", state="failed", problem="no token")])
    service = Service(
        settings=CoreSettings(home=tmp_path), engine=engine, plugins=plugins, intake=None, worker=None, delivery=None, vault=None, anchors=tmp_path,
        recovery=None, verifying=None, environ={}, now=utc_now, csd=MemoryCsd(), calls=Calls(5.0),
    )  # type: ignore[arg-type]  # fmt: skip
    transport = httpx.ASGITransport(web.make_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://okienko") as client:
        yield client


async def test_ready_names_failed_plugins_and_the_version(engine: AsyncEngine, tmp_path: Path) -> None:
    await database.upgrade(engine)
    async with asking(engine, tmp_path) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["ready"], body["problems"], body["failed_plugins"]) == (True, {}, {"rt": "no token"})
    assert body["version"]


async def test_an_old_schema_is_not_ready_and_the_cure_is_named(engine: AsyncEngine, tmp_path: Path) -> None:
    async with asking(engine, tmp_path) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "okienko db upgrade" in answer.json()["problems"]["database"]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing: a database behind a firewall that swallows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.timeout(60)
async def test_a_silent_database_is_told_quickly(silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DATABASE_SECONDS", 0.2)
    engine = database.make_engine(f"postgresql://nobody@127.0.0.1:{silent}/none?ssl=disable")
    async with asking(engine, tmp_path) as client:
        ready, metrics, alive = [await client.get(path) for path in ("/readyz", "/metrics", "/healthz")]
    await engine.dispose()
    assert (ready.status_code, metrics.status_code, alive.status_code) == (503, 200, 200)
    assert "no answer in 0.2 s" in ready.json()["problems"]["database"]
    assert "okienko_database_up 0.0" in metrics.text


async def test_a_database_that_is_down_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    engine = database.make_engine(f"postgresql://nobody@127.0.0.1:{port}/none?ssl=disable")
    async with asking(engine, tmp_path) as client:
        answer = await client.get("/readyz")
    await engine.dispose()
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["problems"]["database"]
