"""What the checks of identity backends need of an author: an administrator's and a person's hands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from okienko.plugins.identity import Account, Expected
from okienko.schemas import Person

OLD, NEW, OTHER = "Stare-Haslo-2291!", "Nowe-Haslo-Żółw-2292!", "Inne-Haslo-2293!"


class AccountWorkshop(Protocol):
    """The other side of the backend: the administrator's hands and the person's, by other means than the backend's.

    Its methods raise whatever they like; `pytest.skip` with a reason where the peer has no such thing (no lock, no sign-in).
    """

    weak_passwords: tuple[str, ...]
    """Passwords that the peer's policy refuses; empty when it has none."""

    async def create(self, login: str, password: str, person: Person) -> None:
        """A new, usable account."""
        ...

    async def delete(self, login: str) -> None:
        """The account is gone."""
        ...

    async def rename(self, login: str, new_login: str) -> None:
        """An administrator changes the login elsewhere."""
        ...

    async def lock(self, login: str) -> None:
        """Too many wrong passwords."""
        ...

    async def disable(self, login: str) -> None:
        """An administrator switches the account off."""
        ...

    async def demand_change(self, login: str) -> None:
        """The next sign-in has to set a new password."""
        ...

    async def sign_in(self, login: str, password: str) -> bool:
        """Whether the person gets in, to everything."""
        ...


@dataclass(frozen=True)
class Made:
    """An account that the workshop made."""

    account: Account
    person: Person

    @property
    def expected(self) -> Expected:
        """As a reset action approves it."""
        return Expected(self.account.ref, self.account.login)


def new_login() -> str:
    """A login that no account has."""
    return f"{uuid4().hex[:16]}@konta.example.org"
