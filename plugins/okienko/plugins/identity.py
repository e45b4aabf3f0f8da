"""The port of identity backends: what okienko asks of the place where accounts live.

A backend looks accounts up and changes them one small step at a time. Every change names what it expects to find
(`Expected`), compares before it swaps, is idempotent, and reports what it did (`Done`). Nothing here ever returns a secret:
a new password is typed by the person on okienko's activation page and passed through, or the backend mails its own link.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import SecretStr

from okienko.plugins.errors import PermanentError
from okienko.plugins.findings import Finding
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel


class Operation(StrEnum):
    """What a backend may be able to do; core asks only for what `IdentityBackend.operations` names."""

    FIND_BY_LOGIN = "find_by_login"
    FIND_BY_PESEL = "find_by_pesel"
    UNLOCK = "unlock"
    SEND_ACTIVATION = "send_activation"
    """The backend mails the person an activation link of its own (mail 3 of T5)."""
    SET_PASSWORD = "set_password"  # noqa: S105  an operation's name
    """okienko mails the link (mail 3) and passes on what the person typed on its activation page."""
    CHANGE_LOGIN = "change_login"
    RELEASE_PESEL = "release_pesel"
    """Take a personal number off an account, so that its holder can have another one (rule S2, `pesel_conflict`)."""


class AccountFlag(StrEnum):
    """States of an account; several may hold at once, and none of them means that it can be used."""

    LOCKED = "locked"
    """Too many wrong passwords."""
    DISABLED = "disabled"
    """Switched off by an administrator."""
    MUST_CHANGE = "must_change"
    """The next login has to set a new password."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account, as it was when it was read."""

    ref: str
    """The backend's lasting id (entryUUID, objectGUID, SCIM id): it survives a change of login."""
    login: str
    """The login e-mail, as the backend writes it; compare it without regard to case."""
    person: Person
    """What the backend knows of the holder; parts may be missing. The PESEL is guarded."""
    flags: frozenset[AccountFlag] = frozenset()
    unknown_flags: frozenset[AccountFlag] = frozenset()
    """Flags that this backend cannot tell: their absence from `flags` means nothing."""
    version: str | None = None
    """An opaque mark that changes with the account (ETag, entryCSN), where there is one."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The account that a change was approved for. A backend re-reads it and raises StaleError when it differs."""

    ref: str
    login: str
    """The login e-mail at the time of the approval."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a change did."""

    changed: bool
    """False: it was so already, nothing was written."""
    fields: tuple[str, ...] = ()
    """Names of what was written, for the audit log; never values."""
    after: Account | None = field(default=None)
    """The account read back after the change."""


class StaleError(PermanentError):
    """The account is not as it was when the change was approved; nothing was written."""


class AccountGoneError(StaleError):
    """The account that the change was approved for does not exist any more."""


class LoginTakenError(PermanentError):
    """Another account has the new login; nothing was written."""


class PasswordRefusedError(PermanentError):
    """The backend's password policy refuses what the person typed; the message says which rule, never the password."""


class UnsupportedOperationError(PermanentError):
    """The backend cannot do this; see `IdentityBackend.operations`."""


@runtime_checkable
class IdentityBackend(Protocol):
    """Where accounts live.

    Every method may raise TransientError (not reachable, time-out: try again) and MisconfiguredError (refused credentials,
    missing right, wrong base: stop this plugin). Methods whose operation is not in `operations` raise
    UnsupportedOperationError. No message of an error holds a PESEL or a password.
    """

    name: str
    operations: frozenset[Operation]
    """May be empty (identity by hand); read after `start`."""

    async def start(self) -> None:
        """Called once before any other call: read what the server says it can do. Idempotent."""
        ...

    async def close(self) -> None:
        """Called once at the end; closes connections."""
        ...

    async def find_by_login(self, login: str) -> Account | None:
        """The account with that login e-mail, compared without regard to case; None when there is none.

        Raises PermanentError when the backend has several: a human must look.
        """
        ...

    async def find_by_pesel(self, pesel: Pesel) -> tuple[Account, ...]:
        """Every account that carries the personal number, for the report on a PESEL conflict (rule S2).

        Disabled accounts too: what keeps the person from a new one is the number, not whether the old one works.
        """
        ...

    async def get(self, ref: str) -> Account | None:
        """The account with that lasting id, or None."""
        ...

    async def unlock(self, expected: Expected) -> Done:
        """Take the lock after wrong passwords away. An account that is not locked gives `changed=False`.

        It never lifts DISABLED.
        """
        ...

    async def send_activation(self, expected: Expected, *, lifetime_seconds: int) -> Done:
        """Make the backend mail the person a link to set a new password. Repeating it sends another mail."""
        ...

    async def set_password(self, expected: Expected, password: SecretStr) -> Done:
        """Write the password that the person chose, unlock the account and clear `must_change`.

        Raises PasswordRefusedError, and PermanentError for a disabled account: a person's new password must not switch on
        what an administrator switched off. The password stands in no log, error or result.
        """
        ...

    async def change_login(self, expected: Expected, new_login: str) -> Done:
        """Swap the login e-mail for `new_login`, atomically with the comparison where the protocol can.

        When the account has `new_login` already and the same `ref`, gives `changed=False`. Raises LoginTakenError, StaleError.
        """
        ...

    async def release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        """Take exactly this personal number off the account, and nothing else.

        An account without any number gives `changed=False`. Raises StaleError when the account carries another number: it is
        somebody else's data. The number stands in no log, error or result.
        """
        ...

    async def check(self) -> list[Finding]:
        """Try every setting, connection and right; each problem with its cure."""
        ...


def same_login(one: str, other: str) -> bool:
    """Whether two login e-mails are the same without regard to case.

    Only a letter's own capital counts: the Kelvin sign, whose lower case is an ASCII k, is not k, and no accent is dropped.
    Directories and databases match more generously, so a backend checks with this what its server found.
    """
    return _fold(one) == _fold(other)


def _fold(login: str) -> str:
    return "".join(c.lower() if c.isascii() or not c.lower().isascii() else c for c in login)


def refuse_for_password(account: Account, password: SecretStr) -> None:
    """Raise what `set_password` raises before it asks the server.

    PasswordRefusedError for an empty password (some servers take it for "none"), PermanentError for a disabled account.
    """
    if not password.get_secret_value():
        raise PasswordRefusedError("an empty password is none")
    if AccountFlag.DISABLED in account.flags:
        raise PermanentError("the account is disabled: an administrator has to decide; the password was not changed")


def require(backend: IdentityBackend, wanted: Operation, also: Collection[Operation] = ()) -> None:
    """Raise UnsupportedOperationError naming what `backend` can do, unless it can do `wanted` or one of `also`."""
    if backend.operations.isdisjoint({wanted, *also}):
        can = ", ".join(sorted(backend.operations)) or "nothing by itself"
        raise UnsupportedOperationError(
            f"the identity backend {backend.name} cannot {wanted}; it can do: {can}. An administrator has to do it by hand"
        )
