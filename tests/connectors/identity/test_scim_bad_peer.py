"""The SCIM connector against servers that do not keep to the standard. None of them may make it touch a wrong account."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from okienko.connectors.identity.scim.client import ScimIdentity
from okienko.connectors.identity.scim.settings import ScimIdentitySettings
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.identity import (
    AccountGoneError,
    Expected,
    LoginTakenError,
    Operation,
    PasswordRefusedError,
    StaleError,
    UnsupportedOperationError,
)
from okienko.plugins.ports import Severity
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance.findings import assert_findings
from rigs.scim import BadScim, bad_scim, user

HTML = {"Content-Type": "application/scim+json"}, b"<html><h1>Internal Server Error</h1>jan@poczta.example</html>"


def people(count: int = 7) -> list[dict[str, Any]]:
    """User 3 is Jan; ids are numbers as text."""
    made = [
        user(f"u{n}@poczta.example", "U", f"Nr {n}") | {"id": str(n), "meta": {"version": 'W/"1"'}}
        for n in range(count)
    ]
    made[3] |= {"userName": "jan@poczta.example", "emails": [{"type": "work", "value": "jan@poczta.example"}]}
    return made


JAN = Expected("3", "jan@poczta.example")


@asynccontextmanager
async def against(settings: dict[str, str] | None = None, **flags: Any) -> AsyncIterator[tuple[BadScim, ScimIdentity]]:
    with bad_scim(**({"users": people()} | flags)) as peer:
        values = {"URL": peer.url, "TOKEN": "x", "PAGE_SIZE": "2"} | (settings or {})
        backend = ScimIdentity(
            load_settings(ScimIdentitySettings, {f"OKIENKO_IDENTITY_SCIM_{k}": v for k, v in values.items()})
        )
        try:
            yield peer, backend
        finally:
            await backend.close()


@pytest.mark.parametrize("says_filter", [False, True])
async def test_everyone_is_listed_and_the_right_one_found(says_filter: bool) -> None:
    async with against(says_filter=says_filter) as (_, backend):
        found = await backend.find_by_login("JAN@poczta.example")
        assert found is not None
        assert found.ref == "3"
        assert await backend.find_by_login("nobody@poczta.example") is None


async def test_two_with_one_login() -> None:
    users = people()
    users[5]["userName"] = "Jan@poczta.example"
    async with against(users=users) as (_, backend):
        with pytest.raises(PermanentError, match="2 accounts have the same login"):
            await backend.find_by_login("jan@poczta.example")


async def test_more_than_the_cap() -> None:
    async with against({"MAX_ACCOUNTS": "6"}) as (_, backend):
        with pytest.raises(MisconfiguredError, match=r"lists 7 accounts .* MAX_ACCOUNTS"):
            await backend.find_by_login("jan@poczta.example")


async def test_a_server_that_does_not_page_overlooks_nobody_silently() -> None:
    async with against(pages=False) as (_, backend):
        with pytest.raises(MisconfiguredError, match="gave only 2"):
            await backend.find_by_login("nobody@poczta.example")


async def test_another_account_than_asked_for() -> None:
    async with against(confuses=True) as (_, backend):
        for call in (backend.get("3"), backend.change_login(JAN, "nowy@poczta.example")):
            with pytest.raises(PermanentError, match="another account"):
                await call


async def test_change_login_without_value_filters() -> None:
    """The first PATCH is refused whole; the second says the same with the list of e-mails."""
    users = people()
    users[3]["emails"].append({"type": "home", "value": "dom@poczta.example"})
    async with against(users=users) as (peer, backend):
        done = await backend.change_login(JAN, "nowy@poczta.example")
        assert done.changed
        assert [e["value"] for e in peer.users[3]["emails"]] == ["nowy@poczta.example", "dom@poczta.example"]
        assert peer.users[3]["userName"] == "nowy@poczta.example"
        patches = [(path, headers.get("If-Match")) for method, path, headers, _ in peer.seen if method == "PATCH"]
        assert patches == [("/Users/3", 'W/"1"')] * 2


async def test_a_yes_that_is_a_lie() -> None:
    async with against(keeps=False) as (_, backend):
        with pytest.raises(PermanentError, match="does not have it"):
            await backend.change_login(JAN, "nowy@poczta.example")


async def test_an_address_of_somebody_else() -> None:
    """The server would accept it."""
    async with against() as (peer, backend):
        peer.users[6]["emails"].append({"type": "home", "value": "NOWY@poczta.example"})
        with pytest.raises(LoginTakenError):
            await backend.change_login(JAN, "nowy@poczta.example")
        assert not [1 for method, *_ in peer.seen if method == "PATCH"]


async def test_password_refused_without_repeating_it() -> None:
    async with against() as (_, backend):
        with pytest.raises(PasswordRefusedError) as caught:
            await backend.set_password(JAN, SecretStr("Krótk1"))
        assert "Krótk1" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
        assert (await backend.set_password(JAN, SecretStr("Dość-długie-1"))).changed


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((500, *HTML), TransientError, "failed with 500"),
        ((200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"), MisconfiguredError, "text/html and no SCIM"),
        ((200, {}, b'{"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "500"}'), TransientError, "500"),
        ((200, {}, b'{"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"]}'), TransientError, "500"),
        ((200, {}, b"[]"), MisconfiguredError, "no SCIM"),
        ((200, {}, b'{"some": "object"}'), PermanentError, "another account"),
        ((400, {}, b'{"detail": "no such 85811500129 jan@poczta.example\\u001b[0m"}'), PermanentError, "<number> <address>"),
        ((403, {}, b""), MisconfiguredError, "lacks the right"),
        ((405, {"Content-Type": "text/html"}, b"<html>"), PermanentError, "405"),
        ((412, {}, b""), StaleError, "meanwhile"),
        ((301, {"Location": "https://evil.example/"}, b""), MisconfiguredError, "redirects"),
        ((429, {"Retry-After": "3600"}, b""), TransientError, "busy"),
        ((503, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, b""), TransientError, "busy"),
        ((200, {}, b"[" * 100_000), MisconfiguredError, "no SCIM"),
        ((200, {}, b" " * (10 * 1024 * 1024 + 1)), PermanentError, "larger than"),
    ],
)  # fmt: skip
async def test_strange_answers(answer: tuple[int, dict[str, str], bytes], error: type[Exception], words: str) -> None:
    async with against() as (peer, backend):
        await backend.start()
        peer.answers = [answer]
        with pytest.raises(error, match=words) as caught:
            await backend.get("3")
        assert "85811500129" not in str(caught.value)
        assert "jan@" not in str(caught.value)


async def test_a_busy_server_is_waited_for() -> None:
    async with against(answers=[(429, {"Retry-After": "0"}, b""), (502, {}, b"")]) as (_, backend):
        assert await backend.get("3") is not None


async def test_what_was_refused_before_it_began_is_sent_again() -> None:
    async with against(value_filters=True) as (peer, backend):
        await backend.start()
        peer.answers = [_ok(peer.users[3]), (503, {"Retry-After": "0"}, b"")]
        assert (await backend.set_password(JAN, SecretStr("Dość-długie-1"))).changed


async def test_a_write_that_may_have_happened_is_not_sent_again() -> None:
    async with against() as (peer, backend):
        await backend.start()
        peer.answers = [_ok(peer.users[3]), (502, {}, b"")]
        with pytest.raises(TransientError):
            await backend.set_password(JAN, SecretStr("Dość-długie-1"))
        assert len([1 for method, *_ in peer.seen if method == "PATCH"]) == 1


async def test_gone_between_look_and_write() -> None:
    async with against() as (peer, backend):
        await backend.start()
        peer.answers = [_ok(peer.users[3]), (404, {}, b"")]
        with pytest.raises(AccountGoneError):
            await backend.set_password(JAN, SecretStr("Dość-długie-1"))


async def test_a_server_that_can_only_read() -> None:
    no = {"supported": False}
    async with against(config={"patch": no, "filter": no, "etag": no, "changePassword": no}) as (_, backend):
        await backend.start()
        assert backend.operations == {Operation.FIND_BY_LOGIN}
        with pytest.raises(UnsupportedOperationError, match="it can do: find_by_login"):
            await backend.change_login(JAN, "nowy@poczta.example")
        findings = await backend.check()
        assert_findings(findings)
        warned = {f.subject for f in findings if f.severity is Severity.WARNING}
        assert {"identity scim patch", "identity scim etag", "identity scim password", "identity scim filter"} <= warned


async def test_check_finds_a_filter_that_is_none() -> None:
    async with against(says_filter=True) as (_, backend):
        (finding,) = [f for f in await backend.check() if f.subject == "identity scim filter"]
        assert finding.severity is Severity.WARNING
        assert "lists everyone" in finding.message


async def test_words_for_booleans_and_parts_that_are_missing() -> None:
    users = people()
    users[3] |= {"active": "False", "name": None, "emails": "none"}
    async with against(users=users) as (_, backend):
        found = await backend.get("3")
        assert found is not None
        assert {flag.value for flag in found.flags} == {"disabled"}
        assert found.person.given_name is None
    del users[3]["active"]
    async with against(users=users) as (_, backend):
        found = await backend.get("3")
        assert found is not None
        assert {flag.value for flag in found.unknown_flags} == {"disabled", "locked", "must_change"}


async def test_no_version_no_if_match() -> None:
    users = people()
    del users[3]["meta"]
    async with against(users=users) as (peer, backend):
        await backend.set_password(JAN, SecretStr("Dość-długie-1"))
        (headers,) = [headers for method, _, headers, _ in peer.seen if method == "PATCH"]
        assert "If-Match" not in headers


async def test_client_credentials() -> None:
    with bad_scim(users=people()) as peer:
        values = {
            "URL": peer.url, "TOKEN_URL": f"{peer.url}/token", "CLIENT_ID": "okienko", "CLIENT_SECRET": "sekret",
            "SCOPE": "scim",
        }  # fmt: skip
        backend = ScimIdentity(
            load_settings(ScimIdentitySettings, {f"OKIENKO_IDENTITY_SCIM_{k}": v for k, v in values.items()})
        )
        assert await backend.get("3") is not None
        peer.answers = [(401, {"WWW-Authenticate": "Bearer"}, b"")]
        assert await backend.get("3") is not None
        await backend.close()
        tokens = [(headers["Authorization"][:6], body) for _, path, headers, body in peer.seen if path == "/token"]
        assert tokens == [("Basic ", "grant_type=client_credentials&scope=scim")] * 2, "a new one after the 401"
        used = [headers["Authorization"] for _, path, headers, _ in peer.seen if path == "/Users/3"]
        assert used == ["Bearer t1", "Bearer t1", "Bearer t4"]


def _ok(resource: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(resource).encode()
