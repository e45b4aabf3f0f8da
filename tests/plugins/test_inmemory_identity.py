"""The double of the identity port passes the same checks as the real backends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.identity import AccountFlag, Expected, Operation, same_login
from okienko.plugins.ports import Finding, Severity
from okienko.plugins.testing import InMemoryIdentity, invented_pesel
from okienko.plugins.testing.conformance import AccountsConformance
from okienko.plugins.testing.identity import StoredAccount
from okienko.schemas import Person


class Workshop:
    weak_passwords = ("krotkie",)

    def __init__(self, backend: InMemoryIdentity) -> None:
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


class Broken(InMemoryIdentity):
    """Always fails in the same way."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def _fail(self) -> None:
        raise self._error

    async def check(self) -> list[Finding]:
        return [Finding("identity memory", Severity.ERROR, str(self._error), "mend the test")]


class TestInMemory(AccountsConformance):
    @pytest.fixture
    def backend(self) -> InMemoryIdentity:
        return InMemoryIdentity()

    @pytest.fixture
    def workshop(self, backend: InMemoryIdentity) -> Workshop:
        return Workshop(backend)

    @pytest.fixture
    def unreachable(self) -> Broken:
        return Broken(TransientError("nothing answers"))

    @pytest.fixture
    def refused(self) -> Broken:
        return Broken(MisconfiguredError("wrong credentials"))


class TestFindsOnly(TestInMemory):
    """A backend that can change nothing passes as well, by refusing."""

    @pytest.fixture
    def backend(self) -> InMemoryIdentity:
        return InMemoryIdentity({Operation.FIND_BY_LOGIN})


async def test_ordered_failures() -> None:
    backend = InMemoryIdentity()
    stored = backend.add("jan@example.org", password="Stare-Haslo-1")
    expected = Expected(stored.ref, stored.login)
    backend.failures.append(TransientError("away"))
    with pytest.raises(TransientError):
        await backend.set_password(expected, SecretStr("Nowe-Haslo-1"))
    assert backend.sign_in("jan@example.org", "Stare-Haslo-1")
    backend.failures_after.append(TransientError("the answer got lost"))
    with pytest.raises(TransientError):
        await backend.change_login(expected, "anna@example.org")
    assert (await backend.change_login(expected, "anna@example.org")).changed is False


def test_invented_pesels_are_all_different_and_of_nobody() -> None:
    many = [invented_pesel() for _ in range(2000)]
    assert len(set(many)) == len(many)
    assert all(2200 <= pesel.birth_date.year <= 2299 for pesel in many)
    assert datetime.now(UTC).year < 2200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Jan@Example.ORG", "jan@example.org", True),
        ("ŻÓŁĆ@example.org", "żółć@example.org", True),
        ("\N{KELVIN SIGN}at@example.org", "kat@example.org", False),
        ("jań@example.org", "jan@example.org", False),
        ("ſtan@example.org", "stan@example.org", False),
        ("jan@example.org ", "jan@example.org", False),
        ("stra\N{LATIN SMALL LETTER SHARP S}e@example.org", "strasse@example.org", False),
    ],
)
def test_same_login(one: str, other: str, same: bool) -> None:
    assert same_login(one, other) is same_login(other, one) is same
