"""The identity backend behind Keycloak's Admin REST API."""

from __future__ import annotations

from pydantic import SecretStr

from okienko.connectors.identity.keycloak import mapping
from okienko.connectors.identity.keycloak.checks import check
from okienko.connectors.identity.keycloak.mapping import UPDATE_PASSWORD, Lock, User
from okienko.connectors.identity.keycloak.settings import KeycloakIdentitySettings
from okienko.connectors.identity.keycloak.wire import KeycloakWire, Realm
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
    StaleError,
    UnsupportedOperationError,
    refuse_for_password,
    same_login,
)
from okienko.plugins.ports import Finding
from okienko.schemas.pesel import Pesel


class KeycloakIdentity:
    """See IdentityBackend. The login is the e-mail; Keycloak has no versions, so a swap is: look, write, read back."""

    name = "keycloak"

    def __init__(self, settings: KeycloakIdentitySettings) -> None:
        assert settings.url is not None  # noqa: S101  the plugin registers nothing without an address
        self._settings = settings
        api = HttpApi(
            settings.admin_url,
            Credentials(
                token_url=settings.token_url, client_id=settings.client_id, client_secret=settings.client_secret
            ),
            ca_file=settings.ca_file,
            limits=Limits(connect=settings.connect_timeout, total=settings.timeout),
            headers={"Accept": "application/json"},
        )
        self._wire = KeycloakWire(api, max_accounts=settings.max_accounts)
        self._realm: Realm | None = None
        operations = set(Operation)
        if settings.pesel_attribute is None:
            operations -= {Operation.FIND_BY_PESEL, Operation.RELEASE_PESEL}
        self.operations = frozenset(operations)

    async def start(self) -> None:
        """Read what the realm says of itself."""
        await self._known_realm()

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def find_by_login(self, login: str) -> Account | None:
        """See the port. Whatever Keycloak lists, only a user whose e-mail it really is counts."""
        if not login or not is_text(login):
            return None
        criteria = {"email": login, "exact": "true"}
        found = [one async for one in self._wire.users(criteria) if mapping.has_login(one, login)]
        if len(found) > 1:
            raise PermanentError(f"{len(found)} accounts have the same e-mail: a person has to look at them")
        return await self._account(found[0]) if found else None

    async def find_by_pesel(self, pesel: Pesel) -> tuple[Account, ...]:
        """See the port. Raises UnsupportedOperationError when PESEL_ATTRIBUTE is empty."""
        name = self._settings.pesel_attribute
        if name is None:
            raise UnsupportedOperationError(
                "the identity backend keycloak does not know where PESELs stand: set PESEL_ATTRIBUTE"
            )
        criteria = {"q": f"{name}:{pesel.reveal()}", "exact": "true"}
        found = [one async for one in self._wire.users(criteria) if mapping.pesel_of(one, name) == pesel]
        return tuple([await self._account(one) for one in found])

    async def get(self, ref: str) -> Account | None:
        """See the port."""
        user = await self._wire.user(ref)
        return await self._account(user) if user is not None else None

    async def unlock(self, expected: Expected) -> Done:
        """See the port. Takes a permanent lockout away too, and never switches on whom an administrator switched off."""
        user = await self._expected(expected)
        lock = await self._lock(user)
        if lock.temporary is False and not lock.permanent:
            return Done(changed=False, after=self._map(user, lock))
        fields = await self._clear(expected.ref, lock)
        after = await self._read_back(expected.ref)
        if AccountFlag.LOCKED in after.flags:
            raise PermanentError("Keycloak accepted the unlocking, and the account is still locked")
        return Done(changed=True, fields=fields, after=after)

    async def send_activation(self, expected: Expected, *, lifetime_seconds: int) -> Done:
        """See the port. The link is made for the present e-mail: change the login first."""
        user = await self._expected(expected)
        criteria: dict[str, str | int] = {"lifespan": lifetime_seconds}
        if self._settings.link_client_id is not None:
            criteria["client_id"] = self._settings.link_client_id
        if self._settings.link_redirect_uri is not None:
            criteria["redirect_uri"] = self._settings.link_redirect_uri
        actions = [UPDATE_PASSWORD] + (["VERIFY_EMAIL"] if self._settings.verify_email else [])
        # Read first: nothing may fail after the mail, or a retry would send a second one.
        account = await self._account(user)
        await self._wire.mail_actions(expected.ref, actions, criteria)
        return Done(changed=True, fields=("activation mail",), after=account)

    async def set_password(self, expected: Expected, password: SecretStr) -> Done:
        """See the port. Sessions end as well, when LOGOUT_SESSIONS is on."""
        user = await self._expected(expected)
        lock = await self._lock(user)
        refuse_for_password(self._map(user, lock), password)
        await self._wire.reset_password(expected.ref, password.get_secret_value())
        fields = ["password"]
        # What follows may be repeated at will, and is, by the HTTP client: a password history makes the first step not so.
        if lock.temporary is not False or lock.permanent:
            fields += await self._clear(expected.ref, lock)
        after = await self._wire.user(expected.ref)
        actions = (after or {}).get("requiredActions")
        if isinstance(actions, list) and UPDATE_PASSWORD in actions:
            rest = [one for one in actions if one != UPDATE_PASSWORD]
            await self._wire.update(expected.ref, {"requiredActions": rest}, "clearing the forced change")
            fields.append("requiredActions")
        fields += await self._end_sessions(expected.ref)
        return Done(changed=True, fields=tuple(fields), after=await self._read_back(expected.ref))

    async def change_login(self, expected: Expected, new_login: str) -> Done:
        """See the port. The new e-mail counts as unverified until its owner has used a link sent to it.

        The user name changes too where it is the e-mail. Sessions end afterwards, also when the login was new already:
        an earlier try may have stopped between the two.
        """
        user = await self._expected(expected, or_login=new_login)
        name = user.get("username")
        rename = await self._username_follows(name, expected.login)
        named = not rename or (isinstance(name, str) and same_login(name, new_login))
        if mapping.has_login(user, new_login) and named:
            await self._end_sessions(expected.ref)
            return Done(changed=False, after=await self._account(user))
        await self._refuse_taken(expected.ref, new_login)
        changes: dict[str, object] = {"email": new_login, "emailVerified": False}
        if rename:
            changes["username"] = new_login
        await self._wire.update(expected.ref, changes, "changing the login")
        after = await self._wire.user(expected.ref)
        if after is None or not mapping.has_login(after, new_login) or (
            rename and not same_login(str(after.get("username")), new_login)
        ):  # fmt: skip
            raise PermanentError("Keycloak accepted the new login, and the account does not have it: look at it now")
        fields = (*changes, *await self._end_sessions(expected.ref))
        return Done(changed=True, fields=fields, after=await self._account(after))

    async def release_pesel(self, expected: Expected, pesel: Pesel) -> Done:
        """See the port. Keycloak takes all attributes or none, so that the others are sent back as they were read."""
        name = self._settings.pesel_attribute
        if name is None:
            raise UnsupportedOperationError(
                "the identity backend keycloak does not know where PESELs stand: set PESEL_ATTRIBUTE"
            )
        user = await self._expected(expected)
        if mapping.attribute_is_empty(user, name):
            return Done(changed=False, after=await self._account(user))
        if mapping.pesel_of(user, name) != pesel:
            raise StaleError("the account carries another personal number; nothing was changed")
        await self._wire.replace_attributes(user, mapping.attributes_without(user, name), "releasing a personal number")
        after = await self._expected(expected)
        if mapping.attributes_without(after, name) != mapping.attributes_without(user, name):
            raise PermanentError("Keycloak changed more of the account than its personal number: look at it now")
        if not mapping.attribute_is_empty(after, name):
            raise PermanentError("Keycloak accepted the change, and the account still carries the number")
        return Done(changed=True, fields=(name,), after=await self._account(after))

    async def check(self) -> list[Finding]:
        """See checks.py."""
        return await check(self._wire, self._settings)

    async def _known_realm(self) -> Realm:
        if self._realm is None:
            self._realm = await self._wire.realm()
        return self._realm

    async def _lock(self, user: User) -> Lock:
        return await self._wire.lock(user, (await self._known_realm()).brute_force_protected)

    async def _account(self, user: User) -> Account:
        return self._map(user, await self._lock(user))

    def _map(self, user: User, lock: Lock) -> Account:
        return mapping.account(
            user,
            lock,
            pesel_attribute=self._settings.pesel_attribute,
            birth_year_attribute=self._settings.birth_year_attribute,
        )

    async def _expected(self, expected: Expected, or_login: str | None = None) -> User:
        """The user as it is now. Raises AccountGoneError and StaleError."""
        user = await self._wire.user(expected.ref)
        if user is None:
            raise AccountGoneError("the account is not there any more; nothing was changed")
        logins = [expected.login] + ([or_login] if or_login is not None else [])
        if not any(mapping.has_login(user, login) for login in logins):
            raise StaleError("the account's login is not what it was at the approval; nothing was changed")
        return user

    async def _username_follows(self, name: object, old_login: str) -> bool:
        """Whether the user name is the e-mail: else the old address would stay a login."""
        if self._settings.username_is_email != "auto":
            return self._settings.username_is_email == "yes"
        realm_says = (await self._known_realm()).email_as_username
        return bool(realm_says) or (isinstance(name, str) and same_login(name, old_login))

    async def _refuse_taken(self, ref: str, login: str) -> None:
        """Realms may allow two users with one e-mail, and an e-mail may be another user's name."""
        for field in ("email", "username"):
            async for one in self._wire.users({field: login, "exact": "true"}):
                if mapping.uses_address(one, login) and one.get("id") != ref:
                    raise LoginTakenError("another account has the new login; nothing was changed")

    async def _clear(self, ref: str, lock: Lock) -> tuple[str, ...]:
        await self._wire.clear_lock(ref)
        if not lock.permanent:
            return ("login failures",)
        await self._wire.update(ref, {"enabled": True}, "ending a permanent lockout")
        return ("login failures", "enabled")

    async def _end_sessions(self, ref: str) -> tuple[str, ...]:
        if not self._settings.logout_sessions:
            return ()
        await self._wire.logout(ref)
        return ("sessions",)

    async def _read_back(self, ref: str) -> Account:
        after = await self.get(ref)
        if after is None:
            raise AccountGoneError("the account vanished while it was changed")
        return after
