"""Keycloak's UserRepresentation to an account, its error bodies to errors. Pure: no I/O, no settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, harmless
from okienko.plugins.identity import (
    Account,
    AccountFlag,
    LoginTakenError,
    PasswordRefusedError,
    UnsupportedOperationError,
    same_login,
)
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel

User = Mapping[str, Any]
UPDATE_PASSWORD = "UPDATE_PASSWORD"  # noqa: S105  a required action's name
PERMANENT_LOCKOUT = "permanentLockout"
"""Value of the user attribute `disabledReason` that Keycloak's brute force protection writes."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What brute force protection says of one user."""

    temporary: bool | None
    """None: the protection is off, or may be; its all-zero answer then means nothing."""
    permanent: bool = False


def attribute(user: User, name: str | None) -> str | None:
    """The only value of a user attribute; None when there are none or several."""
    attributes = user.get("attributes")
    values = attributes.get(name) if name and isinstance(attributes, Mapping) else None
    values = [values] if isinstance(values, str) else values
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str):
        return values[0].strip() or None
    return None


def has_login(user: User, login: str) -> bool:
    """Whether `login` is the user's e-mail. Keycloak's search finds substrings unless told otherwise."""
    email = user.get("email")
    return isinstance(email, str) and same_login(email, login)


def uses_address(user: User, address: str) -> bool:
    """Whether the user has `address` as e-mail or user name."""
    name = user.get("username")
    return has_login(user, address) or (isinstance(name, str) and same_login(name, address))


def pesel_of(user: User, name: str | None) -> Pesel | None:
    """The PESEL, when the attribute has exactly one valid one."""
    text = attribute(user, name)
    try:
        return Pesel(text) if text is not None else None
    except ValueError:
        return None


def attribute_is_empty(user: User, name: str) -> bool:
    """Whether the attribute has no value at all; one that is no PESEL is a value."""
    attributes = user.get("attributes")
    values = attributes.get(name) if isinstance(attributes, Mapping) else None
    return not values or values == [""]


def attributes_without(user: User, name: str) -> dict[str, Any]:
    """All attributes but one, as they were read."""
    attributes = user.get("attributes")
    return {k: v for k, v in attributes.items() if k != name} if isinstance(attributes, Mapping) else {}


def read_lock(user: User, status: Mapping[str, Any], protected: bool | None) -> Lock:  # noqa: FBT001  three-valued
    """The lock from `GET /attack-detection/brute-force/users/{id}` and the user. `protected`: what the realm says.

    A permanent lockout switches the user off, which an administrator does too: only Keycloak's own mark or status
    tells them apart.
    """
    disabled = status.get("disabled") is True
    off = user.get("enabled") is False
    permanent = off and (disabled or attribute(user, "disabledReason") == PERMANENT_LOCKOUT)
    if permanent:
        return Lock(temporary=False, permanent=True)
    told = disabled or any(isinstance(n, int) and n > 0 for n in (status.get("numFailures"), status.get("lastFailure")))
    return Lock(temporary=disabled if protected or told else None)


def account(user: User, lock: Lock, *, pesel_attribute: str | None, birth_year_attribute: str | None) -> Account:
    """A user as an account. Raises PermanentError when it has no id or no e-mail."""
    ref, login = user.get("id"), user.get("email")
    if not isinstance(ref, str) or not ref or not isinstance(login, str) or not login:
        raise PermanentError("the account has no e-mail in Keycloak: a person has to look at it")
    flags, unknown = set(), set()
    if lock.temporary or lock.permanent:
        flags.add(AccountFlag.LOCKED)
    elif lock.temporary is None:
        unknown.add(AccountFlag.LOCKED)
    if user.get("enabled") is False and not lock.permanent:
        flags.add(AccountFlag.DISABLED)
    elif not isinstance(user.get("enabled"), bool):
        unknown.add(AccountFlag.DISABLED)
    actions = user.get("requiredActions")
    if isinstance(actions, list):
        if UPDATE_PASSWORD in actions:
            flags.add(AccountFlag.MUST_CHANGE)
    else:
        unknown.add(AccountFlag.MUST_CHANGE)
    pesel = pesel_of(user, pesel_attribute)
    return Account(
        ref=ref,
        login=login,
        person=Person(
            given_name=_text(user.get("firstName")),
            family_name=_text(user.get("lastName")),
            birth_year=_year(attribute(user, birth_year_attribute), pesel),
            pesel=pesel,
        ),
        flags=frozenset(flags),
        unknown_flags=frozenset(unknown),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _year(text: str | None, pesel: Pesel | None) -> int | None:
    found = re.match(r"(\d{4})(?!\d)", text or "", re.ASCII)
    year = int(found[1]) if found else pesel.birth_date.year if pesel else None
    return year if year is not None and 1880 <= year <= 2100 else None


def words_of(answer: Answer, hidden: str = "") -> str:
    """What Keycloak says in any of its error shapes, made harmless.

    `{"errorMessage"}`, `{"errors": [{"errorMessage", "field"}]}` of the user profile, `{"error", "error_description"}`.
    """
    body = answer.json()
    if not isinstance(body, Mapping):
        return f"({answer.kind})" if answer.content else ""
    parts: list[str] = []
    several = body.get("errors")
    for one in [body, *(several if isinstance(several, list) else [])]:
        if isinstance(one, Mapping):
            parts += [str(one[k]) for k in ("errorMessage", "error", "error_description", "field") if one.get(k)]
    return harmless("; ".join(dict.fromkeys(parts)), hidden)


_MISSING_USER = re.compile(r"user not found", re.IGNORECASE)
_LINK_SETTINGS = re.compile(
    r"client id missing|invalid redirect uri|client doesn't exist|client is not enabled", re.IGNORECASE
)
_LINK_ACTIONS = re.compile(r"invalid required actions", re.IGNORECASE)
_PASSWORD = re.compile(r"password|N old passwords", re.IGNORECASE)
_READ_ONLY = re.compile(r"read.?only", re.IGNORECASE)


def is_missing_user(answer: Answer) -> bool:
    """404 of the user; a 404 of the path or the realm is something else."""
    return answer.status == 404 and bool(_MISSING_USER.search(words_of(answer)))


def error_of(answer: Answer, what: str, *, hidden: str = "", password: bool = False) -> OkienkoError:
    """The error that an answer of 400 and above means. `password`: it answers to a new password."""
    # Judged by the server's own words, shown without what must not be repeated.
    plain, words, status = words_of(answer), words_of(answer, hidden), answer.status
    told = f"{what}: {status} {words}".rstrip()
    if status == 403:
        return MisconfiguredError(
            f"{told}: our client lacks a right; give its service account the role manage-users of realm-management"
        )
    if status == 404:
        return MisconfiguredError(f"{told}: no such path; check the settings URL and REALM")
    if status == 409:
        # "User exists with same email", "… same username", "… same username or email"
        return LoginTakenError(f"{what}: another account has that e-mail or user name; nothing was changed")
    if status >= 500 and status != 501:
        return TransientError(f"{told}: Keycloak failed (for a mail: look at its SMTP settings)")
    if _LINK_SETTINGS.search(plain):
        return MisconfiguredError(
            f"{told}: correct LINK_CLIENT_ID and LINK_REDIRECT_URI, or allow the address in that client"
        )
    if _LINK_ACTIONS.search(plain):
        return MisconfiguredError(f"{told}: enable the required actions Update Password and Verify Email in the realm")
    if _READ_ONLY.search(plain):
        return UnsupportedOperationError(
            f"{told}: the account lives in a store that Keycloak may not write; change it there"
        )
    if password and status == 400 and (_PASSWORD.search(plain) or not plain):
        return PasswordRefusedError(f"the password policy refuses it: {words or 'Keycloak does not say why'}")
    return PermanentError(told)
