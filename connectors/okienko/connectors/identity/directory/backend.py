"""What an identity backend on a directory is, whatever the server: find, compare, change, read back.

What servers do differently stands in the subclasses `LdapIdentity` and `AdIdentity`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import SecretStr

from okienko.connectors.identity.directory.check import check_directory
from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.entry import Change, Entry, fields, login_changes
from okienko.connectors.identity.directory.faults import (
    ASSERTION_FAILED,
    CONSTRAINT,
    NO_SUCH_ATTRIBUTE,
    NO_SUCH_OBJECT,
    VALUE_EXISTS,
    DirectoryError,
)
from okienko.connectors.identity.directory.features import Features, read_features
from okienko.connectors.identity.directory.filters import any_of, both, equals
from okienko.connectors.identity.directory.people import carrying
from okienko.connectors.identity.directory.pool import Pool
from okienko.connectors.identity.directory.settings import DirectorySettings
from okienko.plugins.errors import PermanentError
from okienko.plugins.identity import (
    Account,
    AccountFlag,
    AccountGoneError,
    Done,
    Expected,
    LoginTakenError,
    Operation,
    PasswordRefusedError,
    StaleError,
    require,
    same_login,
)
from okienko.plugins.ports import Finding
from okienko.schemas.pesel import Pesel

_CHANGED_MEANWHILE = (NO_SUCH_ATTRIBUTE, ASSERTION_FAILED, NO_SUCH_OBJECT)


T = TypeVar("T")
_ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f\ud800-\udfff]+@[^@\s\x00-\x1f\x7f\ud800-\udfff]+")


class DirectoryIdentity(ABC):
    """See IdentityBackend."""

    name: str

    def __init__(self, settings: DirectorySettings, now: Callable[[], datetime]) -> None:
        self.operations = settings.operations
        self._settings = settings
        self._now = now
        self._pool = Pool(settings)
        self._features: Features | None = None

    # --- what servers do differently --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def attributes(self) -> tuple[str, ...]:
        """The attributes to read for an account."""

    @abstractmethod
    def ref_filter(self, ref: str) -> str | None:
        """The filter for the account's lasting id; None when that is no id."""

    @abstractmethod
    def account(self, entry: Entry, login: str | None = None) -> Account:
        """The account; `login` is the value to show when it has several."""

    @abstractmethod
    def unlock_changes(self, entry: Entry) -> tuple[Change, ...]:
        """What takes the lock after wrong passwords away."""

    @abstractmethod
    def password_changes(self, entry: Entry, password: str) -> tuple[Change, ...]:
        """What sets a password that the person chose, unlocks and clears must-change. Raises PasswordRefusedError."""

    @abstractmethod
    def password_refusal(self, fault: DirectoryError) -> str | None:
        """The rule that the result of setting a password names; None when it was no refusal."""

    @abstractmethod
    def is_taken(self, fault: DirectoryError) -> bool:
        """Whether the result of a change of login says that another account has it."""

    @abstractmethod
    def own_checks(self, connection: Connection, features: Features) -> list[Finding]:
        """What `check` tries beyond connection, base and schema."""

    def assertion(self, expected: Expected, extra: str = "") -> str | None:
        """A filter that the server compares atomically with a change; None when it cannot."""
        del expected, extra
        return None

    def not_ours(self, connection: Connection, entry: Entry) -> str | None:
        """Why okienko must keep its hands off the account; None when it may change it."""
        del connection, entry
        return None

    # --- the port ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See IdentityBackend."""
        if self._features is None:
            self._features = await self._pool.run("reading what the server can do", read_features)

    async def close(self) -> None:
        """See IdentityBackend."""
        await self._pool.close()

    async def find_by_login(self, login: str) -> Account | None:
        """See IdentityBackend."""
        require(self, Operation.FIND_BY_LOGIN)
        names = self._settings.login_attributes
        if not login.strip():
            return None

        def work(connection: Connection) -> list[Entry]:
            found = self._search(connection, any_of(names, login))
            # Servers match more generously than we may: Active Directory takes an accent for none.
            return [entry for entry in found if any(same_login(value, login) for value in entry.logins(names))]

        found = await self._run("finding a login", work)
        if len(found) > 1:
            raise PermanentError(f"{self.name}: {len(found)} accounts have one login; a person has to look")
        return self.account(found[0], login) if found else None

    async def find_by_pesel(self, pesel: Pesel) -> tuple[Account, ...]:
        """See IdentityBackend."""
        require(self, Operation.FIND_BY_PESEL)
        attribute = self._settings.pesel_attribute or ""
        found = await self._run(
            "finding a personal number", lambda connection: self._search(connection, equals(attribute, pesel.reveal()))
        )
        return tuple(account for account in map(self.account, found) if account.person.pesel == pesel)

    async def get(self, ref: str) -> Account | None:
        """See IdentityBackend."""
        entry = await self._run("reading an account", lambda connection: self._by_ref(connection, ref))
        return self.account(entry) if entry is not None else None

    async def unlock(self, expected: Expected) -> Done:
        """See IdentityBackend."""
        require(self, Operation.UNLOCK)

        def work(connection: Connection) -> Done:
            entry, account = self._expected(connection, expected)
            if AccountFlag.LOCKED not in account.flags:
                return Done(changed=False, after=account)
            changes = self.unlock_changes(entry)
            try:
                connection.modify(entry.dn, changes, assertion=self.assertion(expected))
            except DirectoryError as fault:
                if fault.result not in _CHANGED_MEANWHILE:
                    raise
                # Somebody else was faster; unlocked by them is unlocked, too.
                _, account = self._expected(connection, expected)
                if AccountFlag.LOCKED in account.flags:
                    raise StaleError(f"the account {expected.ref} changed while it was being unlocked") from None
                return Done(changed=False, after=account)
            return self._done(connection, expected.ref, expected.login, changes)

        return await self._run("unlocking an account", work)

    async def send_activation(self, expected: Expected, *, lifetime_seconds: int) -> Done:
        """See IdentityBackend. A directory sends no mail: always UnsupportedOperationError."""
        del expected, lifetime_seconds
        require(self, Operation.SEND_ACTIVATION)
        raise AssertionError("settings refuse this operation")

    async def set_password(self, expected: Expected, password: SecretStr) -> Done:
        """See IdentityBackend."""
        require(self, Operation.SET_PASSWORD)
        if not password.get_secret_value():
            # A bind with an empty password signs nobody in and succeeds (RFC 4513, 5.1.2).
            raise PasswordRefusedError("a password cannot be empty")

        def work(connection: Connection) -> Done:
            entry, account = self._expected(connection, expected)
            if AccountFlag.DISABLED in account.flags:
                raise PermanentError(f"the account {expected.ref} is disabled; who disabled it has to enable it first")
            changes = self.password_changes(entry, password.get_secret_value())
            try:
                connection.modify(entry.dn, changes, assertion=self.assertion(expected, self.still_enabled))
            except DirectoryError as fault:
                if fault.result in _CHANGED_MEANWHILE:
                    raise StaleError(f"the account {expected.ref} changed while its password was being set") from None
                rule = self.password_refusal(fault)
                if rule is None:
                    raise
                raise PasswordRefusedError(without(password, rule)) from None
            return self._done(connection, expected.ref, expected.login, changes)

        return await self._run("setting a password", work)

    still_enabled = ""
    """For `assertion`: a filter that a disabled account does not match, where the server keeps that in an attribute."""

    async def change_login(self, expected: Expected, new_login: str) -> Done:
        """See IdentityBackend."""
        require(self, Operation.CHANGE_LOGIN)
        if not _ADDRESS.fullmatch(new_login):
            raise PermanentError("the new login is no e-mail address")
        names = self._settings.login_attributes

        def work(connection: Connection) -> Done:
            entry = self._by_ref(connection, expected.ref)
            if entry is None:
                raise AccountGoneError(f"there is no account {expected.ref} any more")
            logins = entry.logins(names)
            has_new = any(same_login(value, new_login) for value in logins)
            changes = login_changes(entry, names, expected.login, new_login)
            if has_new and (not changes or same_login(expected.login, new_login)):
                return Done(changed=False, after=self.account(entry, new_login))
            entry, _ = self._expected(connection, expected)
            if self._others(connection, new_login, expected.ref):
                raise LoginTakenError("another account has the new login")
            self._swap(connection, entry, changes, expected)
            if self._others(connection, new_login, expected.ref):
                # Both looked before either wrote, and this server takes duplicates: nobody keeps it.
                back = login_changes(self._again(connection, expected.ref), names, new_login, expected.login)
                connection.modify(entry.dn, back)
                raise LoginTakenError("another account got the new login at the same moment; the change was taken back")
            return self._done(connection, expected.ref, new_login, changes)

        return await self._run("changing a login", work)

    async def release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        """See IdentityBackend. The stored value is deleted by name, which is the comparison."""
        require(self, Operation.RELEASE_PESEL)
        attribute = self._settings.pesel_attribute or ""

        def look(connection: Connection) -> tuple[Entry, Account, tuple[bytes, ...]]:
            entry, account = self._expected(connection, expected)
            found = carrying(entry, attribute, pesel)
            if not found and entry.raw(attribute):
                raise StaleError(f"the account {expected.ref} carries another personal number")
            return entry, account, found

        def work(connection: Connection) -> Done:
            entry, account, found = look(connection)
            if not found:
                return Done(changed=False, after=account)
            changes = (Change("delete", attribute, found),)
            try:
                connection.modify(entry.dn, changes, assertion=self.assertion(expected))
            except DirectoryError as fault:
                if fault.result not in _CHANGED_MEANWHILE:
                    raise
                # Somebody else was faster; released by them is released, too.
                _, account, found = look(connection)
                if found:
                    raise StaleError(f"the account {expected.ref} changed while its number was released") from None
                return Done(changed=False, after=account)
            return self._done(connection, expected.ref, expected.login, changes)

        return await self._run("releasing a personal number", work)

    async def check(self) -> list[Finding]:
        """See IdentityBackend."""
        return await self._pool.thread(
            lambda: check_directory(self.name, self._settings, self._now(), self.attributes, self.own_checks)
        )

    # --- steps --------------------------------------------------------------------------------------------------------

    async def _run(self, doing: str, work: Callable[[Connection], T]) -> T:
        await self.start()
        return await self._pool.run(f"{self.name}: {doing}", work)

    def _search(self, connection: Connection, filter_: str) -> list[Entry]:
        base = self._settings.base or ""
        return connection.search(base, "sub", both(self._settings.account_filter, filter_), self.attributes)

    def _by_ref(self, connection: Connection, ref: str) -> Entry | None:
        filter_ = self.ref_filter(ref)
        return next(iter(self._search(connection, filter_)), None) if filter_ else None

    def _again(self, connection: Connection, ref: str) -> Entry:
        entry = self._by_ref(connection, ref)
        if entry is None:
            raise AccountGoneError(f"there is no account {ref} any more")
        return entry

    def _expected(self, connection: Connection, expected: Expected) -> tuple[Entry, Account]:
        entry = self._again(connection, expected.ref)
        if not any(same_login(value, expected.login) for value in entry.logins(self._settings.login_attributes)):
            raise StaleError(f"the account {expected.ref} has not the login that it had at the approval")
        if (reason := self.not_ours(connection, entry)) is not None:
            raise PermanentError(f"the account {expected.ref} is not changed by okienko: {reason}")
        return entry, self.account(entry, expected.login)

    def _others(self, connection: Connection, login: str, ref: str) -> bool:
        """Whether something else below the base has the login, by the server's own, generous comparison."""
        own = self.ref_filter(ref) or ""
        wanted = both(any_of(self._settings.login_attributes, login), f"(!{own})")
        return bool(connection.search(self._settings.base or "", "sub", wanted, ["1.1"]))

    def _swap(self, connection: Connection, entry: Entry, changes: Sequence[Change], expected: Expected) -> None:
        try:
            # No assertion: the deletion of the old login compares, and slapo-unique stumbles over that control.
            connection.modify(entry.dn, changes)
        except DirectoryError as fault:
            if fault.result in _CHANGED_MEANWHILE:
                raise StaleError(f"the account {expected.ref} changed while its login was being changed") from None
            if fault.result in (CONSTRAINT, VALUE_EXISTS) and self.is_taken(fault):
                raise LoginTakenError("another account has the new login") from None
            raise

    def _done(self, connection: Connection, ref: str, login: str, changes: Sequence[Change]) -> Done:
        return Done(changed=True, fields=fields(changes), after=self.account(self._again(connection, ref), login))


def without(password: SecretStr, text: str) -> str:
    """A server's words, or none of them when they quote the password."""
    return "the password policy refuses it" if password.get_secret_value() in text else text
