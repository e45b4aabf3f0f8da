"""What the tests in a browser share: a person's tab, pictures, axe, and the pages on a port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from playwright.async_api import Browser, Page, expect

PASSWORD = "cztery zielone parasole"
SCREENS = os.environ.get("OKIENKO_TEST_SCREENS")
"""A folder for screenshots; docs/screens has them."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@asynccontextmanager
async def serving(app: Any, listening: socket.socket) -> AsyncIterator[None]:
    """The application on the socket. A browser checks the age of cookies by its own clock."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False)
    server: Any = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    task = asyncio.create_task(server.serve(sockets=[listening]), name=f"site {uuid4()}")
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110  uvicorn tells it by this attribute only
                await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def tab(
    browser: Browser, url: str, *, locale: str = "pl-PL", width: int = 1100, height: int = 480
) -> AsyncIterator[Page]:
    """A browser of one person, without JavaScript of pages, and no complaint of the console left unseen."""
    context = await browser.new_context(
        locale=locale, base_url=url, viewport={"width": width, "height": height}, java_script_enabled=True
    )
    page = await context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda m: complaints.append(m.text) if m.type == "error" and "status of 4" not in m.text else None
    )
    yield page
    await context.close()
    assert complaints == []


async def screen(page: Page, name: str) -> None:
    """Keep a picture, when they are asked for."""
    if SCREENS:
        path = Path(SCREENS)
        path.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  a test
        await page.screenshot(path=path / f"{name}.png", full_page=True)


async def check(page: Page, axe: str) -> None:
    """No violation, one h1, a language, and no sideways scrolling at 320 px."""
    await page.evaluate(axe)
    result: Any = await page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
    found = [(v["id"], [n["html"] for n in v["nodes"]]) for v in result["violations"]]
    assert found == [], f"{page.url}: {found}"
    assert len(result["passes"]) > 10
    assert await page.locator("h1").count() == 1
    before = page.viewport_size
    await page.set_viewport_size({"width": 320, "height": 800})
    wide = await page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 320.5 && !e.matches('.skip')).map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == [], f"{page.url} at 320 px: {wide}"
    assert before is not None
    await page.set_viewport_size(before)


async def set_up(page: Page, name: str, invitation: str) -> None:
    """Become an administrator by an invitation."""
    await page.goto(invitation)
    await page.get_by_label("Nazwa administratora").fill(name)
    await page.get_by_label("Twój adres e-mail").fill(f"{name}@urzad.example")
    await page.get_by_label("Hasło", exact=True).fill(PASSWORD)
    await page.get_by_label("Hasło jeszcze raz").fill(PASSWORD)
    await page.get_by_role("button", name="Utwórz konto").click()
    await expect(page.get_by_role("status")).to_contain_text("Twoje konto administratora jest gotowe")
