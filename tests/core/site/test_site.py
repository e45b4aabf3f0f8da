"""What holds for every page: texts in both languages, headers, hosts, errors, addresses, limits."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Risk
from okienko.core.actions.pesels import Suggestion
from okienko.core.applications import FIELDS
from okienko.core.site.actionview import plain_name
from okienko.core.site.addresses import client_address, limit_key
from okienko.core.site.applications import Pile
from okienko.core.site.language import catalogue, language_of
from okienko.core.site.queue import BadCursorError, decode_cursor, encode_cursor
from okienko.core.site.render import age, breakable, size
from okienko.core.site.settings import SiteSettings
from okienko.core.typeddata import Wrong
from okienko.core.typing_in import Refusal
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.identity import AccountFlag
from okienko.plugins.settings import load_settings
from okienko.schemas import ActionState, EventType, NotificationKind, Procedure, Verdict
from rigs.site import OLD, Desk

SITE = Path(str(resources.files("okienko.core.site")))
FAMILIES = {
    "state": [s.value for s in ActionState], "event": [e.value for e in EventType], "procedure": [p.value for p in Procedure],
    "verdict": [v.value for v in Verdict], "notification": [k.value for k in NotificationKind], "step": [s.value for s in Step], "risk": [*Risk, *(f"{r}_why" for r in Risk)],
    "typing": [*Wrong, *(r for r in Refusal if r is not Refusal.INVALID)], "field": FIELDS, "pile": [*Pile],
    "flag": [*(f.value for f in AccountFlag), "none"], "suggestion": [s.value for s in Suggestion],
}  # fmt: skip


def used() -> Iterator[str]:
    for path in [*SITE.glob("*.py"), *(SITE / "templates").glob("*.html")]:
        yield path.read_text(encoding="utf-8")


def test_every_text_is_there_and_used() -> None:
    code = "\n".join(used())
    texts = catalogue()
    named = set(re.findall(r'\bt\("([a-z_]+\.[a-z_0-9]+)"[,)]', code))
    assert named <= set(texts)
    for family, names in FAMILIES.items():
        assert {f"{family}.{name}" for name in names} <= set(texts)
    # A text nobody shows is a mistake too: its name stands somewhere in the code, or in an enumeration.
    dead = [
        key for key in texts
        if f'"{key}"' not in code
        and f'"{key.partition(".")[2]}"' not in code
        and key.partition(".")[2] not in FAMILIES.get(key.partition(".")[0], [])
        and key.partition(".")[0] not in ("error", "tab", "role", "flash", "digest")
    ]  # fmt: skip
    assert dead == []


def test_both_languages_have_the_same_braces() -> None:
    for key, (polish, english) in catalogue().items():
        assert set(re.findall(r"{(\w+)}", polish)) == set(re.findall(r"{(\w+)}", english)), key


def request(path: str = "/", query: str = "", client: str = "203.0.113.7", **headers: str) -> Request:
    return Request(
        {
            "type": "http", "method": "GET", "path": path, "query_string": query.encode(), "client": (client, 1),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "cookie", "query", "language"),
    [
        ("", "", "", "pl"),
        ("en-GB,en;q=0.9,pl;q=0.8", "", "", "en"),
        ("de,pl;q=0.3,en;q=0.2", "", "", "pl"),
        ("pl;q=0.1, en;q=nonsense, en;q=5", "", "", "pl"),
        ("en", "okienko_lang=pl", "", "pl"),
        ("pl", "okienko_lang=pl", "lang=en", "en"),
        ("pl", "okienko_lang=<script>", "lang=xx", "pl"),
    ],
)
def test_which_language(accept: str, cookie: str, query: str, language: str) -> None:
    assert language_of(request(query=query, accept_language=accept, cookie=cookie)) == language


async def test_the_switch_is_remembered(desk: Desk) -> None:
    async with desk.client() as browser:
        assert 'lang="pl"' in (await browser.get("/sign-in")).text
        switched = await browser.get("/sign-in?lang=en")
        assert '<html lang="en">' in switched.text
        assert switched.headers["content-language"] == "en"
        assert '<html lang="en">' in (await browser.get("/nothing-there")).text


async def test_every_answer_carries_the_guards(desk: Desk) -> None:
    anna = await desk.visitor()
    action = await desk.propose()
    for path in (
        "/actions",
        f"/actions/{action}",
        "/sign-in",
        "/nothing",
        "/activate/x",
        "/static/site.css",
        "/api/v1/actions",
        "/api/v1/openapi.json",
    ):
        headers = (await anna.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith(
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'"
        )
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == ("no-referrer" if path == "/activate/x" else "same-origin")
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == ("public, max-age=3600" if path == "/static/site.css" else "no-store")
        assert "strict-transport-security" not in headers
    for text in used():
        assert "style=" not in text
        assert "<script" not in text
        assert not re.search(r"\bon(click|load|submit)=", text)


async def test_only_our_host_is_answered(desk: Desk) -> None:
    desk.settings = {}
    desk.public_url = "https://okienko.example"
    desk.site = desk.make()
    async with desk.client() as browser:
        assert (await browser.get("/sign-in")).headers["strict-transport-security"] == "max-age=31536000"
        for host, status in (
            ("okienko.example:443", 200),
            ("OKIENKO.EXAMPLE", 200),
            ("zly.example", 421),
            ("okienko.example.zly.example", 421),
            ("", 421),
            ("localhost", 421),
            ("[", 421),
        ):
            assert (await browser.get("/sign-in", headers={"host": host})).status_code == status, host


async def test_errors_are_pages_in_both_languages(desk: Desk) -> None:
    anna = await desk.visitor()
    for headers, words in (({}, "Nie ma takiej strony"), ({"accept-language": "en"}, "There is no such page")):
        for path in ("/x", f"/actions/{uuid4()}", "/actions/x"):
            answer = await anna.get(path, headers=headers)
            assert (answer.status_code, words in answer.text) == (404, True)
    assert (await anna.get(f"/actions/{uuid4()}/approve")).status_code == 405


async def test_a_bug_is_a_page_and_tells_nothing(desk: Desk) -> None:
    anna = await desk.visitor()

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"bug about {OLD}")

    desk.site.queue.page = fails  # type: ignore[method-assign]
    transport = anna.http._transport
    assert isinstance(transport, httpx.ASGITransport)
    transport.raise_app_exceptions = False
    answer = await anna.get("/actions")
    assert (answer.status_code, "nieoczekiwany błąd" in answer.text) == (500, True)
    assert OLD not in answer.text
    api = await anna.get("/api/v1/actions")
    assert (api.status_code, api.json()["type"]) == (500, "/problems/unexpected")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.1", "unknown"),
    ],
)
def test_the_address_of_a_visitor_cannot_be_made_up(peer: str, forwarded: str, address: str) -> None:
    settings = load_settings(SiteSettings, {"OKIENKO_SITE_TRUSTED_PROXIES": '["10.0.0.0/8"]'})
    headers = {"x_forwarded_for": forwarded} if forwarded else {}
    assert client_address(request(client=peer, **headers), settings.trusted_proxies) == address


def test_one_subscriber_of_ipv6_is_one_address() -> None:
    assert limit_key("2001:db8::1") == limit_key("2001:db8::ffff:1") != limit_key("2001:db8:0:1::1")
    assert limit_key("198.51.100.1") == "198.51.100.1"
    assert limit_key("unknown") == "unknown"


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.uuids())  # noqa: DTZ001  made aware below
def test_a_cursor_comes_back_as_it_was(at: datetime, action_id) -> None:
    at = at.replace(tzinfo=UTC)
    assert decode_cursor(encode_cursor(at, action_id)) == (at, action_id)


@given(st.text(max_size=60))
def test_a_cursor_of_somebody_else_is_refused_or_read(text: str) -> None:
    with contextlib.suppress(BadCursorError):
        decode_cursor(text)


@given(st.text())
def test_breakable_text_stays_text(text: str) -> None:
    html = str(breakable(text))
    assert "<" not in html.replace("<wbr>", "")


def test_times_sizes_and_names_for_people() -> None:
    assert [age(timedelta(minutes=m)) for m in (-5, 0, 59, 61, 1500)] == [
        "0 min",
        "0 min",
        "59 min",
        "1 h 1 min",
        "1 d 1 h",
    ]
    assert [size(n) for n in (0, 999, 1000, 1_500_000)] == ["0 B", "999 B", "1 kB", "1.5 MB"]
    names = ("local:anna", "cli:root", "oidc:https://idp.example:17", "okienko", "holder", "oidc:", "")
    assert [plain_name(n) for n in names] == ["anna", "root", "17", "okienko", "holder", "oidc:", ""]


@pytest.mark.parametrize(
    "settings",
    [
        {"OKIENKO_SITE_PUBLIC_URL": "http://okienko.example"},
        {"OKIENKO_SITE_PUBLIC_URL": "https://okienko.example/path"},
        {"OKIENKO_SITE_PUBLIC_URL": "okienko.example"},
        {"OKIENKO_SITE_TIMEZONE": "Europe/Atlantis"},
        {"OKIENKO_SITE_TRUSTED_PROXIES": '["x"]'},
        {"OKIENKO_SITE_DIGEST_TO": '["Anna <anna@urzad.example>"]'},
        {"OKIENKO_SITE_DIGEST_HOUR": "24"},
        {"OKIENKO_SITE_PUBLIC_ULR": "https://okienko.example"},
    ],
    ids=str,
)
def test_wrong_settings_are_named(settings: dict[str, str]) -> None:
    with pytest.raises(MisconfiguredError, match="OKIENKO_SITE"):
        load_settings(SiteSettings, settings)
