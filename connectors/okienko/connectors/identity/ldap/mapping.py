"""OpenLDAP's operational attributes and okienko's words for them. Pure.

Source: slapo-ppolicy(5) of OpenLDAP 2.5, draft-behera-ldap-password-policy-10.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import CONSTRAINT, DirectoryError
from okienko.connectors.identity.directory.filters import equals
from okienko.connectors.identity.directory.people import person
from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins.errors import PermanentError
from okienko.plugins.identity import Account, AccountFlag, PasswordRefusedError

ADMIN_LOCK = "000001010000Z"
"""As pwdAccountLockedTime: locked by an administrator, for ever."""
POLICY = ("pwdAccountLockedTime", "pwdReset")
_OPTIONAL = ("pwdStartTime", "pwdEndTime")
_SCHEME = re.compile(r"\{[^{}\s]+\}")
_TIME = re.compile(r"(\d{4}\d\d\d\d\d\d)(?:(\d\d)(\d\d)?)?(?:[.,]\d+)?Z")


def attributes(settings: LdapSettings) -> tuple[str, ...]:
    """What is read of an account; operational attributes come only by name."""
    wanted = ["entryUUID", "entryCSN", *POLICY, *_OPTIONAL, *settings.login_attributes]
    wanted += [settings.given_name_attribute, settings.family_name_attribute]
    wanted += [name for name in (settings.pesel_attribute, settings.birth_date_attribute) if name]
    return tuple(dict.fromkeys(wanted))


def ref_filter(ref: str) -> str | None:
    """By entryUUID; None for what is no UUID."""
    try:
        return equals("entryUUID", str(UUID(ref)))
    except ValueError:
        return None


def account(
    entry: Entry, settings: LdapSettings, now: datetime, *, has_policy: bool = True, login: str | None = None
) -> Account:
    """The account. Raises PermanentError when it has no login or no lasting id."""
    ref, logins = entry.first("entryUUID"), entry.logins(settings.login_attributes)
    if ref is None or not logins:
        raise PermanentError(f"the entry {ref or '(entryUUID hidden)'} has no readable login and id")
    stored = next((s for name in settings.login_attributes if login and (s := entry.stored_login(name, login))), None)
    return Account(
        ref=ref,
        login=stored or logins[0],
        person=person(entry, settings),
        flags=flags(entry, settings.lockout_seconds, now) if has_policy else frozenset(),
        unknown_flags=frozenset() if has_policy else frozenset(AccountFlag),
        version=entry.first("entryCSN"),
    )


def flags(entry: Entry, lockout_seconds: int, now: datetime) -> frozenset[AccountFlag]:
    """LOCKED after wrong passwords, DISABLED by an administrator's lock or outside pwdStartTime..pwdEndTime."""
    found: set[AccountFlag] = set()
    locked = entry.first("pwdAccountLockedTime")
    if locked == ADMIN_LOCK:
        found.add(AccountFlag.DISABLED)
    elif locked is not None:
        since = time(locked)
        over = since is not None and lockout_seconds and now >= since + timedelta(seconds=lockout_seconds)
        if not over:
            found.add(AccountFlag.LOCKED)
    begin, end = time(entry.first("pwdStartTime")), time(entry.first("pwdEndTime"))
    if (begin is not None and now < begin) or (end is not None and now >= end):
        found.add(AccountFlag.DISABLED)
    if (entry.first("pwdReset") or "").upper() == "TRUE":
        found.add(AccountFlag.MUST_CHANGE)
    return frozenset(found)


def time(text: str | None) -> datetime | None:
    """A GeneralizedTime in UTC (RFC 4517, 3.3.13; fractions dropped); None for none and for what is no date."""
    found = _TIME.fullmatch(text or "")
    if found is None:
        return None
    try:
        return datetime.strptime(f"{found[1]}{found[2] or '00'}{found[3] or '00'}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def unlock_changes(entry: Entry) -> tuple[Change, ...]:
    """Delete the very lock that was seen: an administrator's lock set meanwhile stays. pwdFailureTime goes with it."""
    return (Change("delete", "pwdAccountLockedTime", entry.raw("pwdAccountLockedTime")),)


def password_changes(password: str) -> tuple[Change, ...]:
    """In one: the password, which unlocks as well, and no must-change, for the person chose it.

    Raises PasswordRefusedError for what the server would take for a hash: `{SSHA}…` goes past the policy, and `{SASL}…`
    or `{CLEARTEXT}…` (RFC 2307, 5.3) would change how the person is recognised.
    """
    if _SCHEME.match(password):
        raise PasswordRefusedError("a password must not begin with a word in braces")
    return (Change("replace", "userPassword", (password.encode(),)), Change("replace", "pwdReset"))


def password_refusal(fault: DirectoryError) -> str | None:
    """Result 19 is the policy's; its words name the rule."""
    return (fault.text or "the password policy refuses it") if fault.result == CONSTRAINT else None


def is_taken(fault: DirectoryError) -> bool:
    """The words of slapo-unique(5); result 19 may also come from slapo-constraint(5)."""
    return "unique" in fault.text.lower()
