"""The Active Directory connector against a real Samba AD domain controller."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from okienko.connectors.identity.ad import okienko_identity_backends
from okienko.connectors.identity.ad.client import AdIdentity
from okienko.connectors.identity.ad.settings import AdSettings
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.identity import Expected, LoginTakenError, Operation, PasswordRefusedError
from okienko.plugins.ports import Severity
from okienko.plugins.testing import invented_person
from okienko.plugins.testing.conformance import IdentityConformance
from okienko.plugins.testing.conformance.workshop import NEW, OLD, new_login
from okienko.schemas import Person
from rigs import samba as rig
from rigs.samba import PEOPLE, SUFFIX, Samba

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.needs_samba


def now() -> datetime:
    return datetime.now(UTC)


class Workshop:
    """By python-ldap itself, so that checks do not lean on what is checked."""

    weak_passwords = ("Kr0t-k", "nowehasloniezlozone")
    """Too short, not complex. The history does not bind a reset in Active Directory."""

    def __init__(self, server: Samba) -> None:
        self._server = server

    def connect(self, who: str, password: str) -> Any:
        import ldap

        handle = ldap.initialize(self._server.url)
        handle.set_option(ldap.OPT_X_TLS_CACERTFILE, str(self._server.ca))
        handle.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        handle.set_option(ldap.OPT_REFERRALS, 0)
        handle.set_option(ldap.OPT_NETWORK_TIMEOUT, 10)
        handle.simple_bind_s(who, password)
        return handle

    def admin(self) -> Any:
        return self.connect(rig.ADMIN, rig.ADMIN_PASSWORD)

    def dn(self, login: str) -> str:
        ((dn, _),) = self.admin().search_s(PEOPLE, 2, f"(mail={login})", ["1.1"])
        return str(dn)

    def modify(self, login: str, **values: str | None) -> None:
        changes = [(2, name, [value.encode()] if value is not None else None) for name, value in values.items()]
        self.admin().modify_s(self.dn(login), changes)

    def read(self, login: str, name: str) -> list[str]:
        ((_, found),) = self.admin().search_s(self.dn(login), 0, "(objectClass=*)", [name])
        return [value.decode() for value in found.get(name, [])]

    async def create(self, login: str, password: str, person: Person) -> None:
        await asyncio.to_thread(self.add, login, password, person)

    def add(self, login: str, password: str, person: Person, upn: str | None = None) -> None:
        assert person.pesel is not None
        name = uuid4().hex[:18]
        entry = {
            "objectClass": "user",
            "sAMAccountName": name,
            "userPrincipalName": upn or login,
            "mail": login,
            "givenName": person.given_name or "",
            "sn": person.family_name or "",
            "employeeID": person.pesel.reveal(),
            "userAccountControl": "512",
        }
        attributes = [(key, [value.encode()]) for key, value in entry.items()]
        attributes.append(("unicodePwd", [f'"{password}"'.encode("utf-16-le")]))
        self.admin().add_s(f"CN={name},{PEOPLE}", attributes)

    async def delete(self, login: str) -> None:
        self.admin().delete_s(self.dn(login))

    async def rename(self, login: str, new_login: str) -> None:
        self.modify(login, mail=new_login, userPrincipalName=new_login)

    async def lock(self, login: str) -> None:
        for _ in range(rig.MAX_FAILURES):
            assert not await self.sign_in(login, "wrong-password")
        assert int(self.read(login, "lockoutTime")[0])

    async def disable(self, login: str) -> None:
        self.modify(login, userAccountControl="514")

    async def demand_change(self, login: str) -> None:
        self.modify(login, pwdLastSet="0")

    async def sign_in(self, login: str, password: str) -> bool:
        import ldap

        try:
            return bool(await asyncio.to_thread(self.connect, login, password))
        except ldap.INVALID_CREDENTIALS:
            return False


def settings_for(server: Samba, **more: object) -> AdSettings:
    given: dict[str, object] = {
        "url": server.url,
        "ca": server.ca,
        "bind_dn": rig.OPERATOR,
        "bind_password": rig.OPERATOR_PASSWORD,
        "base": PEOPLE,
    }
    return AdSettings.model_validate(given | more)


@pytest.fixture
def server(samba_server: Samba) -> Samba:
    return samba_server


@pytest.fixture
def workshop(server: Samba) -> Workshop:
    return Workshop(server)


@pytest.fixture
async def backend(server: Samba) -> AsyncIterator[AdIdentity]:
    identity = AdIdentity(settings_for(server), now)
    yield identity
    await identity.close()


class TestAd(IdentityConformance):
    @pytest.fixture
    async def backend(self, server: Samba) -> AsyncIterator[AdIdentity]:
        identity = AdIdentity(settings_for(server), now)
        yield identity
        await identity.close()

    @pytest.fixture
    def workshop(self, server: Samba) -> Workshop:
        return Workshop(server)

    @pytest.fixture
    def unreachable(self, server: Samba) -> AdIdentity:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return AdIdentity(settings_for(server, url=f"ldaps://127.0.0.1:{port}"), now)

    @pytest.fixture
    def refused(self, server: Samba) -> AdIdentity:
        # An account that is not there, so that no wrong password locks the operator's.
        return AdIdentity(settings_for(server, bind_dn="nobody@puesc.test"), now)


async def made(workshop: Workshop, backend: AdIdentity, login: str | None = None) -> Expected:
    login = login or new_login()
    await workshop.create(login, OLD, invented_person())
    account = await backend.find_by_login(login)
    assert account is not None
    return Expected(account.ref, account.login)


async def test_a_refused_sign_in_is_explained(server: Samba) -> None:
    identity = AdIdentity(settings_for(server, bind_dn="nobody@puesc.test"), now)
    with pytest.raises(MisconfiguredError, match=r"wrong password|no such account"):
        await identity.start()
    await identity.close()


async def test_both_names_change(workshop: Workshop, backend: AdIdentity) -> None:
    expected = await made(workshop, backend)
    new = new_login()
    assert (await backend.change_login(expected, new)).fields == ("mail", "userPrincipalName")
    assert (workshop.read(new, "mail"), workshop.read(new, "userPrincipalName")) == ([new], [new])


async def test_a_user_principal_name_of_its_own_stays(workshop: Workshop, backend: AdIdentity) -> None:
    login, upn, new = new_login(), f"{uuid4().hex[:8]}@puesc.test", new_login()
    workshop.add(login, OLD, invented_person(), upn)
    account = await backend.find_by_login(login)
    assert account is not None
    done = await backend.change_login(Expected(account.ref, login), new)
    assert done.fields == ("mail",)
    assert workshop.read(new, "userPrincipalName") == [upn]
    by_upn = await backend.find_by_login(upn)
    assert by_upn is not None
    assert by_upn.ref == account.ref


async def test_duplicate_mail_is_found_before_writing(workshop: Workshop, backend: AdIdentity) -> None:
    """Active Directory itself takes two accounts with one mail."""
    expected = await made(workshop, backend)
    taken = new_login()
    workshop.add(taken, OLD, invented_person(), f"{uuid4().hex[:8]}@puesc.test")
    with pytest.raises(LoginTakenError):
        await backend.change_login(expected, taken)
    workshop.add(taken, OLD, invented_person(), f"{uuid4().hex[:8]}@puesc.test")
    with pytest.raises(PermanentError, match="2 accounts"):
        await backend.find_by_login(taken)


async def test_a_user_principal_name_elsewhere_in_the_forest(workshop: Workshop, backend: AdIdentity) -> None:
    """Outside of the base it is the server that refuses."""
    with pytest.raises(LoginTakenError):
        await backend.change_login(await made(workshop, backend), rig.READER)


async def test_race_for_a_login_without_user_principal_names(server: Samba, workshop: Workshop) -> None:
    """Where nothing is unique at the server, never two keep the login."""
    identity = AdIdentity(settings_for(server, login_attributes=["mail"]), now)
    many = [await made(workshop, identity) for _ in range(4)]
    wanted = new_login()
    results = await asyncio.gather(*(identity.change_login(one, wanted) for one in many), return_exceptions=True)
    winners = [result for result in results if not isinstance(result, BaseException)]
    assert len(winners) <= 1
    assert all(isinstance(result, LoginTakenError) for result in results if isinstance(result, BaseException)), results
    assert len(workshop.admin().search_s(PEOPLE, 2, f"(mail={wanted})", ["1.1"])) == len(winners)
    await identity.close()


async def test_the_loser_of_a_race_takes_its_change_back(server: Samba, workshop: Workshop) -> None:
    """Another gets the mail between our look and our write; the server takes duplicates of mail."""
    identity = LosesTheRace(settings_for(server), now)
    expected = await made(workshop, identity)
    wanted = new_login()
    identity.meanwhile = lambda: workshop.add(wanted, OLD, invented_person(), f"{uuid4().hex[:8]}@puesc.test")
    with pytest.raises(LoginTakenError, match="taken back"):
        await identity.change_login(expected, wanted)
    assert workshop.read(expected.login, "userPrincipalName") == [expected.login]
    assert await workshop.sign_in(expected.login, OLD)
    await identity.close()


class LosesTheRace(AdIdentity):
    """Somebody is faster between its look and its write."""

    meanwhile: Callable[[], None]

    def _swap(self, *arguments: Any) -> None:
        self.meanwhile()
        super()._swap(*arguments)


async def test_the_policy_is_quoted(workshop: Workshop, backend: AdIdentity) -> None:
    with pytest.raises(PasswordRefusedError, match="short"):
        await backend.set_password(await made(workshop, backend), SecretStr("Kr0t-k"))


async def test_administrators_are_out_of_reach(server: Samba, workshop: Workshop) -> None:
    """Even where the delegation is too wide, okienko keeps its hands off; and `check` says that it is too wide."""
    admin = "administrator@konta.example.org"
    workshop.admin().modify_s(rig.ADMIN, [(2, "mail", [admin.encode()])])
    more: dict[str, object] = {"bind_dn": rig.WIDE, "bind_password": rig.WIDE_PASSWORD, "base": SUFFIX}
    identity = AdIdentity(settings_for(server, **more), now)
    account = await identity.find_by_login(admin)
    assert account is not None
    expected = Expected(account.ref, account.login)
    for call in (
        identity.set_password(expected, SecretStr(NEW)),
        identity.unlock(expected),
        identity.change_login(expected, new_login()),
    ):
        with pytest.raises(PermanentError, match="administrator"):
            await call
    assert await workshop.sign_in("Administrator@puesc.test", rig.ADMIN_PASSWORD)
    assert any("may change them" in f.message for f in await identity.check() if f.severity is Severity.ERROR)
    await identity.close()


@pytest.mark.parametrize("group", ["Domain Admins", "Backup Operators"])
async def test_who_became_an_administrator_is_out_of_reach(
    server: Samba, workshop: Workshop, backend: AdIdentity, group: str
) -> None:
    """Samba sets no adminCount then: the groups tell, through groups in groups."""
    expected = await made(workshop, backend)
    (name,) = workshop.read(expected.login, "sAMAccountName")
    server.tool("group", "addmembers", group, name)
    assert workshop.read(expected.login, "adminCount") == []
    with pytest.raises(PermanentError, match="administrators"):
        await backend.set_password(expected, SecretStr(NEW))
    assert await workshop.sign_in(expected.login, OLD)


async def test_check_names_missing_rights(server: Samba, workshop: Workshop, backend: AdIdentity) -> None:
    login = new_login()
    await workshop.create(login, OLD, invented_person())
    good = AdIdentity(settings_for(server, check_login=login), now)
    findings = {f.subject: f for f in await good.check()}
    assert findings["identity ad rights"].severity is Severity.OK
    assert findings["identity ad rights on administrators"].severity is Severity.OK
    more: dict[str, object] = {"bind_dn": rig.READER, "bind_password": rig.READER_PASSWORD, "check_login": login}
    reader = AdIdentity(settings_for(server, **more), now)
    (bad,) = [f for f in await reader.check() if f.severity is Severity.ERROR]
    assert bad.message == "the operator account may not write employeeid, lockouttime, mail, userprincipalname"
    expected = await made(workshop, reader)
    for call in (reader.set_password(expected, SecretStr(NEW)), reader.change_login(expected, new_login())):
        with pytest.raises(MisconfiguredError, match="right"):
            await call
    for identity in (good, reader):
        await identity.close()


async def test_reconnects(server: Samba, workshop: Workshop, backend: AdIdentity) -> None:
    expected = await made(workshop, backend)
    await asyncio.to_thread(server.stop)
    try:
        with pytest.raises(TransientError):
            await backend.unlock(expected)
    finally:
        await asyncio.to_thread(server.start)
    assert not (await backend.unlock(expected)).changed


async def test_starttls(server: Samba, workshop: Workshop) -> None:
    identity = AdIdentity(settings_for(server, url=f"ldap://{server.address}"), now)
    assert (await identity.set_password(await made(workshop, identity), SecretStr(NEW))).changed
    await identity.close()


def test_plugin(tmp_path: Path, server: Samba) -> None:
    assert okienko_identity_backends(PluginContext(home=tmp_path, environ={})) == []
    environ = {
        "OKIENKO_IDENTITY_AD_URL": server.url,
        "OKIENKO_IDENTITY_AD_BIND_DN": rig.OPERATOR,
        "OKIENKO_IDENTITY_AD_BIND_PASSWORD": rig.OPERATOR_PASSWORD,
        "OKIENKO_IDENTITY_AD_BASE": PEOPLE,
    }
    (backend,) = okienko_identity_backends(PluginContext(home=tmp_path, environ=environ))
    assert (backend.name, backend.operations) == ("ad", set(Operation) - {Operation.SEND_ACTIVATION})
    with pytest.raises(MisconfiguredError, match="OKIENKO_IDENTITY_AD_INSECURE"):
        okienko_identity_backends(PluginContext(home=tmp_path, environ=environ | {"OKIENKO_IDENTITY_AD_INSECURE": "1"}))


def test_the_document_has_the_rights_that_are_tested() -> None:
    document = (ROOT / "docs" / "identity-ad.md").read_text(encoding="utf-8")
    for guid in (rig.RESET_PASSWORD, rig.USERS, *rig.WRITABLE.values()):
        assert guid in document
