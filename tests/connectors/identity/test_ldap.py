"""The OpenLDAP connector against a real slapd."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from okienko.connectors.identity.ldap import okienko_identity_backends
from okienko.connectors.identity.ldap.client import LdapIdentity
from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.identity import AccountFlag, Expected, LoginTakenError, Operation, PasswordRefusedError, StaleError
from okienko.plugins.ports import Severity
from okienko.plugins.testing import invented_person, invented_pesel
from okienko.plugins.testing.conformance import IdentityConformance
from okienko.plugins.testing.conformance.workshop import NEW, OLD, new_login
from okienko.schemas import Person
from rigs import slapd as rig
from rigs.slapd import PEOPLE, Slapd, slapd

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.needs_slapd


def now() -> datetime:
    return datetime.now(UTC)


class Workshop:
    """By python-ldap itself, so that checks do not lean on what is checked."""

    weak_passwords = ("krotkie", OLD, "{SSHA}c2hvdWxkLW5vdC1iZS1zdG9yZWQ=", "{CLEARTEXT}Dobre-Haslo-1")
    """Too short, the same as now, and what slapd would take for a hash."""

    def __init__(self, server: Slapd) -> None:
        self._server = server
        self._dns: dict[str, str] = {}

    def connect(self, who: str, password: str) -> Any:
        import ldap

        handle = ldap.initialize(self._server.url)
        handle.set_option(ldap.OPT_X_TLS_CACERTFILE, str(self._server.ca))
        handle.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        handle.set_option(ldap.OPT_NETWORK_TIMEOUT, 10)
        handle.simple_bind_s(who, password)
        return handle

    def admin(self) -> Any:
        return self.connect(rig.ADMIN, rig.ADMIN_PASSWORD)

    def dn(self, login: str) -> str:
        ((dn, _),) = self.admin().search_s(rig.SUFFIX, 2, f"(mail={login})", ["1.1"])
        return str(dn)

    def modify(self, login: str, how: int, name: str, *values: str) -> None:
        self.admin().modify_s(self.dn(login), [(how, name, [value.encode() for value in values] or None)])

    def read(self, login: str, name: str) -> list[str]:
        ((_, found),) = self.admin().search_s(self.dn(login), 0, "(objectClass=*)", [name])
        return [value.decode() for value in found.get(name, [])]

    async def create(self, login: str, password: str, person: Person) -> None:
        import ldap

        self.add(login, person)
        self.admin().passwd_s(self.dn(login), None, password)
        if self.read(login, "pwdReset"):
            self.modify(login, ldap.MOD_DELETE, "pwdReset")

    def add(self, login: str, person: Person) -> None:
        assert person.pesel is not None
        entry = {
            "objectClass": ["inetOrgPerson", "puescAccount"],
            "cn": [f"{person.given_name} {person.family_name}"],
            "givenName": [person.given_name or ""],
            "sn": [person.family_name or ""],
            "mail": [login],
            "pesel": [person.pesel.reveal()],
        }
        attributes = [(name, [value.encode() for value in values]) for name, values in entry.items()]
        self.admin().add_s(f"uid={new_login().split('@')[0]},{PEOPLE}", attributes)

    async def delete(self, login: str) -> None:
        self.admin().delete_s(self.dn(login))

    async def rename(self, login: str, new_login: str) -> None:
        self.modify(login, 2, "mail", new_login)

    async def lock(self, login: str) -> None:
        for _ in range(rig.MAX_FAILURES):
            assert not await self.sign_in(login, "wrong-password")
        assert self.read(login, "pwdAccountLockedTime")

    async def disable(self, login: str) -> None:
        self.modify(login, 2, "pwdAccountLockedTime", "000001010000Z")

    async def demand_change(self, login: str) -> None:
        self.modify(login, 2, "pwdReset", "TRUE")

    async def sign_in(self, login: str, password: str) -> bool:
        import ldap

        found = self.admin().search_s(PEOPLE, 2, f"(mail={login})", ["1.1"])
        if not found:
            return False
        try:
            handle = self.connect(found[0][0], password)
            # Who must change the password is let in, but may read nothing.
            return bool(handle.search_s(found[0][0], 0, "(objectClass=*)", ["1.1"]))
        except (ldap.INVALID_CREDENTIALS, ldap.INSUFFICIENT_ACCESS):
            return False


def settings_for(server: Slapd, **more: object) -> LdapSettings:
    given: dict[str, object] = {
        "url": server.url,
        "ca": server.ca,
        "bind_dn": rig.OPERATOR,
        "bind_password": rig.OPERATOR_PASSWORD,
        "base": PEOPLE,
        "timeout": 5,
    }
    return LdapSettings.model_validate(given | more)


@pytest.fixture(scope="module")
def server() -> Iterator[Slapd]:
    with slapd() as running:
        yield running


@pytest.fixture
def workshop(server: Slapd) -> Workshop:
    return Workshop(server)


@pytest.fixture
async def backend(server: Slapd) -> AsyncIterator[LdapIdentity]:
    identity = LdapIdentity(settings_for(server), now)
    yield identity
    await identity.close()


class TestLdap(IdentityConformance):
    @pytest.fixture
    async def backend(self, server: Slapd) -> AsyncIterator[LdapIdentity]:
        identity = LdapIdentity(settings_for(server), now)
        yield identity
        await identity.close()

    @pytest.fixture
    def workshop(self, server: Slapd) -> Workshop:
        return Workshop(server)

    @pytest.fixture
    def unreachable(self, server: Slapd) -> LdapIdentity:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return LdapIdentity(settings_for(server, url=f"ldaps://127.0.0.1:{port}"), now)

    @pytest.fixture
    def refused(self, server: Slapd) -> LdapIdentity:
        return LdapIdentity(settings_for(server, bind_password="wrong"), now)


async def made(workshop: Workshop, backend: LdapIdentity, login: str | None = None) -> Expected:
    login = login or new_login()
    await workshop.create(login, OLD, invented_person())
    account = await backend.find_by_login(login)
    assert account is not None
    return Expected(account.ref, account.login)


# --- locks and passwords ----------------------------------------------------------------------------------------------


async def test_a_wrong_attempt_after_unlocking_does_not_lock_again(workshop: Workshop, backend: LdapIdentity) -> None:
    """The failures that were counted go with the lock."""
    expected = await made(workshop, backend)
    await workshop.lock(expected.login)
    await backend.unlock(expected)
    assert workshop.read(expected.login, "pwdFailureTime") == []
    assert not await workshop.sign_in(expected.login, "wrong-password")
    assert await workshop.sign_in(expected.login, OLD)


async def test_disabling_in_the_same_moment_wins(workshop: Workshop, server: Slapd) -> None:
    """Between our look and our write an administrator locks: slapd itself compares, so the lock stays."""
    identity = DisablesBeforeWriting(settings_for(server), now)
    identity.workshop = workshop
    expected = await made(workshop, identity)
    with pytest.raises(StaleError):
        await identity.set_password(expected, SecretStr(NEW))
    assert workshop.read(expected.login, "pwdAccountLockedTime") == ["000001010000Z"]
    await identity.close()


async def test_an_administrators_lock_in_the_same_moment_is_not_lifted(workshop: Workshop, server: Slapd) -> None:
    identity = DisablesBeforeWriting(settings_for(server), now)
    identity.workshop = workshop
    expected = await made(workshop, identity)
    await workshop.lock(expected.login)
    assert not (await identity.unlock(expected)).changed
    assert workshop.read(expected.login, "pwdAccountLockedTime") == ["000001010000Z"]
    await identity.close()


class DisablesBeforeWriting(LdapIdentity):
    """An administrator acts between its look and its write."""

    workshop: Workshop

    def unlock_changes(self, entry: Any) -> Any:
        changes = super().unlock_changes(entry)
        self._disable(entry)
        return changes

    def password_changes(self, entry: Any, password: str) -> Any:
        self._disable(entry)
        return super().password_changes(entry, password)

    def _disable(self, entry: Any) -> None:
        self.workshop.modify(entry.first("mail"), 2, "pwdAccountLockedTime", "000001010000Z")


async def test_lock_that_has_run_out(server: Slapd, workshop: Workshop, backend: LdapIdentity) -> None:
    expected = await made(workshop, backend)
    workshop.modify(expected.login, 2, "pwdAccountLockedTime", "20200101000000Z")
    account = await backend.get(expected.ref)
    assert account is not None
    assert account.flags == {AccountFlag.LOCKED}
    limited = LdapIdentity(settings_for(server, lockout_seconds=900), now)
    account = await limited.get(expected.ref)
    assert account is not None
    assert account.flags == frozenset()
    await limited.close()


async def test_password_history(workshop: Workshop, backend: LdapIdentity) -> None:
    expected = await made(workshop, backend)
    await backend.set_password(expected, SecretStr(NEW))
    with pytest.raises(PasswordRefusedError, match="history"):
        await backend.set_password(expected, SecretStr(OLD))


async def test_the_password_is_stored_hashed(workshop: Workshop, backend: LdapIdentity) -> None:
    expected = await made(workshop, backend)
    await backend.set_password(expected, SecretStr(NEW))
    assert workshop.read(expected.login, "userPassword")[0].startswith("{SSHA}")


# --- logins -----------------------------------------------------------------------------------------------------------


async def test_several_accounts_with_one_login(backend: LdapIdentity, server: Slapd) -> None:
    with slapd(unique=False) as loose:
        workshop = Workshop(loose)
        identity = LdapIdentity(settings_for(loose), now)
        expected = await made(workshop, identity)
        workshop.add(expected.login, invented_person())
        with pytest.raises(PermanentError, match="2 accounts"):
            await identity.find_by_login(expected.login)
        # Without the overlay unique the search before the write still finds it.
        other = await made(workshop, identity)
        with pytest.raises(LoginTakenError):
            await identity.change_login(other, expected.login)
        # A race of many for one login on a server that takes duplicates.
        many = [await made(workshop, identity) for _ in range(4)]
        wanted = new_login()
        results = await asyncio.gather(*(identity.change_login(one, wanted) for one in many), return_exceptions=True)
        winners = [result for result in results if not isinstance(result, BaseException)]
        assert len(winners) <= 1
        assert all(isinstance(r, LoginTakenError) for r in results if isinstance(r, BaseException)), results
        assert len(workshop.admin().search_s(PEOPLE, 2, f"(mail={wanted})", ["1.1"])) == len(winners)
        await identity.close()


async def test_one_of_several_addresses(workshop: Workshop, backend: LdapIdentity) -> None:
    """Only the login is swapped; the other values stay."""
    expected = await made(workshop, backend)
    extra, new = new_login(), new_login()
    workshop.modify(expected.login, 0, "mail", extra)
    done = await backend.change_login(expected, new)
    assert done.after is not None
    assert done.after.login == new
    assert sorted(workshop.read(new, "mail")) == sorted([extra, new])


@pytest.mark.parametrize("login", ["żółw@example.org", "", "\0@example.org"])
async def test_a_login_that_the_schema_refuses(workshop: Workshop, backend: LdapIdentity, login: str) -> None:
    expected = await made(workshop, backend)
    with pytest.raises(PermanentError):
        await backend.change_login(expected, login)
    assert await workshop.sign_in(expected.login, OLD)


# --- trouble ----------------------------------------------------------------------------------------------------------


async def test_reconnects(server: Slapd, workshop: Workshop, backend: LdapIdentity) -> None:
    """The server goes, then it is back: errors while it is away, and none after that, on connections grown stale."""
    expected = await made(workshop, backend)
    await asyncio.gather(*(backend.get(expected.ref) for _ in range(8)))
    await asyncio.to_thread(server.stop)
    try:
        for _ in range(3):
            with pytest.raises(TransientError):
                await backend.get(expected.ref)
    finally:
        await asyncio.to_thread(server.start)
    await asyncio.gather(*(backend.get(expected.ref) for _ in range(8)))
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    assert (await backend.change_login(expected, new_login())).changed


async def test_the_second_server_takes_over(server: Slapd, workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    identity = LdapIdentity(settings_for(server, url=f"ldaps://127.0.0.1:{port} {server.url}"), now)
    await made(workshop, identity)
    await identity.close()


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_a_server_that_says_nothing(server: Slapd, scheme: str) -> None:
    """It takes the connection and is silent: a TransientError in time."""
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        identity = LdapIdentity(
            settings_for(server, url=f"{scheme}://127.0.0.1:{mute.getsockname()[1]}", timeout=0.5), now
        )
        begun = time.monotonic()
        with pytest.raises(TransientError):
            await identity.start()
        assert time.monotonic() - begun < 5
        await identity.close()


async def test_a_server_that_falls_silent(server: Slapd, workshop: Workshop) -> None:
    """An open connection whose other side stops answering: a TransientError in time, and a fresh connection after it."""
    with Relay(server.ldaps) as relay:
        identity = LdapIdentity(settings_for(server, url=f"ldaps://127.0.0.1:{relay.port}", timeout=0.5), now)
        expected = await made(workshop, identity)
        relay.frozen.set()
        begun = time.monotonic()
        with pytest.raises(TransientError):
            await identity.get(expected.ref)
        assert time.monotonic() - begun < 5
        relay.frozen.clear()
        assert await identity.get(expected.ref) is not None
        await identity.close()


class Relay:
    """Passes octets between a client and a port, until it is frozen."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self._target = target
        self._listener = socket.create_server((host, 0))
        self._sockets = [self._listener]
        self.port = self._listener.getsockname()[1]
        self.frozen = threading.Event()

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                # What arrives while frozen is lost, as behind a firewall that forgot the connection.
                if not self.frozen.is_set():
                    other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


# --- TLS and configuration --------------------------------------------------------------------------------------------


async def test_starttls(server: Slapd, workshop: Workshop) -> None:
    identity = LdapIdentity(settings_for(server, url=f"ldap://127.0.0.1:{server.ldap}"), now)
    await made(workshop, identity)
    assert [f for f in await identity.check() if f.severity is Severity.ERROR] == []
    await identity.close()


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_an_untrusted_certificate(server: Slapd, scheme: str, tmp_path: Path) -> None:
    from rigs.certificates import certificates

    certificates(tmp_path)
    url = f"{scheme}://127.0.0.1:{server.ldap if scheme == 'ldap' else server.ldaps}"
    identity = LdapIdentity(settings_for(server, url=url, ca=tmp_path / "ca.pem"), now)
    with pytest.raises(MisconfiguredError, match="certificate"):
        await identity.start()
    assert any(f.severity is Severity.ERROR and "certificate" in f.message for f in await identity.check())
    await identity.close()


async def test_a_certificate_of_another_name(server: Slapd) -> None:
    """Trusted, but of 127.0.0.1 and not of whom we meant to call."""
    with Relay(server.ldaps, "127.0.0.2") as relay:
        identity = LdapIdentity(settings_for(server, url=f"ldaps://127.0.0.2:{relay.port}"), now)
        with pytest.raises(MisconfiguredError, match="certificate"):
            await identity.start()
        await identity.close()


async def test_wrong_base(server: Slapd) -> None:
    identity = LdapIdentity(settings_for(server, base="ou=nowhere,dc=puesc,dc=test"), now)
    with pytest.raises(MisconfiguredError, match="base"):
        await identity.find_by_login("jan@example.org")
    assert any("ou=nowhere" in f.message and f.cure for f in await identity.check() if f.severity is Severity.ERROR)
    await identity.close()


async def test_check_names_missing_rights(server: Slapd, workshop: Workshop) -> None:
    login = new_login()
    await workshop.create(login, OLD, invented_person())
    before = workshop.read(login, "entryCSN")
    good = LdapIdentity(settings_for(server, check_login=login), now)
    findings = await good.check()
    assert {f.severity for f in findings} == {Severity.WARNING, Severity.OK}  # the certificate ends in two days
    assert [f.message for f in findings if f.subject == "identity ldap rights"] == [
        "the operator account may do all that is allowed"
    ]
    reader = LdapIdentity(
        settings_for(server, check_login=login, bind_dn=rig.READER, bind_password=rig.READER_PASSWORD), now
    )
    (bad,) = [f for f in await reader.check() if f.severity is Severity.ERROR]
    assert bad.message == "it may not write pwdAccountLockedTime, write userPassword, write pwdReset, write mail"
    with pytest.raises(MisconfiguredError, match="right"):
        await reader.change_login(await made(workshop, reader), new_login())
    # Nothing was changed by trying.
    assert workshop.read(login, "entryCSN") == before
    assert await workshop.sign_in(login, OLD)
    for identity in (good, reader):
        await identity.close()


async def test_check_as_the_root_of_the_directory(server: Slapd, workshop: Workshop) -> None:
    """Who may everything is told that it is too much."""
    login = new_login()
    await workshop.create(login, OLD, invented_person())
    root = LdapIdentity(
        settings_for(server, check_login=login, bind_dn=rig.ADMIN, bind_password=rig.ADMIN_PASSWORD), now
    )
    assert any("password hashes" in f.message for f in await root.check())
    assert await workshop.sign_in(login, OLD)
    await root.close()


async def test_misspelt_attribute(server: Slapd) -> None:
    identity = LdapIdentity(settings_for(server, pesel_attribute="pessel"), now)
    assert any("pessel" in f.message for f in await identity.check() if f.severity is Severity.ERROR)
    await identity.close()


async def test_without_the_password_policy() -> None:
    """What cannot be known is said to be unknown; passwords can still be set."""
    with slapd(policy=False) as plain:
        workshop = Workshop(plain)
        identity = LdapIdentity(settings_for(plain), now)
        expected = await made(workshop, identity)
        account = await identity.get(expected.ref)
        assert account is not None
        assert account.unknown_flags == set(AccountFlag)
        assert not (await identity.unlock(expected)).changed
        assert (await identity.set_password(expected, SecretStr(NEW))).fields == ("userPassword",)
        assert await workshop.sign_in(expected.login, NEW)
        assert any("ppolicy" in f.cure for f in await identity.check())
        await identity.close()


async def test_no_pesel_in_errors(workshop: Workshop, server: Slapd) -> None:
    """slapd quotes the filter when it refuses a duplicate; we do not."""
    expected = await made(workshop, identity := LdapIdentity(settings_for(server, login_attributes=["mail"]), now))
    taken = invented_pesel().reveal() + "@example.org"
    await workshop.create(taken, OLD, invented_person())
    identity._others = lambda *_: False  # type: ignore[method-assign]  only the server's own check is left
    with pytest.raises(LoginTakenError) as caught:
        await identity.change_login(expected, taken)
    assert taken[:11] not in str(caught.value)
    await identity.close()


def test_plugin(tmp_path: Path, server: Slapd) -> None:
    assert okienko_identity_backends(PluginContext(home=tmp_path, environ={})) == []
    secret = tmp_path / "password"
    secret.write_text("tajne\n")
    environ = {
        "OKIENKO_IDENTITY_LDAP_URL": server.url,
        "OKIENKO_IDENTITY_LDAP_BIND_DN": rig.OPERATOR,
        "OKIENKO_IDENTITY_LDAP_BIND_PASSWORD_FILE": str(secret),
        "OKIENKO_IDENTITY_LDAP_BASE": PEOPLE,
        "OKIENKO_IDENTITY_LDAP_PESEL_ATTRIBUTE": "",
        "OKIENKO_IDENTITY_LDAP_ALLOWED": '["find_by_login", "unlock"]',
    }
    (backend,) = okienko_identity_backends(PluginContext(home=tmp_path, environ=environ))
    assert (backend.name, backend.operations) == ("ldap", {Operation.FIND_BY_LOGIN, Operation.UNLOCK})


def test_the_document_has_the_rights_that_are_tested() -> None:
    document = (ROOT / "docs" / "identity-ldap.md").read_text(encoding="utf-8")
    assert re.sub(
        r"\s+", " ", rig.ACCESS.replace('  by dn.exact="cn=reader,ou=services,dc=puesc,dc=test" read\n', "")
    ) in (re.sub(r"\s+", " ", document))
