"""An identity backend in memory that keeps every promise of the port `okienko.plugins.identity.IdentityBackend`."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import uuid4

from pydantic import SecretStr

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
from okienko.plugins.ports import Finding, Severity
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel


@dataclass
class StoredAccount:
    """An account of MemoryIdentity; a test may change it as an administrator would."""

    ref: str
    login: str
    person: Person
    password: SecretStr
    flags: set[AccountFlag] = field(default_factory=set)
    failures: int = 0
    version: int = 1

    def shown(self) -> Account:
        """As the port shows it."""
        return Account(self.ref, self.login, self.person, frozenset(self.flags), version=str(self.version))


class MemoryIdentity:
    """See IdentityBackend. Its accounts are in `accounts`, by ref; links it was told to mail are in `activations`.

    An error put into `failures` is raised by the next call instead of its work; one in `failures_after` when the work is
    done: the answer that got lost.
    """

    max_failures = 3
    min_password_length = 8

    def __init__(self, operations: Collection[Operation] = tuple(Operation), *, name: str = "memory") -> None:
        self.name = name
        self.operations = frozenset(operations)
        self.accounts: dict[str, StoredAccount] = {}
        self.activations: list[tuple[str, int]] = []
        """Ref of the account and lifetime in seconds, for each mail."""
        self.failures: deque[Exception] = deque()
        self.failures_after: deque[Exception] = deque()

    # --- for tests: the administrator's and the person's side ---------------------------------------------------------

    def add(
        self, login: str, *, person: Person | None = None, password: str = "", flags: Collection[AccountFlag] = ()
    ) -> StoredAccount:
        """A new account."""
        stored = StoredAccount(str(uuid4()), login, person or Person(), SecretStr(password), set(flags))
        self.accounts[stored.ref] = stored
        return stored

    def sign_in(self, login: str, password: str) -> bool:
        """Whether the person gets in; too many wrong passwords lock the account."""
        stored = next((one for one in self.accounts.values() if same_login(one.login, login)), None)
        if stored is None or stored.flags or not password:
            return False
        if stored.password.get_secret_value() == password:
            stored.failures = 0
            return True
        stored.failures += 1
        if stored.failures >= self.max_failures:
            stored.flags.add(AccountFlag.LOCKED)
        return False

    # --- the port -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See IdentityBackend."""
        self._fail()

    async def close(self) -> None:
        """See IdentityBackend."""

    async def find_by_login(self, login: str) -> Account | None:
        """See IdentityBackend."""
        require(self, Operation.FIND_BY_LOGIN)
        self._fail()
        found = [one for one in self.accounts.values() if same_login(one.login, login)]
        if len(found) > 1:
            raise PermanentError(f"{self.name}: {len(found)} accounts have one login; a person has to look")
        return found[0].shown() if found else None

    async def find_by_pesel(self, pesel: Pesel) -> tuple[Account, ...]:
        """See IdentityBackend."""
        require(self, Operation.FIND_BY_PESEL)
        self._fail()
        return tuple(one.shown() for one in self.accounts.values() if one.person.pesel == pesel)

    async def get(self, ref: str) -> Account | None:
        """See IdentityBackend."""
        self._fail()
        stored = self.accounts.get(ref)
        return stored.shown() if stored else None

    async def unlock(self, expected: Expected) -> Done:
        """See IdentityBackend."""
        require(self, Operation.UNLOCK)
        stored = self._expected(expected)
        if AccountFlag.LOCKED not in stored.flags:
            return Done(changed=False, after=stored.shown())
        stored.flags.discard(AccountFlag.LOCKED)
        stored.failures = 0
        return self._done(stored, "locked")

    async def send_activation(self, expected: Expected, *, lifetime_seconds: int) -> Done:
        """See IdentityBackend."""
        require(self, Operation.SEND_ACTIVATION)
        stored = self._expected(expected)
        self.activations.append((stored.ref, lifetime_seconds))
        return self._done(stored, "activation")

    async def set_password(self, expected: Expected, password: SecretStr) -> Done:
        """See IdentityBackend."""
        require(self, Operation.SET_PASSWORD)
        stored = self._expected(expected)
        if AccountFlag.DISABLED in stored.flags:
            raise PermanentError(f"the account {stored.ref} is disabled; who disabled it has to enable it first")
        if len(password.get_secret_value()) < self.min_password_length:
            raise PasswordRefusedError(f"a password has at least {self.min_password_length} characters")
        stored.password, stored.failures = password, 0
        stored.flags -= {AccountFlag.LOCKED, AccountFlag.MUST_CHANGE}
        return self._done(stored, "password")

    async def change_login(self, expected: Expected, new_login: str) -> Done:
        """See IdentityBackend."""
        require(self, Operation.CHANGE_LOGIN)
        self._fail()
        stored = self._stored(expected.ref)
        if same_login(stored.login, new_login):
            return Done(changed=False, after=stored.shown())
        self._compare(stored, expected)
        if any(same_login(one.login, new_login) for one in self.accounts.values()):
            raise LoginTakenError("another account has the new login")
        stored.login = new_login
        return self._done(stored, "login")

    async def release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        """See IdentityBackend."""
        require(self, Operation.RELEASE_PESEL)
        stored = self._expected(expected)
        if stored.person.pesel is None:
            return Done(changed=False, after=stored.shown())
        if stored.person.pesel != pesel:
            raise StaleError(f"the account {stored.ref} carries another personal number")
        stored.person = stored.person.model_copy(update={"pesel": None})
        return self._done(stored, "pesel")

    async def check(self) -> list[Finding]:
        """See IdentityBackend."""
        return [Finding(f"identity {self.name}", Severity.OK, f"{len(self.accounts)} accounts in memory")]

    # --- steps ------------------------------------------------------------------------------------------------------------

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.popleft()

    def _stored(self, ref: str) -> StoredAccount:
        if ref not in self.accounts:
            raise AccountGoneError(f"there is no account {ref} any more")
        return self.accounts[ref]

    def _expected(self, expected: Expected) -> StoredAccount:
        self._fail()
        stored = self._stored(expected.ref)
        self._compare(stored, expected)
        return stored

    def _compare(self, stored: StoredAccount, expected: Expected) -> None:
        if not same_login(stored.login, expected.login):
            raise StaleError(f"the account {stored.ref} has not the login that it had at the approval")

    def _done(self, stored: StoredAccount, what: str) -> Done:
        stored.version += 1
        if self.failures_after:
            raise self.failures_after.popleft()
        return Done(changed=True, fields=(what,), after=stored.shown())
