"""Both sides of accounts in a throw-away slapd: okienko's backend, and the administrator's and the person's hands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from okienko.connectors.identity.ldap.client import LdapIdentity
from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins.identity import Expected
from okienko.plugins.testing import invented_person
from okienko.plugins.testing.conformance.workshop import OLD, new_login
from okienko.schemas import Person
from rigs import slapd as rig
from rigs.slapd import PEOPLE, Slapd


def now() -> datetime:
    return datetime.now(UTC)


class LdapWorkshop:
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


async def made(workshop: LdapWorkshop, backend: LdapIdentity, login: str | None = None) -> Expected:
    login = login or new_login()
    await workshop.create(login, OLD, invented_person())
    account = await backend.find_by_login(login)
    assert account is not None
    return Expected(account.ref, account.login)
