"""The backend that asks a person."""

from __future__ import annotations

from typing import NoReturn

from pydantic import SecretStr

from okienko.plugins.findings import Finding, Severity
from okienko.plugins.identity import Account, Done, Expected, Operation, UnsupportedOperationError
from okienko.schemas.pesel import Pesel


class ManualIdentity:
    """See IdentityBackend. It looks nothing up and changes nothing: rules about the account stay unknown, a human checks
    them, carries the approved action out in their own tool and marks it done.
    """

    name = "manual"
    operations: frozenset[Operation] = frozenset()

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def find_by_login(self, login: str) -> Account | None:
        """See IdentityBackend."""
        del login
        _unsupported(Operation.FIND_BY_LOGIN)

    async def find_by_pesel(self, pesel: Pesel) -> tuple[Account, ...]:
        """See IdentityBackend."""
        del pesel
        _unsupported(Operation.FIND_BY_PESEL)

    async def get(self, ref: str) -> Account | None:
        """See IdentityBackend."""
        del ref
        _unsupported(Operation.FIND_BY_LOGIN)

    async def unlock(self, expected: Expected) -> Done:
        """See IdentityBackend."""
        del expected
        _unsupported(Operation.UNLOCK)

    async def send_activation(self, expected: Expected, *, lifetime_seconds: int) -> Done:
        """See IdentityBackend."""
        del expected, lifetime_seconds
        _unsupported(Operation.SEND_ACTIVATION)

    async def set_password(self, expected: Expected, password: SecretStr) -> Done:
        """See IdentityBackend."""
        del expected, password
        _unsupported(Operation.SET_PASSWORD)

    async def change_login(self, expected: Expected, new_login: str) -> Done:
        """See IdentityBackend."""
        del expected, new_login
        _unsupported(Operation.CHANGE_LOGIN)

    async def release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        """See IdentityBackend."""
        del expected, pesel
        _unsupported(Operation.RELEASE_PESEL)

    async def check(self) -> list[Finding]:
        """Nothing to connect to."""
        return [
            Finding("identity manual", Severity.OK, "reset actions wait for an administrator, who does them by hand")
        ]


def _unsupported(operation: Operation) -> NoReturn:
    raise UnsupportedOperationError(
        f"the identity backend manual cannot {operation.value}: a person does it in their own tool, then marks the action "
        "done with `okienko action done ACTION`"
    )
