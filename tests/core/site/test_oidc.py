"""Sign-in at an identity provider: the good way, and everything that a bad provider, a thief or a stale tab brings."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit.entries import AuditAction
from okienko.core.site.oidc import Oidc
from okienko.core.site.settings import OidcSettings
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.doubles import FixedClock
from rigs.idp import ISSUER, Idp
from rigs.site import OLD, Desk, problem_of

PUBLIC = "https://okienko.example"


class Login:
    """A desk whose people sign in at the provider."""

    def __init__(self, desk: Desk, idp: Idp) -> None:
        self.desk = desk
        self.idp = idp

    async def begin(self, browser: Any, path: str = "/sign-in/oidc") -> str:
        answer = await browser.get(path)
        assert answer.status_code == 303
        return answer.headers["location"]

    async def sign_in(self, browser: Any) -> Any:
        back = await self.idp.sign_in(await self.begin(browser))
        return await browser.get(back)


async def make(store: AsyncEngine, folder: Path, **settings: Any) -> Login:
    clock = FixedClock()
    idp = Idp(clock)
    wanted = {"issuer": ISSUER, "roles_claim": "realm_access.roles", "api_audience": "okienko-api"} | settings
    desk = Desk(store, folder, public_url=PUBLIC)
    desk.clock = clock
    desk.oidc = Oidc(OidcSettings(**wanted), idp.http, clock, public_url=PUBLIC)
    desk.site = desk.make()
    return Login(desk, idp)


@pytest.fixture
async def login(store: AsyncEngine, tmp_path: Path) -> Login:
    return await make(store, tmp_path)


async def test_the_whole_way_in_and_out(login: Login) -> None:
    async with login.desk.client() as browser:
        assert 'href="/sign-in/oidc' in (await browser.get("/sign-in")).text
        url = await login.begin(browser)
        query = parse_qs(urlsplit(url).query)
        assert query["redirect_uri"] == [f"{PUBLIC}/sign-in/callback"]
        assert len({query["state"][0], query["nonce"][0], query["code_challenge"][0]}) == 3
        answer = await browser.get(await login.idp.sign_in(url))
        assert answer.headers["location"] == "/actions"
        cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("__Host-okienko="))
        for part in ("Secure", "HttpOnly", "Path=/", "SameSite=lax"):
            assert part in cookie
        assert "Domain" not in cookie
        page = await browser.get("/actions")
        assert "Anna Wzorowa" in page.text
        assert "/administrators" not in page.text
        (row,) = await login.desk.rows("SELECT who, name, emails, roles FROM web_session")
        assert row == {
            "who": f"oidc:{ISSUER}:17", "name": "Anna Wzorowa", "emails": ["anna@urzad.example", "awzorowa"],
            "roles": ["identity_admin"],
        }  # fmt: skip
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        out = await browser.post("/sign-out", data={"csrf": csrf})
        address, _, asked = out.headers["location"].partition("?")
        end = {name: values[0] for name, values in parse_qs(asked).items()}
        assert address == f"{ISSUER}/logout"
        hint = end.pop("id_token_hint")
        assert end == {"client_id": "okienko", "post_logout_redirect_uri": f"{PUBLIC}/signed-out"}
        _, claims, _ = hint.split(".")
        assert json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"] == "17"
        assert "form-action 'self' https://idp.example" in out.headers["content-security-policy"]
        assert (await browser.get("/actions")).status_code == 303
    assert [r.action for r in login.desk.records] == [AuditAction.SIGNED_IN, AuditAction.LISTED, AuditAction.SIGNED_OUT]
    assert login.idp.fetched == ["configuration", "certs"]


async def test_the_wanted_page_survives_the_round_trip(login: Login) -> None:
    action = await login.desk.propose()
    async with login.desk.client() as browser:
        url = await login.begin(browser, f"/sign-in/oidc?next=/actions/{action}")
        assert (await browser.get(await login.idp.sign_in(url))).headers["location"] == f"/actions/{action}"
        url = await login.begin(browser, "/sign-in/oidc?next=https://zly.example")
        assert (await browser.get(await login.idp.sign_in(url))).headers["location"] == "/actions"


async def test_the_holder_is_known_by_the_providers_address(login: Login) -> None:
    login.idp.claims["email"] = OLD
    action = await login.desk.propose()
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        assert "Musi to zrobić kto inny" in (await browser.get(f"/actions/{action}")).text


def _set(**claims: Any):
    def forge(token: dict[str, Any]) -> None:
        for name, value in claims.items():
            if value is None:
                token.pop(name, None)
            else:
                token[name] = value

    return forge


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://zly.example"},
        {"iss": None},
        {"aud": "inny"},
        {"aud": None},
        {"aud": ["okienko", "inny"]},
        {"aud": ["okienko", "inny"], "azp": "inny"},
        {"azp": "inny"},
        {"exp": 1767600000 - 61},
        {"exp": None},
        {"iat": 1767600000 + 61},
        {"iat": None},
        {"nbf": 1767600000 + 61},
        {"nonce": "x"},
        {"nonce": None},
        {"nonce": ["x"]},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 300},
        {"sub": 17},
        {"at_hash": "x"},
    ],
    ids=str,
)
async def test_a_token_that_proves_nothing_lets_nobody_in(login: Login, claims: dict[str, Any]) -> None:
    login.idp.forge = _set(**claims)
    async with login.desk.client() as browser:
        answer = await login.sign_in(browser)
    assert answer.status_code == 401
    assert "zacznij od nowa" in answer.text.lower()
    assert await login.desk.rows("SELECT * FROM web_session") == []
    (record,) = login.desk.records
    assert record.action is AuditAction.SIGN_IN_FAILED
    # The entry names the claim, not what stood in it.
    assert "zly.example" not in record.reason


@pytest.mark.parametrize(
    "claims", [{"exp": 1767600000 - 59}, {"aud": ["okienko"]}, {"aud": ["okienko", "inny"], "azp": "okienko"}, {"at_hash": None}], ids=str
)  # fmt: skip
async def test_what_the_standard_allows_is_accepted(login: Login, claims: dict[str, Any]) -> None:
    login.idp.forge = _set(**claims)
    async with login.desk.client() as browser:
        assert (await login.sign_in(browser)).status_code == 303


def _none(idp: Idp) -> None:
    idp.sign = lambda header, claims: _unsigned({"alg": "none"}, claims)


def _unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in (header, claims))
    return ".".join([*parts, ""])


def _foreign(idp: Idp) -> None:
    idp.key = RSAKey.generate_key(2048, {"kid": "k1"}, auto_kid=False)


def _public_key_as_secret(idp: Idp) -> None:
    secret = idp.key.as_pem(private=False)

    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        text = _unsigned({"alg": "HS256", "kid": "k1"}, claims)
        mac = hmac.new(secret, text[:-1].encode(), "sha256").digest()
        return text + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    idp.sign = sign


def _not_allowed(idp: Idp) -> None:
    idp.algorithm = "PS256"


def _encryption_key(idp: Idp) -> None:
    members = idp.published[1].as_dict(private=True)
    idp.key = ECKey.import_key({k: v for k, v in members.items() if k != "use"})
    idp.algorithm = "ES256"


@pytest.mark.parametrize("trick", [_none, _foreign, _public_key_as_secret, _not_allowed, _encryption_key])
async def test_a_forged_signature_lets_nobody_in(store: AsyncEngine, tmp_path: Path, trick: Any) -> None:
    login = await make(store, tmp_path, algorithms=["RS256", "ES256"])
    trick(login.idp)
    async with login.desk.client() as browser:
        assert (await login.sign_in(browser)).status_code == 401
    assert await login.desk.rows("SELECT * FROM web_session") == []


async def test_a_new_key_is_fetched_but_not_at_every_attackers_whim(login: Login) -> None:
    async with login.desk.client() as browser:
        assert (await login.sign_in(browser)).status_code == 303
        login.idp.key = RSAKey.generate_key(2048, {"kid": "k2", "use": "sig"}, auto_kid=False)
        assert (await login.sign_in(browser)).status_code == 401  # the keys are not a minute old
        login.idp.published.append(login.idp.key)
        login.desk.clock.advance(timedelta(seconds=61))
        assert (await login.sign_in(browser)).status_code == 303
    assert login.idp.fetched.count("certs") == 2
    assert login.idp.fetched.count("configuration") == 1


async def test_an_answer_that_another_browser_began_is_refused(login: Login) -> None:
    async with login.desk.client() as attacker, login.desk.client() as victim:
        stolen = await login.idp.sign_in(await login.begin(attacker))
        assert (await victim.get(stolen)).status_code == 401
        await login.begin(victim)
        assert (await victim.get(stolen)).status_code == 401
        assert (await attacker.get(stolen.replace("iss=https", "iss=http"))).status_code == 401
    assert await login.desk.rows("SELECT * FROM web_session") == []


async def test_a_code_works_once_and_not_after_ten_minutes(login: Login) -> None:
    async with login.desk.client() as browser:
        back = await login.idp.sign_in(await login.begin(browser))
        assert (await browser.get(back)).status_code == 303
        assert (await browser.get(back)).status_code == 401
        back = await login.idp.sign_in(await login.begin(browser))
        login.desk.clock.advance(timedelta(minutes=10, seconds=1))
        assert (await browser.get(back)).status_code == 401
        back = await login.idp.sign_in(await login.begin(browser))
        assert (await browser.get(back.partition("code=")[0] + "error=access_denied")).status_code == 401


async def test_without_a_role_nobody_gets_in(login: Login) -> None:
    login.idp.claims["realm_access"] = {"roles": ["user"]}
    async with login.desk.client() as browser:
        answer = await login.sign_in(browser)
    assert (answer.status_code, "nie ma w okienku roli" in answer.text) == (403, True)
    assert login.desk.records[-1].reason == "no role"


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("groups", {"groups": ["x", "identity_admin"]}),
        ("a.b.c", {"a": {"b": {"c": ["identity_admin"]}}}),
        ("https://urzad.example/roles", {"https://urzad.example/roles": ["identity_admin"]}),
        ("scope", {"scope": "openid identity_admin"}),
    ],
)
async def test_roles_are_found_where_the_settings_say(
    store: AsyncEngine, tmp_path: Path, path: str, claims: dict[str, Any]
) -> None:
    login = await make(store, tmp_path, roles_claim=path)
    login.idp.claims |= claims
    async with login.desk.client() as browser:
        assert (await login.sign_in(browser)).status_code == 303
    login.idp.claims |= {name: {"identity_admin": True} for name in claims}
    async with login.desk.client() as browser:
        assert (await login.sign_in(browser)).status_code == 403


async def test_a_weak_sign_in_at_the_provider_is_not_enough(store: AsyncEngine, tmp_path: Path) -> None:
    login = await make(store, tmp_path, acr_values=["loa3"], amr_values=["otp", "hwk"])
    for claims, status in (
        ({}, 401),
        ({"acr": "loa3"}, 401),
        ({"acr": "loa1", "amr": ["hwk"]}, 401),
        ({"acr": "loa3", "amr": ["pwd", "hwk"]}, 303),
    ):
        login.idp.forge = _set(**claims)
        async with login.desk.client() as browser:
            assert (await login.sign_in(browser)).status_code == status, claims


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
async def test_the_secret_goes_as_the_settings_say(store: AsyncEngine, tmp_path: Path, way: str) -> None:
    login = await make(store, tmp_path, client_secret=SecretStr("s:e%cret"), client_auth=way)
    async with login.desk.client() as browser:
        await login.sign_in(browser)
    basic = "Basic " + base64.b64encode(b"okienko:s%3Ae%25cret").decode()
    assert login.idp.secrets == [(basic, None) if way == "client_secret_basic" else (None, "s:e%cret")]


async def test_a_provider_that_is_away_or_names_itself_otherwise(login: Login) -> None:
    async with login.desk.client() as browser:
        login.idp.status = 503
        answer = await browser.get("/sign-in/oidc")
        assert (answer.status_code, "nie odpowiada" in answer.text) == (503, True)
        login.idp.status = 200
        login.idp.metadata["issuer"] = "https://zly.example"
        assert (await browser.get("/sign-in/oidc")).status_code == 503
        login.idp.metadata["issuer"] = ISSUER
        login.idp.metadata["token_endpoint"] = "http://idp.example/token"
        assert (await browser.get("/sign-in/oidc")).status_code == 503
        del login.idp.metadata["end_session_endpoint"]
        login.idp.metadata["token_endpoint"] = f"{ISSUER}/token"
        await login.sign_in(browser)
        page = (await browser.get("/actions")).text
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        assert (await browser.post("/sign-out", data={"csrf": csrf})).headers["location"] == "/signed-out"


async def test_with_a_provider_there_are_no_local_administrators(login: Login) -> None:
    token = await login.desk.site.local.invite()
    async with login.desk.client() as browser:
        assert (await browser.post("/sign-in", data={"name": "a", "password": "b"})).status_code == 405
        assert (await browser.get(f"/invitation/{token}")).status_code == 404


async def test_the_api_takes_access_tokens_and_nothing_else(login: Login) -> None:
    idp, good = login.idp, login.idp.access_token()
    async with login.desk.client() as program:

        async def call(token: str) -> Any:
            return await program.get("/api/v1/actions", headers={"authorization": f"Bearer {token}"})

        assert (await call(good)).status_code == 200
        assert (await call(idp.access_token({"typ": "JWT"}, typ="Bearer"))).status_code == 200
        now = int(login.desk.clock().timestamp())
        for bad in (
            "x", "a.b.c", good[:-4] + "AAAA", idp.access_token(aud="okienko"), idp.access_token(aud=None), idp.access_token(exp=now - 61),
            idp.access_token({"typ": "id_token"}), idp.access_token(nonce="n"), idp.access_token(typ="ID"), idp.access_token(typ="Refresh"),
            idp.access_token(iss="https://zly.example"), idp.access_token(padding="x" * 40_000),
        ):  # fmt: skip
            answer = await call(bad)
            assert answer.status_code == 401
            assert problem_of(answer)["type"] == "/problems/bad-token"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert bad not in answer.text or bad == "x"
        assert (await call(idp.access_token(realm_access={"roles": []}))).status_code == 403


async def test_a_program_approves_with_its_persons_token(login: Login) -> None:
    action = await login.desk.propose()
    body = await login.desk.seen(action)
    headers = {"authorization": f"Bearer {login.idp.access_token()}"}
    async with login.desk.client() as program:
        del program.headers["sec-fetch-site"]
        answer = await program.post(f"/api/v1/actions/{action}/approve", json=body, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["approved_by"] == [f"oidc:{ISSUER}:17"]
        again = await program.post(f"/api/v1/actions/{action}/approve", json=body, headers=headers)
        assert again.status_code == 409


@pytest.mark.parametrize(
    "settings",
    [
        {"OKIENKO_OIDC_ISSUER": "http://idp.example"},
        {"OKIENKO_OIDC_ALGORITHMS": '["none"]'},
        {"OKIENKO_OIDC_ALGORITHMS": '["RS256", "HS256"]'},
        {"OKIENKO_OIDC_API_AUDIENCE": "okienko"},
        {"OKIENKO_OIDC_ISUER": "https://idp.example"},
        {"OKIENKO_OIDC_CLIENT_AUTH": "none"},
    ],
    ids=str,
)
def test_unsafe_settings_do_not_start(settings: dict[str, str]) -> None:
    with pytest.raises(MisconfiguredError, match="OIDC"):
        load_settings(OidcSettings, settings)


def _csrf(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


async def test_a_role_that_was_withdrawn_lasts_minutes_and_not_a_working_day(login: Login) -> None:
    """Ten minutes after the last word about the roles the next page asks for them, unseen; every browser loses them."""
    action = await login.desk.propose()
    async with login.desk.client() as browser, login.desk.client() as second:
        await login.sign_in(browser)
        await login.sign_in(second)
        login.desk.clock.advance(timedelta(minutes=10))
        assert (await browser.get(f"/actions/{action}")).status_code == 200
        login.desk.clock.advance(timedelta(seconds=1))
        sent = await browser.get("/actions?state=ended")
        assert sent.headers["location"] == "/sign-in/oidc?why=check&next=%2Factions%3Fstate%3Dended"
        url = await login.begin(browser, sent.headers["location"])
        assert parse_qs(urlsplit(url).query)["prompt"] == ["none"]
        answer = await browser.get(await login.idp.sign_in(url))
        # It is still the same session, and the person is where they wanted to be.
        assert answer.headers["location"] == "/actions?state=ended"
        assert "__Host-okienko=" not in str(answer.headers.get_list("set-cookie"))
        assert (await browser.get("/actions?state=ended")).status_code == 200
        assert len(login.desk.recorded(AuditAction.SIGNED_IN)) == 2

        login.idp.claims["realm_access"] = {"roles": ["user"]}
        login.desk.clock.advance(timedelta(minutes=11))
        url = await login.begin(browser, (await browser.get("/actions")).headers["location"])
        assert (await browser.get(await login.idp.sign_in(url))).status_code == 403
        assert await login.desk.rows("SELECT * FROM web_session") == []
        assert (await second.get("/actions")).headers["location"] == "/sign-in"


async def test_roles_that_changed_are_the_new_ones_and_on_record(login: Login) -> None:
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        login.idp.claims["realm_access"] = {"roles": ["auditor"]}
        login.desk.clock.advance(timedelta(minutes=11))
        url = await login.begin(browser, (await browser.get("/actions")).headers["location"])
        await browser.get(await login.idp.sign_in(url))
    assert await login.desk.rows("SELECT roles FROM web_session") == [{"roles": ["auditor"]}]
    assert login.desk.recorded(AuditAction.SIGNED_IN)[-1].reason == "roles changed: auditor"


async def test_a_form_has_time_but_not_beyond_the_roles(login: Login) -> None:
    """What was begun in time is not lost to the question; what is too old counts for nothing, API included."""
    action = await login.desk.propose()
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        page = (await browser.get(f"/actions/{action}")).text
        refusal = {"csrf": _csrf(page), "reason": "x", "solution": "Prosimy o nowy wniosek."}
        login.desk.clock.advance(timedelta(minutes=19))
        assert (await browser.post(f"/actions/{action}/refuse", data=refusal | {"reason": ""})).status_code == 422
        assert (await browser.get("/api/v1/actions")).status_code == 200
        login.desk.clock.advance(timedelta(minutes=1))
        assert (await browser.get("/api/v1/actions")).status_code == 401
        answer = await browser.post(f"/actions/{action}/refuse", data=refusal)
        assert answer.headers["location"].startswith("/sign-in")
    assert await login.desk.state_of(action) == "waiting"


async def test_who_signed_out_at_the_provider_is_signed_out_here(login: Login) -> None:
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        login.idp.signed_in_at = None
        login.desk.clock.advance(timedelta(minutes=11))
        url = await login.begin(browser, (await browser.get("/actions")).headers["location"])
        back = await login.idp.sign_in(url)
        assert "error=login_required" in back
        assert (await browser.get(back)).headers["location"] == "/sign-in?next=%2Factions"
        assert await login.desk.rows("SELECT * FROM web_session") == []
        assert login.desk.records[-1].action is AuditAction.SIGNED_OUT
        # The same answer to a question that was not ours is no reason to end anything.
        await login.sign_in(browser)
        stranger = back.partition("?")[0] + "?error=login_required&state=x&iss=" + ISSUER
        assert (await browser.get(stranger)).status_code == 401
        assert len(await login.desk.rows("SELECT * FROM web_session")) == 1


async def test_another_person_in_the_same_browser_gets_a_session_of_their_own(login: Login) -> None:
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        login.idp.claims |= {"sub": "18", "name": "Bea Inna"}
        login.desk.clock.advance(timedelta(minutes=11))
        url = await login.begin(browser, (await browser.get("/actions")).headers["location"])
        await browser.get(await login.idp.sign_in(url))
        assert "Bea Inna" in (await browser.get("/actions")).text
    assert await login.desk.rows("SELECT who FROM web_session") == [{"who": f"oidc:{ISSUER}:18"}]


async def test_approving_needs_a_recent_sign_in(login: Login) -> None:
    """The provider is asked for it with max_age, and its auth_time is what counts, not when a token was made."""
    action = await login.desk.propose()
    seen = await login.desk.seen(action)
    async with login.desk.client() as browser:
        # A single sign-on of this morning: the token says nothing about when.
        login.idp.signed_in_at = login.desk.clock() - timedelta(hours=3)
        await login.sign_in(browser)
        page = (await browser.get(f"/actions/{action}")).text
        assert 'name="digest"' not in page
        again = f"/sign-in/oidc?why=again&next=%2Factions%2F{action}"
        assert again.replace("&", "&amp;") in page
        form = {"csrf": _csrf(page)} | seen
        refused = await browser.post(f"/actions/{action}/approve", data=form)
        assert (refused.status_code, "logowanie sprzed najwyżej 30 min" in refused.text) == (409, True)
        token = {"x-csrf-token": form["csrf"]}
        asked = await browser.post(f"/api/v1/actions/{action}/approve", json=seen | {"checked": []}, headers=token)
        assert problem_of(asked)["type"] == "/problems/sign-in-again"
        assert 'error="insufficient_user_authentication", max_age=1800' in asked.headers["www-authenticate"]
        assert await login.desk.rows("SELECT * FROM reset_approval") == []

        url = await login.begin(browser, again)
        assert parse_qs(urlsplit(url).query)["max_age"] == ["1800"]
        answer = await browser.get(await login.idp.sign_in(url))
        assert answer.headers["location"] == f"/actions/{action}"
        # It was a sign-in, so the session is a new one.
        assert any(c.startswith("__Host-okienko=") for c in answer.headers.get_list("set-cookie"))
        page = (await browser.get(f"/actions/{action}")).text
        login.desk.clock.advance(timedelta(minutes=9))
        done = await browser.post(f"/actions/{action}/approve", data={"csrf": _csrf(page)} | seen)
        assert done.status_code == 303
    assert len(await login.desk.rows("SELECT * FROM reset_approval")) == 1


async def test_a_provider_that_does_not_heed_max_age_is_not_believed(login: Login) -> None:
    action = await login.desk.propose()
    login.idp.signed_in_at = login.desk.clock() - timedelta(hours=3)
    login.idp.heeds_max_age = False
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        url = await login.begin(browser, f"/sign-in/oidc?why=again&next=/actions/{action}")
        answer = await browser.get(await login.idp.sign_in(url))
        assert (answer.status_code, "nie potwierdził ponownego logowania" in answer.text) == (401, True)
        login.idp.claims["auth_time"] = int(login.desk.clock().timestamp()) + 61
        url = await login.begin(browser, f"/sign-in/oidc?why=again&next=/actions/{action}")
        assert (await browser.get(await login.idp.sign_in(url))).status_code == 401
    assert login.desk.records[-1].reason == "auth_time: it is no time of the past"


async def test_a_program_too_approves_only_for_somebody_who_was_there_lately(login: Login) -> None:
    action = await login.desk.propose()
    body = await login.desk.seen(action) | {"checked": []}
    now = int(login.desk.clock().timestamp())
    async with login.desk.client() as program:
        for auth_time, status in ((None, 401), (now - 1801, 401), (now - 1800, 200)):
            bearer = {"authorization": f"Bearer {login.idp.access_token(auth_time=auth_time)}"}
            assert (await program.get("/api/v1/actions", headers=bearer)).status_code == 200
            answer = await program.post(f"/api/v1/actions/{action}/approve", json=body, headers=bearer)
            assert answer.status_code == status, answer.text


async def test_the_database_does_not_give_the_id_token_away(login: Login) -> None:
    """It is sealed under the session's token, of which the database holds a hash; and a hint that is too long is left out."""
    async with login.desk.client() as browser:
        await login.sign_in(browser)
        (row,) = await login.desk.rows("SELECT id_token FROM web_session")
        assert b"eyJ" not in row["id_token"]
        await login.desk.execute("UPDATE web_session SET id_token = id_token || 'x'::bytea")
        out = await browser.post("/sign-out", data={"csrf": _csrf((await browser.get("/actions")).text)})
        assert "id_token_hint" not in out.headers["location"]
    oidc = login.desk.site.oidc
    assert oidc is not None
    assert "id_token_hint" not in str(await oidc.sign_out_url("x" * 6001))
