"""Local administrators: the first link, invitations, passwords, lock-out, and sessions that nobody can plant."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from okienko.core.audit.entries import AuditAction
from okienko.core.site.build import announce_first_admin
from okienko.core.site.local import (
    FREE_FAILURES,
    LONGEST_LOCK,
    InvitationSpentError,
    LastAdminError,
    NameTakenError,
    lock_for,
)
from okienko.core.site.passwords import weakness
from okienko.core.site.people import Role
from okienko.core.site.signin_pages import local_path
from rigs.site import Desk

PASSWORD = "cztery zielone parasole"


async def add(desk: Desk, name: str = "anna", role: Role = Role.IDENTITY_ADMIN) -> None:
    token = await desk.site.local.invite([role])
    await desk.site.local.set_up(token, name=name, email=f"{name}@urzad.example", password=SecretStr(PASSWORD))


async def try_in(desk: Desk, name: str = "anna", password: str = PASSWORD, **form: str):
    async with desk.client() as browser:
        return await browser.post("/sign-in", data={"name": name, "password": password, **form})


async def test_the_first_link_is_printed_once_and_kept_as_a_hash(desk: Desk) -> None:
    said: list[str] = []
    for _ in range(3):
        await announce_first_admin(desk.site, write=said.append)
    (text,) = said
    token = text.partition("/invitation/")[2].split()[0]
    stored = await desk.rows("SELECT * FROM invitation")
    assert len(stored) == 1
    assert token not in str(stored)
    async with desk.client() as browser:
        assert (await browser.get(f"/invitation/{token}")).status_code == 200
        form = {"name": "Anna", "email": "anna@urzad.example", "password": PASSWORD, "again": PASSWORD}
        done = await browser.post(f"/invitation/{token}", data=form)
        assert done.status_code == 303
        assert "konto administratora jest gotowe" in (await browser.get(done.headers["location"])).text
        assert (await browser.post(f"/invitation/{token}", data=form | {"name": "druga"})).status_code == 404
    (row,) = await desk.rows("SELECT name, password FROM local_admin")
    assert row["name"] == "anna"
    assert row["password"].startswith("$argon2id$")
    assert len(desk.recorded(AuditAction.ADMIN_ADDED)) == 1


async def test_an_invitation_ends_after_a_day(desk: Desk) -> None:
    token = await desk.site.local.invite()
    desk.clock.advance(timedelta(hours=24))
    with pytest.raises(InvitationSpentError):
        await desk.site.local.invited_roles(token)
    async with desk.client() as browser:
        assert (await browser.get(f"/invitation/{token}")).status_code == 404


async def test_what_is_wrong_in_the_set_up_form_is_said_beside_the_field(desk: Desk) -> None:
    await add(desk, "zajeta")
    token = await desk.site.local.invite()
    async with desk.client() as browser:
        bad = {"name": "../x", "email": "nie adres", "password": "krótkie", "again": "inne"}
        answer = await browser.post(f"/invitation/{token}", data=bad)
        assert answer.status_code == 422
        for field in ("name", "email", "password"):
            assert f'id="{field}-problem"' in answer.text
        assert "krótkie" not in answer.text.replace("za krótkie", "")
        good = {"name": "zajeta", "email": "a@urzad.example", "password": PASSWORD, "again": PASSWORD}
        taken = await browser.post(f"/invitation/{token}", data=good)
        assert (taken.status_code, "Ta nazwa jest zajęta" in taken.text) == (422, True)
    with pytest.raises(NameTakenError):
        await desk.site.local.set_up(token, name="zajeta", email="a@urzad.example", password=SecretStr(PASSWORD))
    with pytest.raises(ValueError, match="form"):
        await desk.site.local.set_up(token, name="Ż", email="a@urzad.example", password=SecretStr(PASSWORD))


async def test_signing_in_and_out(desk: Desk) -> None:
    await add(desk)
    async with desk.client() as browser:
        answer = await browser.post("/sign-in", data={"name": " ANNA ", "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/actions")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        page = await browser.get("/actions")
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        assert (await browser.post("/sign-out", data={"csrf": csrf})).headers["location"] == "/signed-out"
        assert (await browser.get("/actions")).status_code == 303
    assert await desk.rows("SELECT * FROM web_session") == []
    assert [r.action for r in desk.records if r.action is not AuditAction.LISTED] == [
        AuditAction.SIGNED_IN,
        AuditAction.SIGNED_OUT,
    ]


async def test_a_planted_session_is_not_signed_in(desk: Desk) -> None:
    await add(desk)
    victim = await desk.visitor("ewa")
    async with desk.client(cookies={desk.site.sessions.cookie: victim.session.token}) as browser:
        answer = await browser.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        assert answer.cookies[desk.site.sessions.cookie] != victim.session.token
    assert (await victim.get("/actions")).status_code == 303
    # What an attacker made up is no session at all.
    async with desk.client(cookies={desk.site.sessions.cookie: "x" * 43}) as browser:
        await browser.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    async with desk.client(cookies={desk.site.sessions.cookie: "x" * 43}) as attacker:
        assert (await attacker.get("/actions")).status_code == 303


async def test_sessions_end_by_themselves(desk: Desk) -> None:
    idle, busy = await desk.visitor("anna"), await desk.visitor("bea")
    for _ in range(17):
        desk.clock.advance(timedelta(minutes=29))
        answer = await busy.get("/actions")
    assert answer.status_code == 303  # 8 hours are over
    assert (await idle.get("/actions")).status_code == 303


async def test_wrong_names_wrong_passwords_and_locked_names_look_the_same(desk: Desk) -> None:
    await add(desk)
    unknown = await try_in(desk, "nikt", "x" * 12)
    wrong = await try_in(desk, "anna", "x" * 12)
    for _ in range(FREE_FAILURES):
        await try_in(desk, "anna", "x" * 12)
    locked = await try_in(desk, "anna", PASSWORD)
    texts = {r.text.replace('value="nikt"', 'value="anna"') for r in (unknown, wrong, locked)}
    assert len(texts) == 1
    assert {r.status_code for r in (unknown, wrong, locked)} == {401}
    desk.clock.advance(timedelta(minutes=16))
    assert (await try_in(desk, "anna", PASSWORD)).status_code == 303
    (row,) = await desk.rows("SELECT failed, locked_until FROM local_admin")
    assert row == {"failed": 0, "locked_until": None}


async def test_attempts_on_a_locked_name_do_not_lock_it_for_longer(desk: Desk) -> None:
    await add(desk)
    for _ in range(FREE_FAILURES + 10):
        assert await desk.site.local.sign_in("anna", SecretStr("wrong")) is None
    (row,) = await desk.rows("SELECT failed, locked_until FROM local_admin")
    assert row["failed"] == FREE_FAILURES
    assert row["locked_until"] == desk.clock() + timedelta(seconds=30)


async def test_an_unknown_name_takes_as_long_as_a_known_one(desk: Desk) -> None:
    await add(desk)
    await desk.site.local.sign_in("anna", SecretStr("warm up"))
    took: dict[str, list[float]] = {"anna": [], "nikt": []}
    for _ in range(4):
        for name, times in took.items():
            begun = time.perf_counter()
            await desk.site.local.sign_in(name, SecretStr("wrong"))
            times.append(time.perf_counter() - begun)
    # Without the hash an unknown name would take less than a tenth.
    assert min(took["nikt"]) > min(took["anna"]) / 2


async def test_an_address_that_guesses_is_slowed_down_whatever_the_names(desk: Desk) -> None:
    statuses = [(await try_in(desk, f"name{n}", "x" * 12)).status_code for n in range(21)]
    assert statuses == [401] * 20 + [429]
    # What was typed in the wrong field is not recorded.
    desk.clock.advance(timedelta(minutes=5))
    await try_in(desk, "Moje Tajne Hasło!", "x")
    assert desk.recorded(AuditAction.SIGN_IN_FAILED)[-1].actor == "local:?"


async def test_a_sign_in_from_another_site_is_refused(desk: Desk) -> None:
    await add(desk)
    async with desk.client(headers={"sec-fetch-site": "cross-site"}) as browser:
        assert (await browser.post("/sign-in", data={"name": "anna", "password": PASSWORD})).status_code == 403


async def test_removing_ends_sessions_at_once_and_never_leaves_nobody(desk: Desk) -> None:
    await add(desk, "anna")
    await add(desk, "bea")
    await add(desk, "ola", Role.AUDITOR)
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    assert (await anna.post("/administrators/remove", {"name": "anna"})).status_code == 409
    assert (await anna.post("/administrators/remove", {"name": "nikt"})).status_code == 409
    done = await anna.post("/administrators/remove", {"name": "bea"})
    assert "jego sesje zakończone" in (await anna.get(done.headers["location"])).text
    assert (await bea.get("/actions")).status_code == 303
    with pytest.raises(LastAdminError):
        await desk.site.local.remove("anna")
    await desk.site.local.remove("anna", even_last=True)
    assert [a.name for a in await desk.site.local.list()] == ["ola"]
    await desk.site.local.remove("ola")
    assert [r.reason for r in desk.recorded(AuditAction.ADMIN_REMOVED)] == ["local:bea"]


async def test_an_administrator_invites_the_second_pair_of_eyes(desk: Desk) -> None:
    anna = await desk.visitor("anna")
    page = await anna.post("/administrators/invite", {"role": "auditor"})
    token = page.text.partition("/invitation/")[2].partition("<")[0]
    assert await desk.site.local.invited_roles(token) == {Role.AUDITOR}
    assert page.headers["cache-control"] == "no-store"
    assert [r.reason for r in desk.recorded(AuditAction.ADMIN_INVITED)] == ["auditor"]


@given(st.integers(0, 10_000))
def test_locks_grow_and_have_an_end(failed: int) -> None:
    assert lock_for(failed) <= lock_for(failed + 1) <= LONGEST_LOCK
    assert (lock_for(failed) > timedelta()) == (failed >= FREE_FAILURES)


def test_weak_passwords_are_named() -> None:
    assert weakness("krótkie") == "short"
    assert weakness("x" * 201) == "long"
    assert weakness("aaaabbbbaaaa") == "guessable"
    assert weakness("annaanna1234567", "anna") == "guessable"
    assert weakness(PASSWORD, "anna") is None


@pytest.mark.parametrize(
    "wanted",
    [
        "https://zly.example",
        "//zly.example",
        "/\\zly.example",
        "/actions/../x",
        "/actions\n",
        "/actions/x",
        "javascript:x",
        "",
        "/sign-out",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(wanted: str) -> None:
    assert local_path(wanted) == "/actions"


async def test_the_wanted_page_comes_after_the_sign_in(desk: Desk) -> None:
    await add(desk)
    action = await desk.propose()
    async with desk.client() as browser:
        first = await browser.get(f"/actions/{action}")
        assert first.headers["location"] == f"/sign-in?next=/actions/{action}"
        form = await browser.get(first.headers["location"])
        assert f'name="next" value="/actions/{action}"' in form.text
        evil = await browser.get("/sign-in?next=https://zly.example")
        assert 'name="next" value="/actions"' in evil.text
    assert (await try_in(desk, next=f"/actions/{action}")).headers["location"] == f"/actions/{action}"
    assert (await try_in(desk, next="//zly.example")).headers["location"] == "/actions"


async def test_approving_after_half_an_hour_needs_the_password_again(desk: Desk) -> None:
    await add(desk)
    action = await desk.propose()
    seen = await desk.seen(action)
    async with desk.client() as browser:
        await browser.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        page = (await browser.get(f"/actions/{action}")).text
        assert 'name="digest"' in page
        for _ in range(2):
            desk.clock.advance(timedelta(minutes=16))
            page = (await browser.get(f"/actions/{action}")).text
        assert 'name="digest"' not in page
        assert f'action="/actions/{action}/refuse"' in page
        form = {"csrf": page.partition('name="csrf" value="')[2].partition('"')[0]} | seen
        refused = await browser.post(f"/actions/{action}/approve", data=form)
        assert (refused.status_code, "Zaloguj się ponownie" in refused.text) == (409, True)
        for path, sent in (("invite", {"role": "auditor"}), ("remove", {"name": "bea"})):
            answer = await browser.post(f"/administrators/{path}", data=form | sent)
            assert (answer.status_code, "Zaloguj się ponownie" in answer.text) == (409, True)
        assert desk.recorded(AuditAction.ADMIN_INVITED) == []

        again = f"/sign-in?again=1&next=%2Factions%2F{action}"
        assert again.replace("&", "&amp;") in page
        asked = await browser.get(again)
        assert 'name="password"' in asked.text
        wrong = await browser.post("/sign-in", data={"name": "anna", "password": "x", "next": f"/actions/{action}"})
        assert wrong.status_code == 401
        assert 'name="digest"' not in (await browser.get(f"/actions/{action}")).text
        right = await browser.post(
            "/sign-in", data={"name": "anna", "password": PASSWORD, "next": f"/actions/{action}"}
        )
        assert right.headers["location"] == f"/actions/{action}"
        page = (await browser.get(f"/actions/{action}")).text
        form["csrf"] = page.partition('name="csrf" value="')[2].partition('"')[0]
        assert (await browser.post(f"/actions/{action}/approve", data=form)).status_code == 303
    assert len(await desk.rows("SELECT * FROM web_session")) == 1
