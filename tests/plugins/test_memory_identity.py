"""The double of the identity port passes the same checks as the real backends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.identity import Expected, Operation, same_login
from okienko.plugins.testing import MemoryIdentity, invented_pesel
from okienko.plugins.testing.conformance import IdentityConformance
from plugins.memory_workshop import Broken, Workshop


class TestMemoryIdentity(IdentityConformance):
    @pytest.fixture
    def backend(self) -> MemoryIdentity:
        return MemoryIdentity()

    @pytest.fixture
    def workshop(self, backend: MemoryIdentity) -> Workshop:
        return Workshop(backend)

    @pytest.fixture
    def unreachable(self) -> Broken:
        return Broken(TransientError("nothing answers"))

    @pytest.fixture
    def refused(self) -> Broken:
        return Broken(MisconfiguredError("wrong credentials"))


class TestFindsOnly(TestMemoryIdentity):
    """A backend that can change nothing passes as well, by refusing."""

    @pytest.fixture
    def backend(self) -> MemoryIdentity:
        return MemoryIdentity({Operation.FIND_BY_LOGIN})


async def test_ordered_failures() -> None:
    backend = MemoryIdentity()
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
