"""The OpenLDAP connector and its server: away, silent, untrusted, wrongly set up."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from okienko.connectors.identity.ldap import okienko_identity_backends
from okienko.connectors.identity.ldap.client import LdapIdentity
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.identity import AccountFlag, LoginTakenError, Operation
from okienko.plugins.ports import Severity
from okienko.plugins.testing import invented_person, invented_pesel
from okienko.plugins.testing.conformance.workshop import NEW, OLD, new_login
from rigs import slapd as rig
from rigs.ldapworkshop import LdapWorkshop as Workshop
from rigs.ldapworkshop import made, now, settings_for
from rigs.slapd import PEOPLE, Slapd, slapd

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.needs_slapd


@pytest.fixture
def server(slapd_server: Slapd) -> Slapd:
    return slapd_server


@pytest.fixture
def workshop(server: Slapd) -> Workshop:
    return Workshop(server)


@pytest.fixture
async def backend(server: Slapd) -> AsyncIterator[LdapIdentity]:
    identity = LdapIdentity(settings_for(server), now)
    yield identity
    await identity.close()


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
@pytest.mark.timeout(60)
async def test_a_server_that_says_nothing(server: Slapd, scheme: str) -> None:
    """It takes the connection and is silent: a TransientError in time."""
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        identity = LdapIdentity(
            settings_for(server, url=f"{scheme}://127.0.0.1:{mute.getsockname()[1]}", timeout=0.5), now
        )
        with pytest.raises(TransientError):
            await identity.start()
        await identity.close()


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_a_server_that_hangs_up(server: Slapd, scheme: str) -> None:
    """As one does that is being stopped: that is no sign of wrong TLS settings."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def hang_up() -> None:
            client, _ = listener.accept()
            client.recv(1)
            client.shutdown(socket.SHUT_RDWR)
            client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        identity = LdapIdentity(settings_for(server, url=url), now)
        with pytest.raises(TransientError):
            await identity.start()
        thread.join()
        await identity.close()


@pytest.mark.timeout(60)
async def test_a_server_that_falls_silent(server: Slapd, workshop: Workshop) -> None:
    """An open connection whose other side stops answering: a TransientError in time, and a fresh connection after it."""
    with Relay(server.ldaps) as relay:
        identity = LdapIdentity(settings_for(server, url=f"ldaps://127.0.0.1:{relay.port}", timeout=0.5), now)
        expected = await made(workshop, identity)
        relay.frozen.set()
        with pytest.raises(TransientError):
            await identity.get(expected.ref)
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


def test_nothing_is_left_open(server: Slapd) -> None:
    """Connections, tunnels and their threads end with the backend, whether it could sign in or not."""

    def opened() -> tuple[int, int]:
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("okienko-directory")]
        return len(list(Path("/proc/self/fd").iterdir())), len(ours)

    async def use() -> None:
        identity = LdapIdentity(settings_for(server), now)
        await asyncio.gather(*(identity.get(str(uuid4())) for _ in range(20)))
        await identity.close()
        refused = LdapIdentity(settings_for(server, bind_password="wrong"), now)
        with pytest.raises(MisconfiguredError):
            await refused.start()
        await refused.close()

    before = opened()
    for _ in range(3):
        asyncio.run(use())
    end = time.monotonic() + 10
    # Fewer is well: what tests before this one closed may end meanwhile.
    while any(now > then for now, then in zip(opened(), before, strict=True)) and time.monotonic() < end:
        time.sleep(0.02)
    files, threads = opened()
    assert files <= before[0]
    assert threads <= before[1]


async def test_a_cancelled_call_harms_no_other(server: Slapd, workshop: Workshop, backend: LdapIdentity) -> None:
    expected = await made(workshop, backend)
    for _ in range(20):
        task = asyncio.create_task(backend.get(expected.ref))
        await asyncio.sleep(0)
        task.cancel()
    results = await asyncio.gather(*(backend.get(expected.ref) for _ in range(20)))
    assert {account.ref for account in results if account} == {expected.ref}


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
    assert (
        bad.message
        == "it may not write pwdAccountLockedTime, write userPassword, write pwdReset, write mail, write pesel"
    )
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
