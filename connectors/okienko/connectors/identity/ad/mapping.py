"""Active Directory's attributes and okienko's words for them. Pure.

Source: [MS-ADTS] 2.2.16 (userAccountControl), 3.1.1.4.5.17 (msDS-User-Account-Control-Computed), 3.1.1.3.1.5 (passwords);
the traps were seen on Samba 4.17.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from okienko.connectors.identity.ad.settings import AdSettings
from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import CONSTRAINT, UNWILLING, DirectoryError
from okienko.connectors.identity.directory.filters import equals
from okienko.connectors.identity.directory.people import person
from okienko.plugins.errors import PermanentError
from okienko.plugins.identity import Account, AccountFlag

COMPUTED = "msDS-User-Account-Control-Computed"
ACCOUNT_DISABLED, LOCKED_OUT, NEVER_EXPIRES, PASSWORD_EXPIRED = 0x2, 0x10, 0x10000, 0x800000
_ADMIN_GROUPS = tuple(f"S-1-5-32-{number}" for number in (544, 548, 549, 550, 551))
"""Administrators (domain, enterprise and schema administrators are members), account, server, print and backup operators."""
_ADMIN_PRIMARY_GROUPS = (512, 516, 518, 519, 521)
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_NEVER = (0, 0x7FFFFFFFFFFFFFFF)
_UPN_TAKEN, _SPN_TAKEN = "21c8", "21c7"
_POLICY = "0000052d"
_REASON = re.compile(r"check_password_restrictions: (.+)", re.DOTALL)


def attributes(settings: AdSettings) -> tuple[str, ...]:
    """What is read of an account; constructed attributes come only by name."""
    wanted = ["objectGUID", "uSNChanged", "userAccountControl", COMPUTED, "lockoutTime", "pwdLastSet", "accountExpires"]
    wanted += [
        "adminCount",
        "primaryGroupID",
        *settings.login_attributes,
        settings.given_name_attribute,
        settings.family_name_attribute,
    ]
    wanted += [name for name in (settings.pesel_attribute, settings.birth_date_attribute) if name]
    return tuple(dict.fromkeys(wanted))


def ref_filter(ref: str) -> str | None:
    """By objectGUID, which is stored with its first fields turned round; None for what is no GUID."""
    try:
        return equals("objectGUID", UUID(ref).bytes_le)
    except ValueError:
        return None


def account(entry: Entry, settings: AdSettings, now: datetime, login: str | None = None) -> Account:
    """The account. Raises PermanentError when it has no login or no lasting id."""
    guid, logins = next(iter(entry.raw("objectGUID")), b""), entry.logins(settings.login_attributes)
    if len(guid) != 16 or not logins:
        raise PermanentError("the entry has no readable login and objectGUID")
    stored = next((s for name in settings.login_attributes if login and (s := entry.stored_login(name, login))), None)
    return Account(
        ref=str(UUID(bytes_le=guid)),
        login=stored or logins[0],
        person=person(entry, settings),
        flags=flags(entry, now),
        version=entry.first("uSNChanged"),
    )


def flags(entry: Entry, now: datetime) -> frozenset[AccountFlag]:
    """userAccountControl does not show a lock: the computed attribute does, and knows when a lock has run out."""
    found: set[AccountFlag] = set()
    control, computed = entry.number("userAccountControl") or 0, entry.number(COMPUTED)
    if computed is not None:
        locked, must_change = bool(computed & LOCKED_OUT), bool(computed & PASSWORD_EXPIRED)
    else:
        locked = (entry.number("lockoutTime") or 0) > 0
        must_change = entry.number("pwdLastSet") == 0 and not control & NEVER_EXPIRES
    if locked:
        found.add(AccountFlag.LOCKED)
    if must_change:
        found.add(AccountFlag.MUST_CHANGE)
    if control & ACCOUNT_DISABLED or _expired(entry.number("accountExpires"), now):
        found.add(AccountFlag.DISABLED)
    return frozenset(found)


def _expired(ticks: int | None, now: datetime) -> bool:
    """accountExpires: tenths of microseconds since 1601; two values mean never."""
    return ticks is not None and ticks not in _NEVER and ticks // 10 < (now - _EPOCH) // timedelta(microseconds=1)


def privileged(entry: Entry) -> bool:
    """Whether the entry itself shows an administrator: adminCount, or a primary group, which is in no memberOf."""
    return (entry.number("adminCount") or 0) > 0 or entry.number("primaryGroupID") in _ADMIN_PRIMARY_GROUPS


def admin_groups_filter() -> str:
    """The built-in groups that rule a domain, by their well-known SIDs: their names are in the server's language."""
    return f"(|{''.join(equals('objectSid', sid) for sid in _ADMIN_GROUPS)})"


def member_filter(groups: Sequence[Entry]) -> str:
    """Members of one of the groups, through groups in groups as well ([MS-ADTS] 3.1.1.3.4.4.3)."""
    return f"(|{''.join(equals('memberOf:1.2.840.113556.1.4.1941:', group.dn) for group in groups)})"


def unlock_changes() -> tuple[Change, ...]:
    """lockoutTime may be written with 0 only ([MS-ADTS] 3.1.1.5.3.2)."""
    return (Change("replace", "lockoutTime", (b"0",)),)


def password_changes(entry: Entry, password: str) -> tuple[Change, ...]:
    """In one: the quoted password in UTF-16, and the lock away, which a reset does not do by itself.

    A reset sets pwdLastSet to now, which ends must-change.
    """
    del entry
    return (Change("replace", "unicodePwd", (f'"{password}"'.encode("utf-16-le"),)), *unlock_changes())


def password_refusal(fault: DirectoryError) -> str | None:
    """ERROR_PASSWORD_RESTRICTION (52D) with result 19 or 53; Samba adds the rule in words."""
    if fault.result not in (CONSTRAINT, UNWILLING) or _POLICY not in fault.text.lower():
        return None
    found = _REASON.search(fault.text)
    return found[1] if found else "the domain's password policy refuses it (length, history, complexity or minimum age)"


def is_taken(fault: DirectoryError) -> bool:
    """Another account's userPrincipalName: Windows gives a code (21C8), Samba says it in words."""
    text = fault.text.lower()
    return any(mark in text for mark in (_UPN_TAKEN, _SPN_TAKEN, "already in use", "unique"))
