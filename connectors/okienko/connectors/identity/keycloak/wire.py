"""Keycloak's Admin REST API over HTTP. Knows paths and answers, not what okienko wants of them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from okienko.connectors.identity.keycloak.mapping import Lock, User, error_of, is_missing_user, read_lock
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.httpapi import Answer, HttpApi
from okienko.plugins.identity import AccountGoneError

PAGE = 100


@dataclass(frozen=True, slots=True)
class Realm:
    """What the realm says of itself; None where our rights do not reach."""

    email_as_username: bool | None = None
    brute_force_protected: bool | None = None
    duplicate_emails: bool | None = None


class KeycloakWire:
    """One realm."""

    def __init__(self, api: HttpApi, *, max_accounts: int) -> None:
        self._api = api
        self._max_accounts = max_accounts

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def realm(self) -> Realm:
        """GET of the realm: without view-realm it holds its name and little more."""
        answer = await self._api.request("GET", "", repeatable=True)
        body = _mapping(answer, "reading the realm")

        def told(name: str) -> bool | None:
            value = body.get(name)
            return value if isinstance(value, bool) else None

        return Realm(told("registrationEmailAsUsername"), told("bruteForceProtected"), told("duplicateEmailsAllowed"))

    async def profile(self) -> Mapping[str, Any] | None:
        """The realm's user profile, or None where it cannot be read."""
        answer = await self._api.request("GET", "/users/profile", repeatable=True)
        return None if answer.status in (403, 404) else _mapping(answer, "reading the user profile")

    async def roles(self, client: str) -> frozenset[str] | None:
        """Our roles of `client` as the access token names them; None when it does not (a lightweight or opaque token)."""
        parts = (await self._api.bearer()).split(".")
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
            roles = claims["resource_access"][client]["roles"]
            return frozenset(str(role) for role in roles)
        except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
            return None

    async def user(self, ref: str) -> User | None:
        """One user, or None."""
        if not ref or ref in (".", ".."):
            return None
        answer = await self._api.request("GET", _path(ref), repeatable=True)
        if is_missing_user(answer):
            return None
        body = _mapping(answer, "reading an account")
        if body.get("id") != ref:
            raise PermanentError("Keycloak answered with another account than the one asked for")
        return body

    async def users(self, criteria: Mapping[str, str]) -> AsyncIterator[User]:
        """Every user that Keycloak lists; look at each, since it may list others. Raises MisconfiguredError over the cap."""
        seen: set[str] = set()
        first = 0
        while True:
            # Attributes (the PESEL) come only in the full representation.
            asked: dict[str, str | int] = {**criteria, "first": first, "max": PAGE, "briefRepresentation": "false"}
            answer = await self._api.request("GET", "/users", params=asked, repeatable=True)
            page = _success(answer, "searching accounts").json()
            if not isinstance(page, list):
                raise _no_json(answer, "searching accounts")
            fresh = [one for one in page if isinstance(one, Mapping) and str(one.get("id")) not in seen]
            for one in fresh:
                seen.add(str(one.get("id")))
                yield one
            # Not "a short page is the last": permissions are applied after paging, so that any page may be short.
            if not fresh:
                return
            if len(seen) > self._max_accounts:
                raise MisconfiguredError(
                    f"Keycloak lists more than {self._max_accounts} accounts for one person: "
                    "does it know exact=true (version 15 or newer)? Else raise MAX_ACCOUNTS"
                )
            first += len(page)

    async def lock(self, user: User, protected: bool | None) -> Lock:  # noqa: FBT001  three-valued
        """What brute force protection says of the user."""
        ref = str(user.get("id"))
        answer = await self._api.request("GET", _lock_path(ref), repeatable=True)
        return read_lock(user, _mapping(answer, "reading the lock"), protected)

    async def clear_lock(self, ref: str) -> None:
        """Forget failed logins; no user and no failure are the same to Keycloak."""
        _success(await self._api.request("DELETE", _lock_path(ref), repeatable=True), "unlocking an account")

    async def update(self, ref: str, changes: Mapping[str, Any], what: str) -> None:
        """PUT what changes and nothing else: sent `attributes` would replace all; see `replace_attributes`."""
        if "attributes" in changes:
            raise ValueError("attributes are never sent: see above")
        _success(await self._api.request("PUT", _path(ref), json=changes), what)

    async def replace_attributes(self, user: User, attributes: Mapping[str, Any], what: str) -> None:
        """PUT the whole list of attributes, which replaces the old one. The rest of the profile goes along unchanged.

        Without it a realm with a user profile (Keycloak 24 and newer) would take the name and the e-mail for emptied.
        """
        kept = {
            key: user[key] for key in ("username", "email", "emailVerified", "firstName", "lastName") if key in user
        }
        body = kept | {"attributes": dict(attributes)}
        _success(await self._api.request("PUT", _path(str(user.get("id"))), json=body), what)

    async def reset_password(self, ref: str, password: str) -> None:
        """Set a lasting password. Raises PasswordRefusedError."""
        body = {"type": "password", "value": password, "temporary": False}
        answer = await self._api.request("PUT", _path(ref, "/reset-password"), json=body)
        _success(answer, "setting a password", hidden=password, password=True)

    async def mail_actions(self, ref: str, actions: Sequence[str], criteria: Mapping[str, str | int]) -> None:
        """Make Keycloak mail a link that asks for the actions."""
        path = _path(ref, "/execute-actions-email")
        answer = await self._api.request("PUT", path, params=criteria, json=list(actions))
        _success(answer, "mailing the activation link")

    async def logout(self, ref: str) -> None:
        """End all sessions of the user."""
        answer = await self._api.request("POST", _path(ref, "/logout"), repeatable=True)
        _success(answer, "ending the sessions")


def _path(ref: str, rest: str = "") -> str:
    return f"/users/{quote(ref, safe='')}{rest}"


def _lock_path(ref: str) -> str:
    return f"/attack-detection/brute-force/users/{quote(ref, safe='')}"


def _success(answer: Answer, what: str, *, hidden: str = "", password: bool = False) -> Answer:
    if is_missing_user(answer):
        raise AccountGoneError(f"{what}: the account is not there any more")
    if answer.status >= 400:
        raise error_of(answer, what, hidden=hidden, password=password)
    return answer


def _mapping(answer: Answer, what: str) -> Mapping[str, Any]:
    body = _success(answer, what).json()
    if not isinstance(body, Mapping):
        raise _no_json(answer, what)
    return body


def _no_json(answer: Answer, what: str) -> MisconfiguredError:
    return MisconfiguredError(
        f"{what}: the answer is {answer.kind} and not Keycloak's: check the setting URL (old versions need /auth at its end)"
    )
