"""A real Chromium before the real pages, on a real port of this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from browser.hands import serving
from okienko.core.database import make_engine, upgrade
from okienko.core.site.app import make_site
from rigs import peers
from rigs.site import Desk

ARGUMENTS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
]  # fmt: skip
AXE = "OKIENKO_TEST_AXE"


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    path = Path(os.environ.get(AXE, ""))
    if not path.is_file():
        peers.missing("axe-core", f"npm install axe-core in any folder, and name its axe.min.js in {AXE}")
    return path.read_text(encoding="utf-8")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as Debian installs it."""
    path = peers.program("chromium", "apt-get install chromium fonts-dejavu-core")
    # Chromium refuses to run its sandbox as root; it sees no page here but our own.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *root])
        yield browser
        await browser.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


@pytest.fixture
async def desk(database_url: str, tmp_path: Path, listening: socket.socket) -> AsyncIterator[Desk]:
    """The pages, served."""
    engine = make_engine(database_url)
    await upgrade(engine)
    desk = Desk(engine, tmp_path, public_url=f"http://localhost:{listening.getsockname()[1]}")
    try:
        async with serving(make_site(desk.site), listening):
            yield desk
    finally:
        await engine.dispose()
