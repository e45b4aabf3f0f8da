"""The identity backend behind SCIM 2.0."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import SecretStr

from okienko.connectors.identity.scim import mapping
from okienko.connectors.identity.scim.checks import check
from okienko.connectors.identity.scim.mapping import Resource, Shape
from okienko.connectors.identity.scim.settings import ScimIdentitySettings
from okienko.connectors.identity.scim.wire import Abilities, ScimChangedError, ScimRefusedError, ScimWire
from okienko.plugins.errors import PermanentError
from okienko.plugins.httpapi import Credentials, HttpApi, Limits, is_text
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
    UnsupportedOperationError,
    refuse_for_password,
    require,
)
from okienko.plugins.ports import Finding
from okienko.schemas.pesel import Pesel

ATTEMPTS = 5
"""Of a change that others get in the way of; each begins by comparing anew."""


class ScimIdentity:
    """See IdentityBackend. SCIM has no lock, no forced change and no mails of its own: what it can do is read at `start`."""

    name = "scim"

    def __init__(self, settings: ScimIdentitySettings) -> None:
        assert settings.url is not None  # noqa: S101  the plugin registers nothing without an address
        self._settings = settings
        self._shape = Shape(
            username_is_email=settings.username_is_email,
            email_type=settings.email_type,
            pesel_path=settings.pesel_path,
            birth_year_path=settings.birth_year_path,
            locked_path=settings.locked_path,
            must_change_path=settings.must_change_path,
        )
        api = HttpApi(
            settings.url,
            Credentials(settings.token, settings.token_url, settings.client_id, settings.client_secret, settings.scope),
            ca_file=settings.ca_file,
            limits=Limits(connect=settings.connect_timeout, total=settings.timeout),
        )
        self._wire = ScimWire(api, page_size=settings.page_size, max_accounts=settings.max_accounts)
        self._abilities: Abilities | None = None
        self.operations: frozenset[Operation] = frozenset()

    async def start(self) -> None:
        """Read the ServiceProviderConfig, and see that our token opens the accounts."""
        if self._abilities is not None:
            return
        found = await self._wire.abilities()
        # The configuration may be open to all; the accounts are not.
        await self._wire.probe()
        self._abilities = found
        operations = {Operation.FIND_BY_LOGIN}
        if self._shape.pesel_path is not None:
            operations.add(Operation.FIND_BY_PESEL)
        if found.patch:
            operations.add(Operation.CHANGE_LOGIN)
            if found.change_password:
                operations.add(Operation.SET_PASSWORD)
            if self._shape.locked_path is not None:
                operations.add(Operation.UNLOCK)
            if self._shape.pesel_path is not None:
                operations.add(Operation.RELEASE_PESEL)
        self.operations = frozenset(operations)

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def find_by_login(self, login: str) -> Account | None:
        """See the port. Whatever the server lists, only an account whose login it really is counts."""
        if not login or not is_text(login):
            return None
        paths = ("userName",) if self._shape.username_is_email else ("emails.value",)
        found = await self._find(paths, login, lambda one: mapping.has_login(one, login, self._shape))
        if len(found) > 1:
            raise PermanentError(f"{len(found)} accounts have the same login e-mail: a person has to look at them")
        return mapping.account(found[0], self._shape) if found else None

    async def find_by_pesel(self, pesel: Pesel) -> tuple[Account, ...]:
        """See the port. Raises UnsupportedOperationError when PESEL_PATH is not set."""
        if self._shape.pesel_path is None:
            raise UnsupportedOperationError(
                "the identity backend scim does not know where PESELs stand: set OKIENKO_IDENTITY_SCIM_PESEL_PATH"
            )
        paths = (self._shape.pesel_path,)
        found = await self._find(paths, pesel.reveal(), lambda one: mapping.has_pesel(one, pesel, self._shape))
        return tuple(mapping.account(one, self._shape) for one in found)

    async def get(self, ref: str) -> Account | None:
        """See the port."""
        found = await self._wire.user(ref)
        return mapping.account(found[0], self._shape, found[1]) if found else None

    async def unlock(self, expected: Expected) -> Done:
        """See the port; needs LOCKED_PATH."""
        await self.start()
        require(self, Operation.UNLOCK)
        return await _again_when_changed(lambda: self._unlock(expected))

    async def _unlock(self, expected: Expected) -> Done:
        _, account = await self._expected(expected)
        if AccountFlag.LOCKED not in account.flags | account.unknown_flags:
            return Done(changed=False, after=account)
        path = str(self._shape.locked_path)
        await self._patch(account, [mapping.replace(path, False)])
        after = await self._read_back(account.ref)
        if AccountFlag.LOCKED in after.flags | after.unknown_flags:
            raise PermanentError("the SCIM server accepted the unlocking, and the account is still locked")
        return Done(changed=True, fields=(path,), after=after)

    async def send_activation(self, expected: Expected, *, lifetime_seconds: int) -> Done:
        """SCIM sends no mails."""
        del expected, lifetime_seconds
        require(self, Operation.SEND_ACTIVATION)
        raise AssertionError("unreachable: the operation is never announced")

    async def set_password(self, expected: Expected, password: SecretStr) -> Done:
        """See the port. The lock and the forced change are cleared where their attributes are configured."""
        await self.start()
        require(self, Operation.SET_PASSWORD)
        return await _again_when_changed(lambda: self._set_password(expected, password))

    async def _set_password(self, expected: Expected, password: SecretStr) -> Done:
        _, account = await self._expected(expected)
        refuse_for_password(account, password)
        extras = [
            path
            for path, flag in (
                (self._shape.locked_path, AccountFlag.LOCKED),
                (self._shape.must_change_path, AccountFlag.MUST_CHANGE),
            )
            if path is not None and flag in account.flags
        ]
        operations = [mapping.replace("password", password.get_secret_value())]
        operations += [mapping.replace(path, False) for path in extras]
        try:
            await self._patch(account, operations, hidden=password.get_secret_value())
        except ScimRefusedError as error:
            if error.scim_type.casefold() in ("", "invalidvalue"):
                raise PasswordRefusedError(f"the server refuses the password: {error.detail}") from error
            raise
        return Done(changed=True, fields=("password", *extras), after=await self._read_back(account.ref))

    async def change_login(self, expected: Expected, new_login: str) -> Done:
        """See the port. userName and the e-mail change in one PATCH with If-Match, and are read back."""
        await self.start()
        require(self, Operation.CHANGE_LOGIN)
        return await _again_when_changed(lambda: self._change_login(expected, new_login))

    async def _change_login(self, expected: Expected, new_login: str) -> Done:
        resource, account = await self._expected(expected, or_login=new_login)
        if mapping.login_is(resource, new_login, self._shape):
            return Done(changed=False, after=account)
        others = await self._find(
            ("userName", "emails.value"), new_login, lambda one: mapping.uses_address(one, new_login)
        )
        if any(mapping.lookup(one, "id") != account.ref for one in others):
            raise LoginTakenError("another account has the new login; nothing was changed")
        by_filter, whole_list = mapping.login_changes(resource, expected.login, new_login, self._shape)
        operations = by_filter or whole_list
        try:
            await self._patch(account, operations)
        except ScimRefusedError:
            if not by_filter or by_filter == whole_list:
                raise
            # A PATCH is all or nothing, so that the other way of saying the same can be tried.
            operations = whole_list
            await self._patch(account, operations)
        found = await self._wire.user(account.ref)
        if found is None or not mapping.login_is(found[0], new_login, self._shape):
            raise PermanentError(
                "the SCIM server accepted the new login, and the account does not have it: look at it now"
            )
        after = mapping.account(found[0], self._shape, found[1])
        return Done(changed=True, fields=tuple(op["path"].partition("[")[0] for op in operations), after=after)

    async def release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        """See the port; needs PESEL_PATH. One `remove` with If-Match, and it is read back."""
        await self.start()
        require(self, Operation.RELEASE_PESEL)
        return await _again_when_changed(lambda: self._release_pesel(expected, pesel))

    async def _release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        resource, account = await self._expected(expected)
        path = str(self._shape.pesel_path)
        if mapping.lookup(resource, path) in (None, "", []):
            return Done(changed=False, after=account)
        if not mapping.has_pesel(resource, pesel, self._shape):
            raise StaleError("the account carries another personal number; nothing was changed")
        await self._patch(account, [mapping.remove(path)], hidden=pesel.reveal())
        after = await self._read_back(account.ref)
        if after.person.pesel is not None:
            raise PermanentError("the SCIM server accepted the removal, and the account still carries the number")
        return Done(changed=True, fields=(path,), after=after)

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self._wire, self._settings)

    async def _find(self, paths: tuple[str, ...], value: str, fits: Callable[[Resource], bool]) -> list[Resource]:
        """Every account that fits, each once. The filter only shortens the list; `fits` decides."""
        await self.start()
        assert self._abilities is not None  # noqa: S101  start() sets it
        found: dict[Any, Resource] = {}
        for expression in [mapping.equals(path, value) for path in paths] if self._abilities.filter else [None]:
            async for one in self._wire.users(expression):
                if fits(one):
                    found[mapping.lookup(one, "id")] = one
        return list(found.values())

    async def _expected(self, expected: Expected, or_login: str | None = None) -> tuple[Resource, Account]:
        """The account as it is now. Raises AccountGoneError and StaleError."""
        found = await self._wire.user(expected.ref)
        if found is None:
            raise AccountGoneError("the account is not there any more; nothing was changed")
        logins = [expected.login] + ([or_login] if or_login is not None else [])
        if not any(mapping.has_login(found[0], login, self._shape) for login in logins):
            raise StaleError("the account's login is not what it was at the approval; nothing was changed")
        return found[0], mapping.account(found[0], self._shape, found[1])

    async def _patch(self, account: Account, operations: list[dict[str, Any]], hidden: str = "") -> None:
        assert self._abilities is not None  # noqa: S101  start() sets it
        version = account.version if self._abilities.etag else None
        await self._wire.patch(account.ref, mapping.patch(operations), version, hidden)

    async def _read_back(self, ref: str) -> Account:
        after = await self.get(ref)
        if after is None:
            raise AccountGoneError("the account vanished while it was changed")
        return after


async def _again_when_changed(attempt: Callable[[], Awaitable[Done]]) -> Done:
    """Look, compare and write again when somebody wrote in between: what was approved is the login, not the version."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await attempt()
        except ScimChangedError:
            continue
    return await attempt()
