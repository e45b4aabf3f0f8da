"""What people really do, in Chromium: two administrators approve, holders follow their links, and axe looks at every page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.async_api import Browser, expect

from browser.hands import PASSWORD, check, screen, set_up, tab
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Risk
from okienko.schemas import Decision
from rigs.site import DECISION, Desk, a_letter

LETTER = a_letter(
    "Wniosek podpisany.pdf", b"%PDF-1.7" + b"synthetic " * 9000, "Wniosek w załączeniu.\n\nZ poważaniem\nJan Testowy"
)
SHOWN = Decision(
    results=(
        *DECISION.results[:2],
        DECISION.results[2].model_copy(update={"evidence": "the account holds no PESEL; the names agree"}),
    )
)
"""The same decision without markup in its evidence, for the pictures."""

pytestmark = pytest.mark.timeout(300)


async def invite(desk: Desk) -> str:
    """The path of an invitation."""
    return f"/invitation/{await desk.site.local.invite()}"


async def test_two_administrators_approve_and_the_holder_stops_it(browser: Browser, desk: Desk, axe: str) -> None:
    action = await desk.propose(must_check=("B5",), letter=LETTER, decision=SHOWN)
    async with tab(browser, desk.public_url) as anna, tab(browser, desk.public_url) as bea:
        await set_up(anna, "anna", await invite(desk))
        await anna.get_by_role("link", name="Administratorzy").click()
        await anna.get_by_role("button", name="Utwórz link z zaproszeniem").click()
        invitation = await anna.locator(".notice code").inner_text()
        await set_up(bea, "bea", invitation)

        await anna.get_by_role("link", name="Kolejka").click()
        await anna.get_by_role("link", name="ZGL000000001").click()
        button = anna.get_by_role("button", name="Zatwierdź")
        # The browser itself asks for the box first.
        await button.click()
        assert await desk.rows("SELECT * FROM reset_approval") == []
        await anna.get_by_label("B5").check()
        await button.click()
        await expect(anna.get_by_role("status")).to_contain_text("Twoje zatwierdzenie zostało zapisane")
        await expect(anna.locator(".approve")).to_contain_text("inna osoba")
        assert await desk.state_of(action) == "waiting"

        await bea.goto(f"/actions/{action}")
        await bea.get_by_label("B5").check()
        await bea.get_by_role("button", name="Zatwierdź").click()
        await expect(bea.locator(".badges").first).to_contain_text("w karencji")
        assert await desk.state_of(action) == "cooling"
        await screen(bea, "action-cooling")

    async with tab(browser, desk.public_url) as holder:
        await holder.goto(f"/stop/{await desk.stop_token(action)}")
        assert await desk.state_of(action) == "cooling"
        await screen(holder, "stop")
        await holder.get_by_role("button", name="Zatrzymaj zmianę").click()
        await expect(holder.locator("h1")).to_have_text("Zmiana została zatrzymana")
    assert await desk.state_of(action) == "stopped"


async def test_low_risk_needs_one_and_is_ready_at_once(browser: Browser, desk: Desk, axe: str) -> None:
    action = await desk.propose(risk=Risk.LOW, new_login=None, steps=(Step.UNLOCK, Step.ACTIVATE))
    async with tab(browser, desk.public_url) as anna:
        await set_up(anna, "anna", await invite(desk))
        await anna.goto(f"/actions/{action}")
        await anna.get_by_role("button", name="Zatwierdź").click()
        await expect(anna.locator(".badges").first).to_contain_text("gotowe do wykonania")
    assert await desk.state_of(action) == "ready"
    assert [r["entrypoint"] for r in await desk.rows("SELECT entrypoint FROM pgqueuer")] == ["execute"]


async def test_after_half_an_hour_approving_needs_the_password_again(browser: Browser, desk: Desk, axe: str) -> None:
    action = await desk.propose(risk=Risk.LOW, new_login=None, steps=(Step.UNLOCK,))
    async with tab(browser, desk.public_url) as anna:
        await set_up(anna, "anna", await invite(desk))
        for _ in range(2):
            desk.clock.advance(timedelta(minutes=16))
            await anna.goto(f"/actions/{action}")
        for language in ("en", "pl"):
            for path in (f"/actions/{action}", "/administrators"):
                await anna.goto(f"{path}?lang={language}")
                await expect(anna.locator('main a[href*="again"]')).to_be_visible()
                await check(anna, axe)
        await anna.goto(f"/actions/{action}")
        await expect(anna.get_by_role("button", name="Zatwierdź")).to_have_count(0)
        await screen(anna, "action-again")
        await anna.get_by_role("link", name="Zaloguj ponownie").click()
        await check(anna, axe)
        await anna.get_by_label("Nazwa administratora").fill("anna")
        await anna.get_by_label("Hasło").fill(PASSWORD)
        await anna.get_by_role("button", name="Zaloguj").click()
        await anna.get_by_role("button", name="Zatwierdź").click()
        await expect(anna.get_by_role("status")).to_contain_text("Twoje zatwierdzenie zostało zapisane")
    assert await desk.state_of(action) == "ready"


async def test_a_keyboard_is_enough(browser: Browser, desk: Desk, axe: str) -> None:
    await desk.propose(risk=Risk.LOW, new_login=None, steps=(Step.UNLOCK,))
    async with tab(browser, desk.public_url) as anna:
        await set_up(anna, "anna", await invite(desk))
        await anna.goto("/actions")
        await anna.keyboard.press("Tab")
        assert await anna.evaluate("document.activeElement.className") == "skip"
        await anna.keyboard.press("Enter")
        assert await anna.evaluate("document.activeElement.id") == "main"


async def test_axe_finds_nothing_on_any_page(browser: Browser, desk: Desk, axe: str) -> None:
    waiting = await desk.propose(must_check=("B5",), letter=LETTER, decision=SHOWN)
    desk.clock.advance(timedelta(hours=5, minutes=12))
    await desk.propose(number="ZGL000000004", risk=Risk.LOW, new_login=None, steps=(Step.UNLOCK, Step.ACTIVATE))
    desk.clock.advance(timedelta(hours=1, minutes=7))
    by_hand = await desk.propose(risk=Risk.LOW, new_login=None, steps=(Step.BY_HAND,), number="ZGL000000002")
    refused = await desk.propose(
        number="ZGL000000003", old_login="bardzo.dlugi.adres.osoby.testowej.z.urzedu@przyklad-domeny.example"
    )
    desk.clock.advance(timedelta(minutes=48))
    ola, ewa = await desk.visitor("ola"), await desk.visitor("ewa")
    await ola.approve(desk, by_hand)
    await ewa.post(
        f"/actions/{refused}/refuse", {"reason": "podpis innej osoby", "solution": "Prosimy o nowy wniosek."}
    )
    await ola.approve(desk, waiting, "B5")
    activation = await desk.activation_token(by_hand)
    for locale, language in (("en-GB", "en"), ("pl-PL", "pl")):
        async with tab(browser, desk.public_url, locale=locale) as page:
            await page.goto("/sign-in")
            assert await page.locator("html").get_attribute("lang") == language
            await check(page, axe)
            await screen(page, f"sign-in-{language}")
            await page.locator("#name").fill("nikt")
            await page.locator("#password").fill("nic takiego nie ma")
            await page.locator("button").click()
            await check(page, axe)
            for path in ("/activate/nic", "/nie-ma", "/invitation/nic", "/signed-out"):
                await page.goto(path)
                await check(page, axe)
            await page.goto(f"/activate/{activation}")
            await check(page, axe)
            await screen(page, f"activate-{language}")
            await page.locator("#password").fill("krótkie")
            await page.locator("#again").fill("inne")
            await page.locator("button").click()
            await expect(page.get_by_role("alert")).to_be_visible()
            await check(page, axe)

            token = await desk.site.local.invite()
            await page.goto(f"/invitation/{token}")
            await check(page, axe)
            await screen(page, f"invitation-{language}")
            name = {"en": "anna", "pl": "bea"}[language]
            for field, value in (
                ("name", name),
                ("email", f"{name}@urzad.example"),
                ("password", PASSWORD),
                ("again", "inne hasło"),
            ):
                await page.locator(f"#{field}").fill(value)
            await page.locator("main button").click()
            await expect(page.get_by_role("alert")).to_be_visible()
            await check(page, axe)
            await page.locator("#password").fill(PASSWORD)
            await page.locator("#again").fill(PASSWORD)
            await page.locator("main button").click()
            await expect(page.get_by_role("status")).to_be_visible()
            await check(page, axe)
            await page.goto("/actions")
            await screen(page, f"queue-{language}")
            for path in (
                "/actions?state=cooling",
                "/actions?state=ready",
                "/actions?state=ended",
                f"/actions/{refused}",
                f"/actions/{by_hand}",
                "/administrators",
            ):
                await page.goto(path)
                await check(page, axe)
            await page.locator("main button").last.click()
            await expect(page.locator(".notice code")).to_be_visible()
            await check(page, axe)
            await screen(page, f"administrators-{language}")
            await page.goto(f"/actions/{waiting}")
            await check(page, axe)
            await screen(page, f"action-{language}")
            await page.locator("#refuse-reason").fill("x")
            await page.locator("#refuse-text").fill("PESEL 02070803628")
            await page.locator("button.danger").click()
            await expect(page.get_by_role("alert")).to_be_visible()
            await check(page, axe)
            if language == "pl":
                await page.goto(f"/actions/{waiting}")
                await page.set_viewport_size({"width": 360, "height": 800})
                await screen(page, "action-phone")
    cyd = await desk.visitor("cyd")
    await cyd.approve(desk, waiting, "B5")
    async with tab(browser, desk.public_url) as page:
        await page.goto(f"/stop/{await desk.stop_token(waiting)}")
        await check(page, axe)
        await page.locator("button.danger").click()
        await check(page, axe)


async def test_pages_need_no_javascript_and_print(browser: Browser, desk: Desk, axe: str) -> None:
    action = await desk.propose()
    visitor = await desk.visitor()
    context = await browser.new_context(base_url=desk.public_url, java_script_enabled=False, locale="pl-PL")
    await context.add_cookies(
        [{"name": desk.site.sessions.cookie, "value": visitor.session.token, "url": desk.public_url}]
    )
    page = await context.new_page()
    await page.goto(f"/actions/{action}")
    await page.get_by_role("button", name="Zatwierdź").click()
    await expect(page.get_by_role("status")).to_contain_text("Twoje zatwierdzenie zostało zapisane")
    await page.emulate_media(media="print")
    await expect(page.get_by_role("button", name="Odrzuć")).to_be_hidden()
    await expect(page.locator("#why")).to_be_visible()
    await context.close()


async def test_axe_would_find_a_fault(browser: Browser, axe: str) -> None:
    page = await browser.new_page()
    await page.set_content("<h4>x</h4><img src=a.png><input name=q><button></button><p style='color:#aaa'>pale</p>")
    with pytest.raises(AssertionError, match="image-alt"):
        await check(page, axe)
    await page.close()
