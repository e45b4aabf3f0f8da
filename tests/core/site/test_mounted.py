"""The site behind the web shell, and the commands that look after its people."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from okienko.core.calls import Calls
from okienko.core.cli.app import app
from okienko.core.database import make_engine
from okienko.core.web import make_app
from okienko.plugins.testing import MemoryCsd
from rigs.site import Desk


async def test_the_shell_keeps_its_own_addresses(desk: Desk) -> None:
    service: Any = SimpleNamespace(
        engine=desk.engine, plugins=SimpleNamespace(statuses=[]), now=desk.clock, csd=MemoryCsd(), calls=Calls(5)
    )
    shell = httpx.ASGITransport(app=make_app(service, desk.site))
    async with httpx.AsyncClient(transport=shell, base_url="http://10.0.0.9:8080") as probe:
        # Probes come by address: the check of the host name guards the pages only.
        assert (await probe.get("/healthz")).text == "ok\n"
        assert (await probe.get("/readyz")).status_code == 200
        assert (await probe.get("/sign-in")).status_code == 421
    async with httpx.AsyncClient(transport=shell, base_url="http://localhost:8080") as browser:
        assert (await browser.get("/sign-in")).status_code == 200
        assert (await browser.get("/")).headers["location"] == "/actions"


@pytest.fixture
def command(migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `okienko …` on a fresh database."""

    async def complete() -> None:
        engine = make_engine(migrated_url)
        await engine.dispose()

    asyncio.run(complete())
    monkeypatch.setenv("OKIENKO_HOME", str(tmp_path))
    monkeypatch.setenv("OKIENKO_DATABASE_URL", migrated_url)
    monkeypatch.setenv("OKIENKO_SITE_PUBLIC_URL", "https://okienko.example")

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments))

    return run


def test_administrators_from_the_command_line(command: Any, migrated_url: str, tmp_path: Path) -> None:
    assert "There is no local administrator" in command("admin", "list").stdout
    link = command("admin", "invite").stdout.strip()
    assert link.startswith("https://okienko.example/invitation/")

    async def accept() -> None:
        engine = make_engine(migrated_url)
        site = Desk(engine, tmp_path, public_url="https://okienko.example")
        async with site.client() as browser:
            form = {
                "name": "ola",
                "email": "ola@urzad.example",
                "password": "cztery zielone parasole",
                "again": "cztery zielone parasole",
            }
            answer = await browser.post(link.removeprefix("https://okienko.example"), data=form)
            assert answer.status_code == 303
        await engine.dispose()

    asyncio.run(accept())
    (row,) = [json.loads(line) for line in command("admin", "list", "--json").stdout.splitlines()]
    assert (row["name"], row["roles"]) == ("ola", ["identity_admin"])
    refused = command("admin", "remove", "ola")
    assert refused.exception is not None
    assert "the last who may decide" in str(refused.exception)
    assert "there is no administrator" in str(command("admin", "remove", "nikt").exception)
    assert command("admin", "remove", "ola", "--even-last").exit_code == 0
    assert command("admin", "list", "--json").stdout == ""
