"""The other side of MemoryIdentity's accounts, and the double when nothing answers or nobody lets it in."""

from __future__ import annotations

from okienko.plugins.identity import AccountFlag, same_login
from okienko.plugins.ports import Finding, Severity
from okienko.plugins.testing import MemoryIdentity
from okienko.plugins.testing.identity import StoredAccount
from okienko.schemas import Person


class Workshop:
    weak_passwords = ("krotkie",)

    def __init__(self, backend: MemoryIdentity) -> None:
        self._backend = backend

    def _find(self, login: str) -> StoredAccount:
        return next(one for one in self._backend.accounts.values() if same_login(one.login, login))

    async def create(self, login: str, password: str, person: Person) -> None:
        self._backend.add(login, password=password, person=person)

    async def delete(self, login: str) -> None:
        del self._backend.accounts[self._find(login).ref]

    async def rename(self, login: str, new_login: str) -> None:
        self._find(login).login = new_login

    async def lock(self, login: str) -> None:
        for _ in range(self._backend.max_failures):
            assert not self._backend.sign_in(login, "wrong")

    async def disable(self, login: str) -> None:
        self._find(login).flags.add(AccountFlag.DISABLED)

    async def demand_change(self, login: str) -> None:
        self._find(login).flags.add(AccountFlag.MUST_CHANGE)

    async def sign_in(self, login: str, password: str) -> bool:
        return self._backend.sign_in(login, password)


class Broken(MemoryIdentity):
    """Always fails in the same way."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def _fail(self) -> None:
        raise self._error

    async def check(self) -> list[Finding]:
        return [Finding("identity memory", Severity.ERROR, str(self._error), "mend the test")]
