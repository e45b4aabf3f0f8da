"""The SCIM connector against a live scim2-server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from okienko.connectors.identity.scim import okienko_identity_backends
from okienko.connectors.identity.scim.client import ScimIdentity
from okienko.connectors.identity.scim.settings import ScimIdentitySettings
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.identity import (
    AccountFlag,
    AccountGoneError,
    Expected,
    IdentityBackend,
    LoginTakenError,
    Operation,
    StaleError,
    UnsupportedOperationError,
)
from okienko.plugins.ports import Severity
from okienko.plugins.settings import load_settings
from okienko.schemas.pesel import Pesel
from rigs.scim import ENTERPRISE, LOCK, PESEL_PATH, TOKEN, Scim, scim2_server, user

JAN, ANNA = "85811500129", "86820300346"
"""Nobody's: of people born in 1885 and 1886."""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scim]:
    with scim2_server(tmp_path_factory.mktemp("scim")) as running:
        yield running


def settings(url: str, **more: str) -> ScimIdentitySettings:
    values = {"URL": url, "TOKEN": TOKEN, "PESEL_PATH": PESEL_PATH} | more
    return load_settings(ScimIdentitySettings, {f"OKIENKO_IDENTITY_SCIM_{k}": v for k, v in values.items()})


@pytest.fixture
async def backend(peer: Scim) -> AsyncIterator[ScimIdentity]:
    made = ScimIdentity(settings(peer.url, LOCKED_PATH=f"{LOCK}:locked", MUST_CHANGE_PATH=f"{LOCK}:mustChange"))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def jan(peer: Scim) -> Iterator[Expected]:
    """An account for each test, with another one beside it."""
    login = f"Jan.{uuid4().hex[:8]}@poczta.example"
    ref = peer.create(user(login, "Jan", "Próbny", JAN))
    other = peer.create(user(f"anna.{uuid4().hex[:8]}@poczta.example", "Anna", "Próbna", ANNA))
    yield Expected(ref, login)
    peer.delete(ref)
    peer.delete(other)


def new_address() -> str:
    return f"nowy.{uuid4().hex[:8]}@poczta.example"


async def test_operations(backend: ScimIdentity) -> None:
    assert isinstance(backend, IdentityBackend)
    assert backend.operations == set(Operation) - {Operation.SEND_ACTIVATION}
    await backend.start()


async def test_an_account_is_found_whatever_the_case(backend: ScimIdentity, jan: Expected) -> None:
    found = await backend.find_by_login(jan.login.upper())
    assert found is not None
    assert (found.ref, found.login) == (jan.ref, jan.login)
    assert (found.person.given_name, found.person.family_name, found.person.birth_year) == ("Jan", "Próbny", 1885)
    assert found.person.pesel == Pesel(JAN)
    assert found.version
    assert (found.flags, found.unknown_flags) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    "login", ["", "nobody@example.invalid", "*", 'x" or userName pr or userName eq "', "\\", "ż" * 300]
)
async def test_nobody_is_found(backend: ScimIdentity, jan: Expected, login: str) -> None:
    assert await backend.find_by_login(login) is None


async def test_a_letter_of_another_alphabet_finds_nobody(backend: ScimIdentity, peer: Scim) -> None:
    ref = peer.create(user("kasia.k@poczta.example", "Kasia", "Próbna"))
    assert await backend.find_by_login("\u212aa\u017fia.k@poczta.example") is None
    peer.delete(ref)


async def test_by_pesel(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    twin = peer.create(user(new_address(), "Jan", "Próbny", JAN))
    assert {a.ref for a in await backend.find_by_pesel(Pesel(JAN))} == {jan.ref, twin}
    peer.delete(twin)
    assert await backend.find_by_pesel(Pesel("89852000569")) == ()


@pytest.mark.parametrize("ref", ["", "..", ".", "nobody", "../ServiceProviderConfig", "x?y=z", "ż"])
async def test_get_nothing(backend: ScimIdentity, ref: str) -> None:
    assert await backend.get(ref) is None


async def test_flags(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    peer.patch(jan.ref, {"op": "replace", "path": "active", "value": False})
    peer.patch(jan.ref, {"op": "add", "path": f"{LOCK}:locked", "value": True})
    peer.patch(jan.ref, {"op": "add", "path": f"{LOCK}:mustChange", "value": False})
    found = await backend.get(jan.ref)
    assert found is not None
    assert found.flags == {AccountFlag.DISABLED, AccountFlag.LOCKED}
    assert not found.unknown_flags


async def test_unlock(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    peer.patch(jan.ref, {"op": "add", "path": f"{LOCK}:locked", "value": True})
    done = await backend.unlock(jan)
    assert done.changed
    assert done.after is not None
    assert not done.after.flags
    again = await backend.unlock(jan)
    assert not again.changed
    assert peer.read(jan.ref)[LOCK]["locked"] is False


async def test_change_login(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    new = new_address()
    done = await backend.change_login(jan, new)
    assert done.changed
    assert done.fields == ("userName", "emails")
    assert done.after is not None
    assert (done.after.ref, done.after.login) == (jan.ref, new)
    resource = peer.read(jan.ref)
    assert (resource["userName"], resource["emails"]) == (new, [{"type": "work", "value": new}])
    assert resource[ENTERPRISE] == {"employeeNumber": JAN}
    assert await backend.find_by_login(jan.login) is None
    assert not (await backend.change_login(jan, new)).changed


async def test_change_login_mends_a_half_done_one(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    new = new_address()
    peer.patch(jan.ref, {"op": "replace", "path": "userName", "value": new})
    assert (await backend.change_login(jan, new)).changed
    assert peer.read(jan.ref)["emails"][0]["value"] == new


async def test_other_addresses_stay(backend: ScimIdentity, peer: Scim) -> None:
    old, new, home = new_address(), new_address(), new_address()
    entries = [{"type": "home", "value": home, "primary": True}, {"type": "other", "value": old}]
    ref = peer.create(user(old, "Ewa", "Próbna", emails=entries))
    await backend.change_login(Expected(ref, old), new)
    assert {e["value"] for e in peer.read(ref)["emails"]} == {home, new}
    peer.delete(ref)


@pytest.mark.parametrize("place", ["userName", "emails"])
async def test_login_taken(backend: ScimIdentity, peer: Scim, jan: Expected, place: str) -> None:
    new = new_address()
    more = {} if place == "userName" else {"emails": [{"type": "home", "value": new.upper()}]}
    other = peer.create(user(new if place == "userName" else new_address(), "Ewa", "Próbna", **more))
    before = peer.read(jan.ref)
    with pytest.raises(LoginTakenError):
        await backend.change_login(jan, new)
    assert peer.read(jan.ref) == before
    peer.delete(other)


async def test_the_server_refuses_a_taken_login_too(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    """The look before and the write are two steps: a 409 in between is the same answer."""
    new = new_address()
    other = peer.create(user(new, "Ewa", "Próbna"))

    async def nobody(*_: object) -> list[object]:
        return []

    backend._find = nobody  # type: ignore[assignment]  # somebody takes it after our look
    with pytest.raises(LoginTakenError):
        await backend.change_login(jan, new)
    peer.delete(other)


async def test_stale_login(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    peer.patch(jan.ref, {"op": "replace", "path": "userName", "value": new_address()})
    before = peer.read(jan.ref)
    for change in (
        backend.change_login(jan, new_address()),
        backend.set_password(jan, SecretStr("Nowe-haslo-1")),
        backend.unlock(jan),
    ):
        with pytest.raises(StaleError):
            await change
    assert peer.read(jan.ref) == before


def _meanwhile(backend: ScimIdentity, peer: Scim, ref: str, times: int, path: str) -> None:
    """Somebody writes between our look and our write, so many times."""
    find, left = backend._find, iter(range(times))

    async def slow(*arguments: object) -> object:
        found = await find(*arguments)  # type: ignore[arg-type]
        if next(left, None) is not None:
            peer.patch(ref, {"op": "replace", "path": path, "value": new_address()})
        return found

    backend._find = slow  # type: ignore[assignment,method-assign]


async def test_a_change_that_does_not_matter_is_kept(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    _meanwhile(backend, peer, jan.ref, 1, "displayName")
    new = new_address()
    assert (await backend.change_login(jan, new)).changed
    assert (peer.read(jan.ref)["userName"], bool(peer.read(jan.ref)["displayName"])) == (new, True)


@pytest.mark.parametrize(("times", "path"), [(1, "userName"), (100, "displayName")])
async def test_a_change_between_look_and_write_is_noticed(
    backend: ScimIdentity, peer: Scim, jan: Expected, times: int, path: str
) -> None:
    _meanwhile(backend, peer, jan.ref, times, path)
    new = new_address()
    with pytest.raises(StaleError):
        await backend.change_login(jan, new)
    assert peer.read(jan.ref)["userName"] != new


async def test_gone(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    peer.delete(jan.ref)
    with pytest.raises(AccountGoneError):
        await backend.change_login(jan, new_address())


async def test_set_password(backend: ScimIdentity, peer: Scim, jan: Expected) -> None:
    peer.patch(jan.ref, {"op": "add", "path": f"{LOCK}:locked", "value": True})
    peer.patch(jan.ref, {"op": "add", "path": f"{LOCK}:mustChange", "value": True})
    version = peer.read(jan.ref)["meta"]["version"]
    done = await backend.set_password(jan, SecretStr("Nowe-haslo-1"))
    assert done.fields == ("password", f"{LOCK}:locked", f"{LOCK}:mustChange")
    assert done.after is not None
    assert not done.after.flags
    assert peer.read(jan.ref)["meta"]["version"] != version
    assert "Nowe" not in repr(done)


async def test_no_mails(backend: ScimIdentity, jan: Expected) -> None:
    with pytest.raises(UnsupportedOperationError, match="it can do: change_login"):
        await backend.send_activation(jan, lifetime_seconds=3600)


async def test_without_lock_and_pesel(peer: Scim, jan: Expected) -> None:
    plain = ScimIdentity(
        load_settings(
            ScimIdentitySettings,
            {"OKIENKO_IDENTITY_SCIM_URL": peer.url, "OKIENKO_IDENTITY_SCIM_TOKEN": TOKEN},
        )
    )
    with pytest.raises(UnsupportedOperationError):
        await plain.unlock(jan)
    with pytest.raises(UnsupportedOperationError, match="PESEL_PATH"):
        await plain.find_by_pesel(Pesel(JAN))
    found = await plain.get(jan.ref)
    assert found is not None
    assert found.unknown_flags == {AccountFlag.LOCKED, AccountFlag.MUST_CHANGE}
    await plain.close()


async def test_login_apart_from_the_user_name(peer: Scim) -> None:
    backend = ScimIdentity(settings(peer.url, USERNAME_IS_EMAIL="false"))
    old, new = new_address(), new_address()
    ref = peer.create(user(f"u{uuid4().hex[:6]}", "Ewa", "Próbna", emails=[{"type": "work", "value": old}]))
    found = await backend.find_by_login(old.upper())
    assert found is not None
    assert (found.ref, found.login) == (ref, old)
    done = await backend.change_login(Expected(ref, old), new)
    assert done.fields == ("emails",)
    assert peer.read(ref)["emails"][0]["value"] == new
    peer.delete(ref)
    await backend.close()


async def test_wrong_token(peer: Scim) -> None:
    backend = ScimIdentity(settings(peer.url, TOKEN="falsz"))
    with pytest.raises(MisconfiguredError, match="401"):
        await backend.find_by_login("x@poczta.example")
    bad = [f for f in await backend.check() if f.severity is Severity.ERROR]
    assert bad
    assert all(f.cure and "falsz" not in f.message for f in bad)
    await backend.close()


async def test_nobody_answers() -> None:
    backend = ScimIdentity(settings("http://127.0.0.1:9"))
    with pytest.raises(TransientError, match=r"cannot connect to 127\.0\.0\.1"):
        await backend.start()
    await backend.close()


async def test_wrong_address(peer: Scim) -> None:
    backend = ScimIdentity(settings(peer.url + "/nix"))
    with pytest.raises(MisconfiguredError, match="URL"):
        await backend.start()
    await backend.close()


async def test_check(backend: ScimIdentity, peer: Scim) -> None:
    findings = await backend.check()
    assert {f.severity for f in findings} == {Severity.OK}
    assert {"identity scim", "identity scim filter", "identity scim PESEL_PATH"} <= {f.subject for f in findings}
    wrong = ScimIdentity(settings(peer.url, PESEL_PATH=f"{ENTERPRISE}:peselNumber"))
    bad = [f for f in await wrong.check() if f.severity is Severity.ERROR]
    assert [f.subject for f in bad] == ["identity scim PESEL_PATH"]
    assert bad[0].cure
    await wrong.close()


async def test_no_personal_data_in_logs(backend: ScimIdentity, jan: Expected, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    backend._wire._search_by_post = False
    await backend.find_by_pesel(Pesel(JAN))
    await backend.find_by_login(jan.login)
    ours = [r.getMessage() for r in caplog.records]
    assert any("/Users" in line for line in ours)
    assert not any(secret in line for line in ours for secret in (JAN, jan.login, TOKEN, "%40"))


def test_plugin(tmp_path: Path) -> None:
    assert okienko_identity_backends(PluginContext(home=tmp_path, environ={})) == []
    environ = {"OKIENKO_IDENTITY_SCIM_URL": "https://id.example/scim", "OKIENKO_IDENTITY_SCIM_TOKEN": "x"}
    (backend,) = okienko_identity_backends(PluginContext(home=tmp_path, environ=environ))
    assert backend.name == "scim"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"URL": "http://id.example/scim", "TOKEN": "x"}, "must begin with https"),
        ({"URL": "https://me:secret@id.example/scim", "TOKEN": "x"}, "no user, password"),
        ({"URL": "https://id.example/scim"}, "exactly one of TOKEN and TOKEN_URL"),
        ({"URL": "https://id.example/scim", "TOKEN": "x", "TOKEN_URL": "https://id.example/t"}, "exactly one"),
        ({"URL": "https://id.example/scim", "TOKEN_URL": "https://id.example/t"}, "needs CLIENT_ID"),
        ({"URL": "https://id.example/scim", "TOKEN": "x", "PESEL_PATH": 'emails[type eq "x"].value'}, "attribute path"),
        ({"URLL": "x"}, "did you mean OKIENKO_IDENTITY_SCIM_URL"),
    ],
)
def test_wrong_settings(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(MisconfiguredError, match=problem) as caught:
        load_settings(ScimIdentitySettings, {f"OKIENKO_IDENTITY_SCIM_{k}": v for k, v in environ.items()})
    assert "secret" not in str(caught.value)


def test_the_rig_is_another_client(peer: Scim) -> None:
    assert httpx.get(f"{peer.url}/Users").status_code == 401
