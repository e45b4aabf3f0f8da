"""The Keycloak connector against its published contract (admin-client 26.7 and UserResource.java), replayed by respx."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from okienko.connectors.identity.keycloak import okienko_identity_backends
from okienko.connectors.identity.keycloak.client import KeycloakIdentity
from okienko.connectors.identity.keycloak.settings import KeycloakIdentitySettings
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.identity import (
    AccountGoneError,
    Expected,
    IdentityBackend,
    LoginTakenError,
    Operation,
    PasswordRefusedError,
    StaleError,
    UnsupportedOperationError,
)
from okienko.plugins.ports import Severity
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance.findings import assert_findings
from okienko.schemas.pesel import Pesel
from rigs.keycloak import JAN, OLD, ROOT, Keycloak, token

NEW = "nowy@poczta.example"
EXPECTED = Expected("id-jan", OLD)


@pytest.fixture
def keycloak() -> Iterator[Keycloak]:
    peer = Keycloak()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="sso.example").mock(side_effect=peer)
        yield peer


def settings(**more: str) -> KeycloakIdentitySettings:
    values = {"URL": ROOT, "REALM": "urzad", "CLIENT_ID": "okienko", "CLIENT_SECRET": "sekret"} | more
    return load_settings(KeycloakIdentitySettings, {f"OKIENKO_IDENTITY_KEYCLOAK_{k}": v for k, v in values.items()})


@pytest.fixture
async def backend(keycloak: Keycloak) -> AsyncIterator[KeycloakIdentity]:
    made = KeycloakIdentity(settings())
    await made.start()
    yield made
    await made.close()


async def test_find_by_login(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    assert isinstance(backend, IdentityBackend)
    assert backend.operations == set(Operation)
    keycloak.users["id-x"] = Keycloak.user("id-x", "x" + OLD, "Inny")
    found = await backend.find_by_login(OLD.upper())
    assert found is not None
    assert (found.ref, found.login, found.person.given_name, found.person.family_name) == (
        "id-jan",
        OLD,
        "Jan",
        "Próbny",
    )
    assert (found.person.pesel, found.person.birth_year) == (Pesel(JAN), 1885)
    assert (found.flags, found.unknown_flags) == (frozenset(), frozenset())
    assert await backend.find_by_login("nobody@example.invalid") is None
    assert await backend.find_by_login("") is None
    asked = [q for m, p, q, _ in keycloak.seen if p.endswith("/users")]
    assert all(q["exact"] == ["true"] for q in asked)


async def test_two_with_one_email(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.users["id-ewa"]["email"] = OLD
    with pytest.raises(PermanentError, match="2 accounts"):
        await backend.find_by_login(OLD)


async def test_release_pesel_sends_everything_else_back_as_it_was(
    backend: KeycloakIdentity, keycloak: Keycloak
) -> None:
    """A PUT of `attributes` replaces all of them, and a user profile takes a missing name for an emptied one."""
    before = dict(keycloak.users["id-jan"])
    done = await backend.release_pesel(Expected("id-jan", OLD), Pesel(JAN))
    assert (done.changed, done.fields) == (True, ("pesel",))
    assert done.after is not None
    assert done.after.person.pesel is None
    assert keycloak.users["id-jan"] == before | {"attributes": {"office": ["Zakręt"]}}
    ((path, body),) = keycloak.calls("PUT")
    assert path == "/users/id-jan"
    assert body == {
        "username": OLD, "email": OLD, "emailVerified": True, "firstName": "Jan", "lastName": "Próbny",
        "attributes": {"office": ["Zakręt"]},
    }  # fmt: skip
    again = await backend.release_pesel(Expected("id-jan", OLD), Pesel(JAN))
    assert not again.changed
    assert len(keycloak.calls("PUT")) == 1


@pytest.mark.parametrize("values", [["89852000569"], [JAN, "1"], ["no number"]])
async def test_release_pesel_leaves_other_values_alone(
    backend: KeycloakIdentity, keycloak: Keycloak, values: list[str]
) -> None:
    keycloak.users["id-jan"]["attributes"]["pesel"] = values
    with pytest.raises(StaleError):
        await backend.release_pesel(Expected("id-jan", OLD), Pesel(JAN))
    assert keycloak.calls("PUT") == []


async def test_release_pesel_that_keycloak_does_not_carry_out(
    backend: KeycloakIdentity, keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only attribute is kept in silence; a realm that drops unmanaged attributes drops more than was asked."""
    monkeypatch.setattr(keycloak, "_update", lambda *_: httpx.Response(204))
    with pytest.raises(PermanentError, match="still carries"):
        await backend.release_pesel(Expected("id-jan", OLD), Pesel(JAN))

    def drops(ref: str, _: object) -> httpx.Response:
        keycloak.users[ref]["attributes"] = {}
        return httpx.Response(204)

    monkeypatch.setattr(keycloak, "_update", drops)
    with pytest.raises(PermanentError, match="more of the account"):
        await backend.release_pesel(Expected("id-jan", OLD), Pesel(JAN))


async def test_find_by_pesel_rechecks(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.users["id-two"] = Keycloak.user("id-two", "two@poczta.example", "Jan", attributes={"pesel": JAN})
    keycloak.users["id-bad"] = Keycloak.user("id-bad", "b@poczta.example", "Jan", attributes={"pesel": [JAN, "1"]})
    assert {a.ref for a in await backend.find_by_pesel(Pesel(JAN))} == {"id-jan", "id-two"}
    asked = next(q for _, p, q, _ in keycloak.seen if p.endswith("/users"))
    assert asked["q"] == [f"pesel:{JAN}"]


async def test_many_pages_and_the_cap(keycloak: Keycloak) -> None:
    for n in range(250):
        keycloak.users[f"n{n}"] = Keycloak.user(f"n{n}", f"n{n}@poczta.example", "N")
    keycloak.users["last"] = Keycloak.user("last", "l@poczta.example", "Jan", attributes={"pesel": [JAN]})
    backend = KeycloakIdentity(settings(MAX_ACCOUNTS="1000"))
    assert {a.ref for a in await backend.find_by_pesel(Pesel(JAN))} == {"id-jan", "last"}
    await backend.close()
    backend = KeycloakIdentity(settings(MAX_ACCOUNTS="99"))
    with pytest.raises(MisconfiguredError, match="MAX_ACCOUNTS"):
        await backend.find_by_pesel(Pesel(JAN))
    await backend.close()


@pytest.mark.parametrize(
    ("lock", "user", "realm", "flags", "unknown"),
    [
        ({}, {}, True, set(), set()),
        ({}, {}, False, set(), {"locked"}),
        ({}, {}, None, set(), {"locked"}),
        ({"numFailures": 2, "lastFailure": 1}, {}, None, set(), set()),
        ({"disabled": True, "numFailures": 3}, {}, True, {"locked"}, set()),
        ({}, {"enabled": False}, True, {"disabled"}, set()),
        ({}, {"enabled": False, "attributes": {"disabledReason": ["permanentLockout"]}}, True, {"locked"}, set()),
        ({"disabled": True}, {"enabled": False}, True, {"locked"}, set()),
        ({}, {"requiredActions": ["UPDATE_PASSWORD"]}, True, {"must_change"}, set()),
        ({}, {"requiredActions": None, "enabled": None}, True, set(), {"must_change", "disabled"}),
    ],
)
async def test_flags(
    backend: KeycloakIdentity,
    keycloak: Keycloak,
    lock: dict[str, Any],
    user: dict[str, Any],
    realm: bool | None,
    flags: set[str],
    unknown: set[str],
) -> None:
    keycloak.lock |= lock
    keycloak.users["id-jan"] |= user
    keycloak.realm["bruteForceProtected"] = realm
    backend._realm = None
    found = await backend.get("id-jan")
    assert found is not None
    assert ({f.value for f in found.flags}, {f.value for f in found.unknown_flags}) == (flags, unknown)


async def test_unlock(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    assert not (await backend.unlock(EXPECTED)).changed
    assert keycloak.calls("DELETE") == []
    keycloak.lock |= {"disabled": True, "numFailures": 3}
    done = await backend.unlock(EXPECTED)
    assert (done.changed, done.fields) == (True, ("login failures",))
    assert keycloak.calls("DELETE") == [("/attack-detection/brute-force/users/id-jan", None)]
    assert keycloak.calls("PUT") == []


async def test_unlock_a_permanent_lockout(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.lock |= {"disabled": True}
    keycloak.users["id-jan"]["enabled"] = False
    done = await backend.unlock(EXPECTED)
    assert done.fields == ("login failures", "enabled")
    assert keycloak.calls("PUT") == [("/users/id-jan", {"enabled": True})]
    assert done.after is not None
    assert not done.after.flags


async def test_unlock_never_switches_on_whom_an_administrator_switched_off(
    backend: KeycloakIdentity, keycloak: Keycloak
) -> None:
    keycloak.users["id-jan"]["enabled"] = False
    assert not (await backend.unlock(EXPECTED)).changed
    assert keycloak.users["id-jan"]["enabled"] is False
    backend._realm = None
    keycloak.realm["bruteForceProtected"] = None
    await backend.unlock(EXPECTED)
    assert keycloak.calls("PUT") == []


async def test_change_login(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    done = await backend.change_login(EXPECTED, NEW)
    assert done.fields == ("email", "emailVerified", "username", "sessions")
    assert keycloak.calls("PUT") == [("/users/id-jan", {"email": NEW, "emailVerified": False, "username": NEW})]
    assert keycloak.users["id-jan"]["attributes"] == {"pesel": [JAN], "office": ["Zakręt"]}
    assert keycloak.calls("POST") == [("/users/id-jan/logout", None)]
    assert done.after is not None
    assert (done.after.login, done.after.person.pesel) == (NEW, Pesel(JAN))
    again = await backend.change_login(EXPECTED, NEW)
    assert not again.changed
    assert len(keycloak.calls("PUT")) == 1


async def test_a_failed_logout_is_made_up_for(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.fails["POST logout"] = [httpx.Response(500)]
    with pytest.raises(TransientError):
        await backend.change_login(EXPECTED, NEW)
    assert not (await backend.change_login(EXPECTED, NEW)).changed
    assert len(keycloak.calls("POST")) == 2


@pytest.mark.parametrize(
    ("choice", "realm", "username", "renamed"),
    [
        ("auto", False, "jnowak", False),
        ("auto", False, OLD.upper(), True),
        ("auto", None, "jnowak", False),
        ("auto", True, "jnowak", True),
        ("no", True, OLD, False),
        ("yes", False, "jnowak", True),
    ],
)
async def test_user_name(keycloak: Keycloak, choice: str, realm: bool | None, username: str, renamed: bool) -> None:
    keycloak.realm["registrationEmailAsUsername"] = realm
    keycloak.users["id-jan"]["username"] = username
    backend = KeycloakIdentity(settings(USERNAME_IS_EMAIL=choice, LOGOUT_SESSIONS="false"))
    await backend.change_login(EXPECTED, NEW)
    assert keycloak.users["id-jan"]["username"] == (NEW if renamed else username)
    assert keycloak.calls("POST") == []
    await backend.close()


@pytest.mark.parametrize("place", ["email", "username"])
async def test_login_taken(backend: KeycloakIdentity, keycloak: Keycloak, place: str) -> None:
    keycloak.users["id-ewa"][place] = NEW.upper()
    with pytest.raises(LoginTakenError):
        await backend.change_login(EXPECTED, NEW)
    assert keycloak.calls("PUT") == []


async def test_stale_and_gone(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.users["id-jan"]["email"] = "inny@poczta.example"
    for change in (
        backend.unlock(EXPECTED),
        backend.change_login(EXPECTED, NEW),
        backend.set_password(EXPECTED, SecretStr("x")),
        backend.send_activation(EXPECTED, lifetime_seconds=60),
    ):
        with pytest.raises(StaleError):
            await change
    del keycloak.users["id-jan"]
    with pytest.raises(AccountGoneError):
        await backend.change_login(EXPECTED, NEW)
    assert await backend.get("id-jan") is None
    assert await backend.get("") is None
    assert keycloak.calls("PUT") == []


async def test_a_yes_that_is_a_lie(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.fails["PUT id-jan"] = [httpx.Response(204)]
    with pytest.raises(PermanentError, match="does not have it"):
        await backend.change_login(EXPECTED, NEW)


async def test_send_activation(keycloak: Keycloak) -> None:
    backend = KeycloakIdentity(settings(LINK_CLIENT_ID="portal", LINK_REDIRECT_URI="https://portal.example/"))
    done = await backend.send_activation(EXPECTED, lifetime_seconds=86400)
    assert done.fields == ("activation mail",)
    ((_, path, query, body),) = [call for call in keycloak.seen if call[0] == "PUT"]
    assert path.endswith("/users/id-jan/execute-actions-email")
    assert query == {"lifespan": ["86400"], "client_id": ["portal"], "redirect_uri": ["https://portal.example/"]}
    assert body == ["UPDATE_PASSWORD", "VERIFY_EMAIL"]
    await backend.close()
    plain = KeycloakIdentity(settings(VERIFY_EMAIL="no"))
    await plain.send_activation(EXPECTED, lifetime_seconds=60)
    assert keycloak.seen[-1][2:] == ({"lifespan": ["60"]}, ["UPDATE_PASSWORD"])
    await plain.close()


async def test_set_password(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.lock |= {"disabled": True, "numFailures": 3}
    keycloak.users["id-jan"]["requiredActions"] = ["UPDATE_PASSWORD", "VERIFY_EMAIL"]
    done = await backend.set_password(EXPECTED, SecretStr("Nowe-haslo-1"))
    assert done.fields == ("password", "login failures", "requiredActions", "sessions")
    assert keycloak.calls("PUT") == [
        ("/users/id-jan/reset-password", {"type": "password", "value": "Nowe-haslo-1", "temporary": False}),
        ("/users/id-jan", {"requiredActions": ["VERIFY_EMAIL"]}),
    ]
    assert done.after is not None
    assert not done.after.flags
    assert "Nowe" not in repr(done)


def _shape(status: int, **body: Any) -> httpx.Response:
    return httpx.Response(status, json=body)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (_shape(400, error="invalidPasswordMinLengthMessage", error_description="Invalid password: minimum length 8."),
         PasswordRefusedError, "minimum length 8"),
        (_shape(400, error="invalidPasswordHistoryMessage", error_description="Invalid password: must not be equal to any of last 3 passwords."),
         PasswordRefusedError, "last 3 passwords"),
        (_shape(400, errorMessage="Password policy not met"), PasswordRefusedError, "not met"),
        (_shape(400, error="Resetting to N old passwords is not allowed."), PasswordRefusedError, "old passwords"),
        (_shape(400, error="Empty password not allowed"), PasswordRefusedError, "Empty"),
        (_shape(400, error="x", error_description="password Nowe-haslo-1 is too common"), PasswordRefusedError, "withheld"),
        (_shape(400, error="Can't reset password as account is read only"), UnsupportedOperationError, "change it there"),
        (_shape(403, error="HTTP 403 Forbidden"), MisconfiguredError, "manage-users"),
        (_shape(404, error="User not found"), AccountGoneError, "not there any more"),
        (_shape(404, error="Realm not found."), MisconfiguredError, "REALM"),
        (httpx.Response(500, json={"error": "unknown_error"}), TransientError, "unknown_error"),
        (httpx.Response(502, html="<html>"), TransientError, "busy"),
    ],
)  # fmt: skip
async def test_password_errors(
    backend: KeycloakIdentity, keycloak: Keycloak, answer: httpx.Response, error: type[Exception], words: str
) -> None:
    keycloak.fails["PUT reset-password"] = [answer]
    with pytest.raises(error, match=words) as caught:
        await backend.set_password(EXPECTED, SecretStr("Nowe-haslo-1"))
    assert "Nowe-haslo-1" not in f"{caught.value!r} {caught.value.__context__!r}"
    assert len(keycloak.calls("PUT")) == 1
    assert keycloak.calls("POST") == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (_shape(409, errorMessage="User exists with same email"), LoginTakenError, "another account"),
        (_shape(409, errorMessage="User exists with same username"), LoginTakenError, "another account"),
        (_shape(409, errorMessage="User exists with same username or email"), LoginTakenError, "another account"),
        (_shape(400, errorMessage="error-invalid-email", field="email", params=["email", NEW]), PermanentError, "error-invalid-email; email"),
        (_shape(400, errors=[{"errorMessage": "error-user-attribute-required", "field": "lastName", "params": [JAN]}]),
         PermanentError, "error-user-attribute-required; lastName"),
        (_shape(400, errorMessage="User is read only!"), UnsupportedOperationError, "read only"),
        (_shape(400, errorMessage=f"bad value {JAN} of {NEW}"), PermanentError, "<number> of <address>"),
        (httpx.Response(400, text="no json"), PermanentError, "text/plain"),
        (httpx.Response(400), PermanentError, "400"),
    ],
)  # fmt: skip
async def test_change_errors(
    backend: KeycloakIdentity, keycloak: Keycloak, answer: httpx.Response, error: type[Exception], words: str
) -> None:
    keycloak.fails["PUT id-jan"] = [answer]
    with pytest.raises(error, match=words) as caught:
        await backend.change_login(EXPECTED, NEW)
    assert type(caught.value) is error
    assert JAN not in str(caught.value)
    assert NEW not in str(caught.value)
    assert keycloak.users["id-jan"]["email"] == OLD


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_shape(400, errorMessage="User email missing"), PermanentError),
        (_shape(400, errorMessage="User is disabled"), PermanentError),
        (_shape(400, errorMessage="Client id missing"), MisconfiguredError),
        (_shape(400, errorMessage="Client doesn't exist"), MisconfiguredError),
        (_shape(400, errorMessage="Client is not enabled"), MisconfiguredError),
        (_shape(400, errorMessage="Invalid redirect uri."), MisconfiguredError),
        (_shape(400, errorMessage="Provided invalid required actions"), MisconfiguredError),
        (_shape(500, errorMessage="Failed to send execute actions email: Connection refused"), TransientError),
    ],
)
async def test_link_errors(
    backend: KeycloakIdentity, keycloak: Keycloak, answer: httpx.Response, error: type[Exception]
) -> None:
    keycloak.fails["PUT execute-actions-email"] = [answer]
    with pytest.raises(error) as caught:
        await backend.send_activation(EXPECTED, lifetime_seconds=60)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (_shape(401, error="invalid_client", error_description="x"), MisconfiguredError, "invalid_client"),
        (_shape(400, error="unauthorized_client"), MisconfiguredError, "unauthorized_client"),
        (httpx.Response(200, html="<html>"), MisconfiguredError, "without an access_token"),
        (_shape(200, access_token="a\nb"), MisconfiguredError, "without an access_token"),
        (httpx.Response(500), TransientError, "token endpoint failed"),
        (httpx.Response(503), TransientError, "busy"),
    ],
)
async def test_token_errors(keycloak: Keycloak, answer: httpx.Response, error: type[Exception], words: str) -> None:
    backend = KeycloakIdentity(settings())
    keycloak.fails["POST token"] = [answer] * 3
    with pytest.raises(error, match=words) as caught:
        await backend.start()
    assert "sekret" not in str(caught.value)
    await backend.close()


async def test_token_is_renewed_before_it_ends_and_after_a_401(keycloak: Keycloak) -> None:
    backend = KeycloakIdentity(settings())
    now = 0.0
    backend._wire._api._clock = lambda: now
    await backend.get("id-jan")
    assert keycloak.tokens == 1
    now = 239.0
    await backend.get("id-jan")
    assert keycloak.tokens == 1
    now = 241.0
    await backend.get("id-jan")
    assert keycloak.tokens == 2
    keycloak.fails["GET id-jan"] = [_shape(401, error="HTTP 401 Unauthorized")]
    assert await backend.get("id-jan") is not None
    assert keycloak.tokens == 3
    keycloak.fails["GET id-jan"] = [_shape(401, error="HTTP 401 Unauthorized")] * 2
    with pytest.raises(MisconfiguredError, match="401"):
        await backend.get("id-jan")
    await backend.close()


async def test_answers_that_are_not_keycloaks(backend: KeycloakIdentity, keycloak: Keycloak) -> None:
    keycloak.fails["GET users"] = [httpx.Response(200, html="<html>")]
    with pytest.raises(MisconfiguredError, match="text/html"):
        await backend.find_by_login(OLD)
    keycloak.fails["GET id-jan"] = [httpx.Response(200, json=[1])]
    with pytest.raises(MisconfiguredError):
        await backend.get("id-jan")
    keycloak.fails["GET id-jan"] = [httpx.Response(200, json=keycloak.users["id-ewa"])]
    with pytest.raises(PermanentError, match="another account"):
        await backend.get("id-jan")
    keycloak.users["id-jan"].pop("email")
    with pytest.raises(PermanentError, match="no e-mail"):
        await backend.get("id-jan")


async def test_timeouts(keycloak: Keycloak, backend: KeycloakIdentity) -> None:
    keycloak.fails["GET id-jan"] = [httpx.ReadTimeout("x"), httpx.ConnectTimeout("x"), httpx.RemoteProtocolError("x")]
    with pytest.raises(TransientError, match="the connection broke"):
        await backend.get("id-jan")
    assert len(keycloak.calls("GET")) == 4, "a read is tried three times, after the realm"
    keycloak.fails["PUT reset-password"] = [httpx.ReadTimeout("x")]
    with pytest.raises(TransientError, match="no answer within 15 s"):
        await backend.set_password(EXPECTED, SecretStr("x"))
    assert len(keycloak.calls("PUT")) == 1, "a write that may have happened is not sent again"


async def test_check(keycloak: Keycloak, backend: KeycloakIdentity) -> None:
    findings = await backend.check()
    assert_findings(findings)
    assert {f.severity for f in findings} == {Severity.OK}, findings
    assert not [1 for method, *_ in keycloak.seen if method != "GET"]


@pytest.mark.parametrize(
    ("realm", "profile", "roles", "subject", "severity"),
    [
        ({"bruteForceProtected": False}, {}, ["manage-users"], "lock", "warning"),
        ({"bruteForceProtected": None}, {}, ["manage-users"], "lock", "warning"),
        ({"duplicateEmailsAllowed": True}, {}, ["manage-users"], "e-mails", "warning"),
        ({"registrationEmailAsUsername": None}, {}, ["manage-users"], "user names", "warning"),
        ({}, {}, ["query-users"], "rights", "warning"),
        ({}, {}, ["manage-users", "realm-admin"], "rights", "warning"),
        ({}, {"attributes": []}, ["manage-users"], "PESEL", "error"),
        ({}, {"attributes": [], "unmanagedAttributePolicy": "ENABLED"}, ["manage-users"], "PESEL", "error"),
        ({}, {"attributes": [{"name": "pesel", "permissions": {"edit": ["admin", "user"]}}]}, ["manage-users"], "PESEL", "error"),
    ],
)  # fmt: skip
async def test_check_names_each_problem(
    keycloak: Keycloak, realm: dict[str, Any], profile: dict[str, Any], roles: list[str], subject: str, severity: str
) -> None:
    keycloak.realm |= realm
    keycloak.profile |= profile
    keycloak.token = token(*roles)
    backend = KeycloakIdentity(settings())
    findings = await backend.check()
    assert_findings(findings)
    assert [(f.subject, f.severity.value) for f in findings if f.severity is not Severity.OK] == [
        (f"identity keycloak {subject}", severity)
    ]
    await backend.close()


async def test_check_without_access(keycloak: Keycloak) -> None:
    keycloak.fails["GET users"] = [_shape(403, error="HTTP 403 Forbidden")]
    backend = KeycloakIdentity(settings())
    (finding,) = await backend.check()
    assert (finding.severity, "manage-users" in finding.message) == (Severity.ERROR, True)
    await backend.close()


async def test_without_pesel(keycloak: Keycloak) -> None:
    backend = KeycloakIdentity(settings(PESEL_ATTRIBUTE=""))
    assert Operation.FIND_BY_PESEL not in backend.operations
    with pytest.raises(UnsupportedOperationError):
        await backend.find_by_pesel(Pesel(JAN))
    assert "identity keycloak PESEL" in {f.subject for f in await backend.check() if f.cure}
    await backend.close()


async def test_no_personal_data_in_logs(
    backend: KeycloakIdentity, keycloak: Keycloak, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await backend.find_by_pesel(Pesel(JAN))
    await backend.find_by_login(OLD)
    lines = [r.getMessage() for r in caplog.records]
    assert any("/users" in line for line in lines)
    assert not any(secret in line for line in lines for secret in (JAN, OLD, "%40", "sekret", keycloak.token))


def test_plugin(tmp_path: Path) -> None:
    assert okienko_identity_backends(PluginContext(home=tmp_path, environ={})) == []
    environ = {f"OKIENKO_IDENTITY_KEYCLOAK_{k}": v for k, v in
               {"URL": ROOT, "REALM": "a/b", "CLIENT_ID": "okienko", "CLIENT_SECRET": "x"}.items()}  # fmt: skip
    (backend,) = okienko_identity_backends(PluginContext(home=tmp_path, environ=environ))
    assert backend.name == "keycloak"
    assert settings(REALM="a/b").admin_url == f"{ROOT}/admin/realms/a%2Fb"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"URL": "http://sso.example"}, "must begin with https"),
        ({"REALM": ""}, "REALM"),
        ({"LINK_REDIRECT_URI": "https://portal.example"}, "needs LINK_CLIENT_ID"),
        ({"PESEL_ATTRIBUTE": "a:b"}, "PESEL_ATTRIBUTE"),
        ({"USERNAME_IS_EMAIL": "maybe"}, "USERNAME_IS_EMAIL"),
    ],
)
def test_wrong_settings(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(MisconfiguredError, match=problem):
        settings(**environ)
    with pytest.raises(MisconfiguredError, match="REALM, CLIENT_ID, CLIENT_SECRET"):
        load_settings(KeycloakIdentitySettings, {"OKIENKO_IDENTITY_KEYCLOAK_URL": ROOT})
