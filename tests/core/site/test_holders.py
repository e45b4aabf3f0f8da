"""Holders of accounts, who come by a link: what they can do, and what a stranger with a guess learns."""

from __future__ import annotations

import io
import sys
from datetime import timedelta

import pytest

from okienko.core import logs
from okienko.core.actions.machine import Risk
from okienko.core.audit.entries import AuditAction
from okienko.plugins.errors import TransientError
from okienko.plugins.identity import StaleError
from okienko.schemas import ActionState
from rigs.site import NEW, OLD, Desk

GOOD = "cztery zielone parasole"


async def set_password(desk: Desk, token: str, password: str = GOOD, again: str | None = None):
    async with desk.client() as holder:
        return await holder.post(
            f"/activate/{token}", data={"password": password, "again": again if again is not None else password}
        )


async def test_a_person_sets_their_password_once(desk: Desk) -> None:
    token = await desk.activation_token(await desk.propose())
    async with desk.client() as holder:
        page = await holder.get(f"/activate/{token}")
    assert page.status_code == 200
    assert page.text.count('autocomplete="new-password"') == 2
    assert f'value="{NEW}" autocomplete="username" readonly' in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    done = await set_password(desk, token)
    assert "Hasło zostało ustawione" in done.text
    assert desk.directory.set == [(NEW, GOOD)]
    assert (await set_password(desk, token)).status_code == 404
    assert desk.directory.set == [(NEW, GOOD)]


async def test_unknown_used_and_expired_links_show_the_same_page(desk: Desk) -> None:
    used = await desk.activation_token(await desk.propose(number="ZGL000000001"))
    await set_password(desk, used)
    old = await desk.activation_token(await desk.propose(number="ZGL000000002"))
    desk.clock.advance(timedelta(hours=25))
    pages = set()
    for token in ("A" * 43, used, old, "%00", "ż", "x" * 3000):
        async with desk.client() as holder:
            page = await holder.get(f"/activate/{token}")
            posted = await holder.post(f"/activate/{token}", data={"password": GOOD, "again": GOOD})
        assert page.status_code == posted.status_code == 404
        pages |= {r.text.replace(str(r.url.path), "/X").replace(r.url.raw_path.decode(), "/X") for r in (page, posted)}
    assert len({page.partition("<main")[2] for page in pages}) == 1


async def test_a_refused_password_can_be_tried_again_but_not_for_ever(desk: Desk) -> None:
    token = await desk.activation_token(await desk.propose())
    differ = await set_password(desk, token, GOOD, "inne")
    assert (differ.status_code, "Hasła się różnią" in differ.text) == (422, True)
    assert (await set_password(desk, token, "")).status_code == 422
    assert (await set_password(desk, token, "x" * 201)).status_code == 422
    for _ in range(10):
        refused = await set_password(desk, token, "krotkie")
        assert refused.status_code == 422
        assert "at least 8 characters" in refused.text
        assert "krotkie" not in refused.text
    assert (await set_password(desk, token)).status_code == 404
    assert desk.directory.set == []


async def test_a_backend_that_is_away_leaves_the_link_as_it_was(desk: Desk) -> None:
    token = await desk.activation_token(await desk.propose())
    desk.directory.failure = TransientError("directory away")
    away = await set_password(desk, token)
    assert (away.status_code, "link nadal działa" in away.text) == (503, True)
    desk.directory.failure = StaleError("the account has another login")
    assert (await set_password(desk, token)).status_code == 409
    desk.directory.failure = None
    assert (await set_password(desk, token)).status_code == 200


async def test_a_stop_link_asks_first_and_then_stops(desk: Desk) -> None:
    action = await desk.propose()
    for name in ("anna", "bea"):
        await (await desk.visitor(name)).approve(desk, action)
    token = await desk.stop_token(action)
    async with desk.client() as holder:
        page = await holder.get(f"/stop/{token}")
        assert "Zatrzymaj zmianę" in page.text
        assert OLD not in page.text
        assert NEW not in page.text
        assert await desk.state_of(action) == "cooling"
        for _ in range(2):
            stopped = await holder.post(f"/stop/{token}", data={})
            assert (stopped.status_code, "Zmiana została zatrzymana" in stopped.text) == (200, True)
        assert "Zmiana została zatrzymana" in (await holder.get(f"/stop/{token}")).text
    assert await desk.state_of(action) == "stopped"


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (ActionState.EXECUTING, 409, "właśnie wykonywana"),
        (ActionState.DONE, 409, "została już wykonana"),
        (ActionState.FAILED, 409, "nie powiodła"),
        (ActionState.REFUSED, 200, "Nic się nie zmieni"),
        (ActionState.EXPIRED, 200, "Nic się nie zmieni"),
    ],
)
async def test_a_late_stop_says_so_truthfully(desk: Desk, state: ActionState, status: int, words: str) -> None:
    action = await desk.propose()
    for name in ("anna", "bea"):
        await (await desk.visitor(name)).approve(desk, action)
    token = await desk.stop_token(action)
    await desk.execute("UPDATE reset_action SET state = $1", state.value)
    async with desk.client() as holder:
        for answer in (await holder.get(f"/stop/{token}"), await holder.post(f"/stop/{token}", data={})):
            assert answer.status_code == status
            assert words in answer.text
            assert status == 200 or "33 483 20 55" in answer.text
    assert await desk.state_of(action) == state.value


async def test_a_guess_at_stop_links_learns_nothing(desk: Desk) -> None:
    await desk.propose(risk=Risk.HIGH)
    async with desk.client() as stranger:
        for answer in (await stranger.get("/stop/" + "A" * 43), await stranger.post("/stop/" + "A" * 43, data={})):
            assert answer.status_code == 404


async def test_an_address_that_tries_too_often_has_to_wait(desk: Desk) -> None:
    token = await desk.activation_token(await desk.propose())
    async with desk.client() as stranger:
        statuses = [(await stranger.get(f"/activate/{n}")).status_code for n in range(31)]
        assert statuses == [404] * 30 + [429]
        late = await stranger.get(f"/activate/{token}")
        assert (late.status_code, late.headers["retry-after"]) == (429, "60")
        (told,) = desk.recorded(AuditAction.LIMITED)
        assert (told.actor, told.reason) == ("visitor", "holder")
        desk.clock.advance(timedelta(minutes=5))
        assert (await stranger.get(f"/activate/{token}")).status_code == 200


async def test_another_sites_form_sets_no_password(desk: Desk) -> None:
    token = await desk.activation_token(await desk.propose())
    async with desk.client(headers={"sec-fetch-site": "cross-site"}) as stranger:
        answer = await stranger.post(f"/activate/{token}", data={"password": GOOD, "again": GOOD})
    assert answer.status_code == 403
    assert desk.directory.set == []


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service would log, all of it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("DEBUG")
    return stream


async def test_no_token_and_no_password_reaches_a_log(desk: Desk, logged: io.StringIO) -> None:
    token = await desk.activation_token(await desk.propose())
    desk.directory.failure = TransientError("directory away")
    await set_password(desk, token)
    desk.directory.failure = RuntimeError(f"bug with {GOOD}")
    await set_password(desk, token)
    desk.directory.failure = None
    await set_password(desk, token)
    out = logged.getvalue()
    assert "password not set now" in out
    assert token not in out
    assert GOOD not in out
    assert token not in str(desk.records)
