"""From the citizen's mail to the changed account and the new password: real pages, workers, mails and directory, in Chromium."""

from __future__ import annotations

import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from acceptance.recovery.letters import Notary, address, citizen, letter_b
from acceptance.recovery.peers import slapd
from acceptance.recovery.stage import Stage, stage
from browser.hands import PASSWORD, check, screen, serving, set_up, tab
from okienko.core.actions.machine import Action
from okienko.core.web import make_app, site_of
from okienko.plugins.testing.conformance.workshop import NEW, OLD
from rigs.postgres import Postgres
from signing.pki import make_pki

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs_slapd, pytest.mark.slow]


async def sign_in(page: Page, name: str, path: str) -> None:
    """By the form, wanting that page."""
    await page.goto(path)
    await page.get_by_label("Nazwa administratora").fill(name)
    await page.get_by_label("Hasło").fill(PASSWORD)
    await page.get_by_role("button", name="Zaloguj").click()
    await expect(page).to_have_url(re.compile(path))


async def approve(page: Page, action: Action) -> None:
    """Go to the action by the queue, read it, say yes."""
    await page.goto("/actions")
    await page.locator(f'a[href="/actions/{action.frozen.action_id}"]').first.click()
    await expect(page.locator("#what + dl")).to_contain_text(str(action.frozen.new_login))
    await page.get_by_role("button", name="Zatwierdź").click()
    await expect(page.get_by_role("status")).to_contain_text("Twoje zatwierdzenie zostało zapisane")


async def in_both_languages(page: Page, path: str, axe: str, shown: dict[str, tuple[str, ...]]) -> None:
    """The page says that in its language, and axe has nothing against it."""
    for language, texts in shown.items():
        await page.goto(f"{path}{'&' if '?' in path else '?'}lang={language}")
        for text in texts:
            await expect(page.locator("main")).to_contain_text(text)
        await check(page, axe)


async def link(desk: Stage, to: str, kind: str, public_url: str) -> str:
    """The link of that kind, as it stands in the newest mail to the address."""

    async def look() -> str | None:
        wanted = re.compile(rf"{re.escape(public_url)}/{kind}/[\w-]{{43}}\b")
        found = [url for mail in desk.mails(to) for url in wanted.findall(mail.get_content())]
        return found[-1] if found else None

    return str(await desk.sooner_or_later(look))


async def test_a_lost_account_comes_back(
    browser: Browser, axe: str, postgres: Postgres, tmp_path: Path, listening: socket.socket
) -> None:
    pki = make_pki(tmp_path)
    who, old, new = citizen(), address("jan"), address("jan.nowy")
    url = f"http://localhost:{listening.getsockname()[1]}"
    with slapd() as directory:
        await directory.account(old, who.person)
        environ = directory.environ | {"OKIENKO_SITE_PUBLIC_URL": url}
        async with (
            stage(postgres, tmp_path / "home", environ, pki) as desk,
            site_of(desk.service) as site,
            serving(make_app(desk.service, site), listening),
        ):
            case = await desk.arrives(letter_b(new, Notary(pki).pdf(who, old, new)))
            action = await desk.action(case)
            page = f"/actions/{action.frozen.action_id}"

            async with tab(browser, url) as anna, tab(browser, url) as bea:
                await set_up(anna, "anna", f"/invitation/{await site.local.invite()}")
                await set_up(bea, "bea", f"/invitation/{await site.local.invite()}")
                await approve(anna, action)
                await approve(bea, action)
                await expect(bea.locator(".badges").first).to_contain_text("w karencji")
                assert await directory.hands.sign_in(old, OLD)
                assert not await directory.hands.sign_in(new, OLD)
                await link(desk, old, "stop", url)

                # The cool-down passes, and with it the sessions of people who had lunch meanwhile.
                await desk.time_passes(action, 121)
                await desk.ends_as(action, "done")
                await desk.closed(case)
                assert await directory.hands.sign_in(new, OLD), "the account has its new login"
                assert not await directory.hands.sign_in(old, OLD)
                mail_3 = await link(desk, new, "activate", url)

                await sign_in(anna, "anna", page)
                shown = {
                    "en": ("done", "What was changed", "Change carried out", "Link to set a password sent", new),
                    "pl": ("wykonane", "Co zmieniono", "Wykonano zmianę", "Wysłano link do ustawienia hasła", new),
                }
                await in_both_languages(anna, page, axe, shown)
                await screen(anna, "action-done")
                ended = {"en": ("done",), "pl": ("wykonane",)}
                await in_both_languages(anna, "/actions?state=ended", axe, ended)

            async with tab(browser, url) as holder:
                path = mail_3.removeprefix(url)
                await in_both_languages(holder, path, axe, {"en": (), "pl": ()})
                await holder.goto(mail_3)
                await holder.locator("#password").fill(NEW)
                await holder.locator("#again").fill(NEW)
                await holder.locator("main button").click()
                await expect(holder.locator("h1")).to_have_text("Hasło zostało ustawione")
                await check(holder, axe)
                assert await directory.hands.sign_in(new, NEW), "the person can log in with what they typed"
                assert not await directory.hands.sign_in(new, OLD)
                # The link is spent.
                await holder.goto(mail_3)
                await expect(holder.locator("#password")).to_have_count(0)
                await in_both_languages(holder, path, axe, {"en": (), "pl": ()})

            async with tab(browser, url) as anna:
                desk.clock.ahead += timedelta(minutes=1)
                await sign_in(anna, "anna", page)
                used = {"en": ("The person set a new password",), "pl": ("Osoba ustawiła nowe hasło",)}
                await in_both_languages(anna, page, axe, used)
