"""The OpenLDAP connector against a real slapd."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from okienko.connectors.identity.ldap.client import LdapIdentity
from okienko.plugins.errors import PermanentError
from okienko.plugins.identity import AccountFlag, LoginTakenError, PasswordRefusedError, StaleError
from okienko.plugins.testing import invented_person
from okienko.plugins.testing.conformance import IdentityConformance
from okienko.plugins.testing.conformance.workshop import NEW, OLD, new_login
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


async def test_the_loser_of_a_race_takes_its_change_back() -> None:
    """Another gets the login between our look and our write, on a server that takes duplicates."""
    with slapd(unique=False) as loose:
        workshop = Workshop(loose)
        identity = LosesTheRace(settings_for(loose), now)
        expected = await made(workshop, identity)
        wanted = new_login()
        identity.meanwhile = lambda: workshop.add(wanted, invented_person())
        with pytest.raises(LoginTakenError, match="taken back"):
            await identity.change_login(expected, wanted)
        assert await workshop.sign_in(expected.login, OLD)
        assert len(workshop.admin().search_s(PEOPLE, 2, f"(mail={wanted})", ["1.1"])) == 1
        await identity.close()


class LosesTheRace(LdapIdentity):
    """Somebody is faster between its look and its write."""

    meanwhile: Callable[[], None]

    def _swap(self, *arguments: Any) -> None:
        self.meanwhile()
        super()._swap(*arguments)


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
