"""Checks of the port `okienko.plugins.identity.IdentityBackend`, on real accounts that the author's workshop makes."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from pydantic import SecretStr

from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.identity import (
    Account,
    AccountFlag,
    AccountGoneError,
    Done,
    Expected,
    IdentityBackend,
    LoginTakenError,
    Operation,
    PasswordRefusedError,
    StaleError,
    UnsupportedOperationError,
)
from okienko.plugins.ports import Severity
from okienko.plugins.testing.conformance.findings import assert_findings
from okienko.plugins.testing.conformance.workshop import NEW, OLD, OTHER, AccountWorkshop, Made, new_login
from okienko.plugins.testing.people import invented_person, invented_pesel


@pytest.mark.asyncio
class IdentityConformance:
    """Subclass it as `Test…` and give it the fixtures below. Other accounts may be there; each check makes its own."""

    @pytest.fixture
    def backend(self) -> IdentityBackend:
        """The object to check, not yet started; close it after the test."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def workshop(self) -> AccountWorkshop:
        """The other side of the same accounts."""
        raise NotImplementedError("override the fixture `workshop`")

    @pytest.fixture
    def unreachable(self) -> IdentityBackend:
        """The same, where nothing answers."""
        raise NotImplementedError("override the fixture `unreachable`")

    @pytest.fixture
    def refused(self) -> IdentityBackend:
        """The same, with wrong credentials."""
        raise NotImplementedError("override the fixture `refused`")

    async def test_port(self, backend: IdentityBackend) -> None:
        """It has every member of the port and a name; starting and closing twice are no errors."""
        assert isinstance(backend, IdentityBackend)
        assert backend.name
        for _ in range(2):
            await backend.start()
        assert backend.operations <= set(Operation)
        for _ in range(2):
            await backend.close()

    async def test_operations_are_told_truly(self, backend: IdentityBackend) -> None:
        """What is not in `operations` is refused as unsupported, before anything is looked at."""
        await backend.start()
        ghost = Expected("no such account", new_login())
        for operation in set(Operation) - backend.operations:
            with pytest.raises(UnsupportedOperationError):
                await self._call(backend, operation, ghost)

    # --- finding ----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "login",
        [
            "nobody@example.invalid",
            "",
            " ",
            "*",
            "a)(mail=*",
            '" or "1" eq "1',
            "'; --",
            "\0",
            "ż" * 300,
            "\ud83d@x.org",
        ],
    )
    async def test_unknown_login(self, backend: IdentityBackend, workshop: AccountWorkshop, login: str) -> None:
        """Whatever the text: it is not there, although other accounts are."""
        await self._made(backend, workshop)
        assert await backend.find_by_login(login) is None

    async def test_found_by_login(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Without regard to case, with the person, and by the lasting id as well."""
        made = await self._made(backend, workshop)
        assert made.account.flags == frozenset()
        assert await backend.find_by_login(made.account.login.upper()) == made.account
        assert await backend.get(made.account.ref) == made.account
        person = made.account.person
        assert (person.given_name, person.family_name) == (made.person.given_name, made.person.family_name)

    async def test_nearly_the_same_login(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Part of a login, an accent more, or a letter that only looks like one in lower case is another login."""
        made = await self._made(backend, workshop, login="k" + new_login())
        login = made.account.login
        for other in (login[1:], login[:-1], "x" + login, "\N{KELVIN SIGN}" + login[1:], login.replace("o", "ó")):
            assert await backend.find_by_login(other) is None, ascii(other)

    async def test_unknown_ref(self, backend: IdentityBackend) -> None:
        """An id of no account gives None, whatever its form."""
        await backend.start()
        for ref in (str(uuid4()), "", "*", "no such account", "../x", "a)(b=*"):
            assert await backend.get(ref) is None

    async def test_found_by_pesel(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Every account with that number and no other; neither representation nor text shows it."""
        await self._able(backend, Operation.FIND_BY_PESEL)
        one, other = await self._made(backend, workshop), await self._made(backend, workshop)
        assert one.person.pesel is not None
        found = await backend.find_by_pesel(one.person.pesel)
        assert [account.ref for account in found] == [one.account.ref]
        assert other.account.ref not in {account.ref for account in found}
        assert one.person.pesel.reveal() not in f"{found!r} {found}"
        assert await backend.find_by_pesel(invented_pesel()) == ()

    # --- unlocking --------------------------------------------------------------------------------------------------------

    async def test_unlock(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Locked, refused, unlocked, let in; once more changes nothing."""
        await self._able(backend, Operation.UNLOCK)
        made = await self._made(backend, workshop)
        login = made.account.login
        await workshop.lock(login)
        assert AccountFlag.LOCKED in (await self._found(backend, login)).flags
        assert not await workshop.sign_in(login, OLD)
        done = await backend.unlock(made.expected)
        self._assert_changed(done, made.account.ref, login)
        assert await workshop.sign_in(login, OLD)
        assert await backend.unlock(made.expected) == Done(changed=False, after=await backend.get(made.account.ref))

    async def test_unlock_at_once(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Two workers at the same time: both end well, and the account is unlocked."""
        await self._able(backend, Operation.UNLOCK)
        made = await self._made(backend, workshop)
        await workshop.lock(made.account.login)
        done = await asyncio.gather(*(backend.unlock(made.expected) for _ in range(4)))
        assert all(one.after is not None and AccountFlag.LOCKED not in one.after.flags for one in done)
        assert any(one.changed for one in done)

    async def test_disabled_stays_disabled(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Neither unlocking nor a new password switches on what an administrator switched off."""
        made = await self._made(backend, workshop)
        login = made.account.login
        await workshop.disable(login)
        assert AccountFlag.DISABLED in (await self._found(backend, login)).flags
        if Operation.UNLOCK in backend.operations:
            assert not (await backend.unlock(made.expected)).changed
        if Operation.SET_PASSWORD in backend.operations:
            with pytest.raises(PermanentError):
                await backend.set_password(made.expected, SecretStr(NEW))
        assert AccountFlag.DISABLED in (await self._found(backend, login)).flags
        assert not await workshop.sign_in(login, OLD)
        assert not await workshop.sign_in(login, NEW)

    # --- passwords --------------------------------------------------------------------------------------------------------

    async def test_set_password(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """The new password is let in, the old one is not; it is the person's own, so nothing has to be changed again."""
        await self._able(backend, Operation.SET_PASSWORD)
        made = await self._made(backend, workshop)
        done = await backend.set_password(made.expected, SecretStr(NEW))
        self._assert_changed(done, made.account.ref, made.account.login)
        assert NEW not in repr(done)
        assert await workshop.sign_in(made.account.login, NEW)
        assert not await workshop.sign_in(made.account.login, OLD)

    async def test_set_password_of_a_locked_account(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """It unlocks as well."""
        await self._able(backend, Operation.SET_PASSWORD)
        made = await self._made(backend, workshop)
        await workshop.lock(made.account.login)
        done = await backend.set_password(made.expected, SecretStr(NEW))
        self._assert_changed(done, made.account.ref, made.account.login)
        assert await workshop.sign_in(made.account.login, NEW)

    async def test_set_password_that_must_change(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """It clears must-change."""
        await self._able(backend, Operation.SET_PASSWORD)
        made = await self._made(backend, workshop)
        login = made.account.login
        await workshop.demand_change(login)
        assert AccountFlag.MUST_CHANGE in (await self._found(backend, login)).flags
        done = await backend.set_password(made.expected, SecretStr(NEW))
        self._assert_changed(done, made.account.ref, login)
        assert await workshop.sign_in(login, NEW)

    async def test_refused_password(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """What the policy refuses changes nothing, and the message does not quote it. An empty one is refused always."""
        await self._able(backend, Operation.SET_PASSWORD)
        made = await self._made(backend, workshop)
        for weak in ("", *workshop.weak_passwords):
            with pytest.raises(PasswordRefusedError) as caught:
                await backend.set_password(made.expected, SecretStr(weak))
            assert str(caught.value)
            assert not weak or weak not in str(caught.value)
        assert await workshop.sign_in(made.account.login, OLD)

    async def test_activation(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """The backend takes the order to mail a link, as often as it is given."""
        await self._able(backend, Operation.SEND_ACTIVATION)
        made = await self._made(backend, workshop)
        for _ in range(2):
            assert (await backend.send_activation(made.expected, lifetime_seconds=3600)).changed

    # --- logins -----------------------------------------------------------------------------------------------------------

    async def test_change_login(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """The new login is let in, the old one is not and is free; same id; once more changes nothing."""
        await self._able(backend, Operation.CHANGE_LOGIN)
        made = await self._made(backend, workshop)
        new = new_login()
        done = await backend.change_login(made.expected, new)
        self._assert_changed(done, made.account.ref, new)
        assert await workshop.sign_in(new, OLD)
        assert not await workshop.sign_in(made.account.login, OLD)
        assert await backend.find_by_login(made.account.login) is None
        after = await self._found(backend, new)
        assert (after.ref, after.person) == (made.account.ref, made.account.person)
        assert await backend.change_login(made.expected, new) == Done(changed=False, after=after)

    async def test_taken_login(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Another account's login, in any case, is refused and nothing is written."""
        await self._able(backend, Operation.CHANGE_LOGIN)
        made, other = await self._made(backend, workshop), await self._made(backend, workshop)
        for taken in (other.account.login, other.account.login.upper()):
            with pytest.raises(LoginTakenError):
                await backend.change_login(made.expected, taken)
        assert await backend.get(made.account.ref) == made.account
        assert await backend.get(other.account.ref) == other.account

    async def test_race_for_a_login(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Two accounts want one login at the same moment: never do both get it, and who is told yes has it."""
        await self._able(backend, Operation.CHANGE_LOGIN)
        made = [await self._made(backend, workshop) for _ in range(2)]
        wanted = new_login()
        results = await asyncio.gather(
            *(backend.change_login(one.expected, wanted) for one in made), return_exceptions=True
        )
        winners = [one.account.ref for one, result in zip(made, results, strict=True) if isinstance(result, Done)]
        assert all(isinstance(result, Done | LoginTakenError) for result in results), results
        assert len(winners) <= 1
        holder = await backend.find_by_login(wanted)
        assert [holder.ref] == winners if holder is not None else winners == []

    # --- personal numbers -----------------------------------------------------------------------------------------------

    async def test_release_pesel(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """The number is gone and nothing else is; once more changes nothing; another account keeps its own."""
        await self._able(backend, Operation.RELEASE_PESEL)
        made, other = await self._made(backend, workshop), await self._made(backend, workshop)
        pesel, login = made.person.pesel, made.account.login
        assert pesel is not None
        done = await backend.release_pesel(made.expected, pesel)
        self._assert_changed(done, made.account.ref, login)
        assert pesel.reveal() not in f"{done!r} {done}"
        after = await self._found(backend, login)
        assert after.person.pesel is None
        before = made.account.person
        assert (after.person.given_name, after.person.family_name) == (before.given_name, before.family_name)
        assert after.flags == made.account.flags
        assert await backend.release_pesel(made.expected, pesel) == Done(changed=False, after=after)
        assert await backend.get(other.account.ref) == other.account
        if Operation.FIND_BY_PESEL in backend.operations:
            assert await backend.find_by_pesel(pesel) == ()
        assert await workshop.sign_in(login, OLD)

    async def test_release_another_pesel(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """An account that carries another number is somebody else's: refused, nothing is written, nothing is quoted."""
        await self._able(backend, Operation.RELEASE_PESEL)
        made, other = await self._made(backend, workshop), await self._made(backend, workshop)
        for wrong in (other.person.pesel, invented_pesel()):
            assert wrong is not None
            with pytest.raises(StaleError) as caught:
                await backend.release_pesel(made.expected, wrong)
            assert wrong.reveal() not in str(caught.value)
        assert await backend.get(made.account.ref) == made.account
        assert await backend.get(other.account.ref) == other.account

    async def test_release_pesel_at_once(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """Several workers at the same time: all end well, and the number is gone."""
        await self._able(backend, Operation.RELEASE_PESEL)
        made = await self._made(backend, workshop)
        pesel = made.person.pesel
        assert pesel is not None
        done = await asyncio.gather(*(backend.release_pesel(made.expected, pesel) for _ in range(4)))
        assert all(one.after is not None and one.after.person.pesel is None for one in done)
        assert any(one.changed for one in done)

    # --- what was approved is no more -----------------------------------------------------------------------------------

    async def test_stale(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """The login is another one than at the approval: every change is refused, and nothing is written."""
        made = await self._made(backend, workshop)
        renamed = new_login()
        await workshop.rename(made.account.login, renamed)
        before = await backend.get(made.account.ref)
        for operation in self._changes(backend):
            with pytest.raises(StaleError):
                await self._call(backend, operation, made.expected)
        assert await backend.get(made.account.ref) == before
        assert await workshop.sign_in(renamed, OLD)

    async def test_wrong_person(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """One account's id with another's login: every change is refused, and both stay as they are."""
        one, other = await self._made(backend, workshop), await self._made(backend, workshop)
        for operation in self._changes(backend):
            with pytest.raises(StaleError):
                await self._call(backend, operation, Expected(one.account.ref, other.account.login))
        for made in (one, other):
            assert await backend.get(made.account.ref) == made.account
            assert await workshop.sign_in(made.account.login, OLD)

    async def test_gone(self, backend: IdentityBackend, workshop: AccountWorkshop) -> None:
        """The account was deleted, and perhaps made anew with the same login: that is another account."""
        made = await self._made(backend, workshop)
        await workshop.delete(made.account.login)
        await workshop.create(made.account.login, OTHER, invented_person())
        for operation in self._changes(backend):
            with pytest.raises(AccountGoneError):
                await self._call(backend, operation, made.expected)
        assert await backend.get(made.account.ref) is None
        assert await workshop.sign_in(made.account.login, OTHER)

    # --- trouble ----------------------------------------------------------------------------------------------------------

    async def test_unreachable(self, unreachable: IdentityBackend) -> None:
        """Nothing answers: try again. `check` says it and does not raise."""
        with pytest.raises(TransientError):
            await unreachable.start()
        with pytest.raises(TransientError):
            await unreachable.get(str(uuid4()))
        await self._assert_bad_check(unreachable)
        await unreachable.close()

    async def test_refused_credentials(self, refused: IdentityBackend) -> None:
        """Our own credentials are refused: no retry will help. `check` says it and does not raise."""
        with pytest.raises(MisconfiguredError):
            await refused.start()
        with pytest.raises(MisconfiguredError):
            await refused.get(str(uuid4()))
        await self._assert_bad_check(refused)
        await refused.close()

    async def test_check(self, backend: IdentityBackend) -> None:
        """`okienko check` gets something to show, and no error where all is well."""
        await backend.start()
        findings = await backend.check()
        assert_findings(findings)
        assert [finding for finding in findings if finding.severity is Severity.ERROR] == []

    # --- helpers ----------------------------------------------------------------------------------------------------------

    async def _able(self, backend: IdentityBackend, operation: Operation) -> None:
        await backend.start()
        if operation not in backend.operations:
            pytest.skip(f"{backend.name} cannot {operation}; test_operations_are_told_truly looks at that")

    async def _made(self, backend: IdentityBackend, workshop: AccountWorkshop, login: str | None = None) -> Made:
        await backend.start()
        login, person = login or new_login(), invented_person()
        await workshop.create(login, OLD, person)
        return Made(await self._found(backend, login), person)

    async def _found(self, backend: IdentityBackend, login: str) -> Account:
        account = await backend.find_by_login(login)
        assert account is not None
        assert account.login.lower() == login.lower()
        return account

    async def _call(self, backend: IdentityBackend, operation: Operation, expected: Expected) -> object:
        match operation:
            case Operation.FIND_BY_LOGIN:
                return await backend.find_by_login(expected.login)
            case Operation.FIND_BY_PESEL:
                return await backend.find_by_pesel(invented_pesel())
            case Operation.UNLOCK:
                return await backend.unlock(expected)
            case Operation.SEND_ACTIVATION:
                return await backend.send_activation(expected, lifetime_seconds=3600)
            case Operation.SET_PASSWORD:
                return await backend.set_password(expected, SecretStr(NEW))
            case Operation.CHANGE_LOGIN:
                return await backend.change_login(expected, new_login())
            case Operation.RELEASE_PESEL:
                return await backend.release_pesel(expected, invented_pesel())

    def _changes(self, backend: IdentityBackend) -> list[Operation]:
        return sorted(backend.operations - {Operation.FIND_BY_LOGIN, Operation.FIND_BY_PESEL})

    def _assert_changed(self, done: Done, ref: str, login: str) -> None:
        assert done.changed
        assert done.fields
        assert done.after is not None
        assert (done.after.ref, done.after.login) == (ref, login)
        assert not done.after.flags & {AccountFlag.LOCKED, AccountFlag.MUST_CHANGE}

    async def _assert_bad_check(self, backend: IdentityBackend) -> None:
        try:
            findings = await backend.check()
        except OkienkoError as error:
            pytest.fail(f"check() raised {error!r}: it must give a finding with a cure instead")
        assert_findings(findings)
        assert any(finding.severity is Severity.ERROR for finding in findings)
