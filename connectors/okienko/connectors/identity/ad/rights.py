"""Whether the operator account may do what it has to, and nothing more; reads only."""

from __future__ import annotations

from okienko.connectors.identity.ad.settings import AdSettings
from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.entry import Entry
from okienko.connectors.identity.directory.faults import DirectoryError
from okienko.connectors.identity.directory.filters import any_of, both
from okienko.plugins.identity import Operation
from okienko.plugins.ports import Finding, Severity

_WHAT = "identity ad rights"
_MAY_WRITE = "allowedAttributesEffective"
"""The attributes that who asks may write on the entry ([MS-ADTS] 3.1.1.4.5.9)."""
_LEAST = ("lockoutTime", "mail", "userPrincipalName", "pwdLastSet", "userAccountControl")


def check_rights(connection: Connection, settings: AdSettings) -> list[Finding]:
    """Findings about the rights on `check_login` and on administrators."""
    return [_needed_rights(connection, settings), *_too_wide(connection, settings)]


def _needed_rights(connection: Connection, settings: AdSettings) -> Finding:
    if settings.check_login is None:
        cure = "make an account of no person below base and name its login in OKIENKO_IDENTITY_AD_CHECK_LOGIN"
        return Finding(_WHAT, Severity.WARNING, "not tried: there is no account to try them on", cure)
    wanted = both(settings.account_filter, any_of(settings.login_attributes, settings.check_login))
    found = connection.search(settings.base or "", "sub", wanted, [_MAY_WRITE, "userAccountControl"])
    if len(found) != 1:
        cure = "see check_login, base and account_filter, and that the operator account may read"
        return Finding(_WHAT, Severity.ERROR, f"check_login finds {len(found)} accounts, not 1", cure)
    missing = sorted(_needed(settings) - _writable(found[0]), key=str.lower)
    if missing:
        cure = "delegate them on the base (docs/identity-ad.md), or take the operation out of allowed"
        return Finding(_WHAT, Severity.ERROR, f"the operator account may not write {', '.join(missing)}", cure)
    if found[0].first("userAccountControl") is None:
        cure = "let the operator account read all properties of accounts"
        return Finding(
            _WHAT, Severity.ERROR, "userAccountControl is not readable: disabled accounts look enabled", cure
        )
    message = (
        "the operator account may write all that is allowed; whether it may reset passwords shows at the first one"
    )
    return Finding(_WHAT, Severity.OK, message)


def _needed(settings: AdSettings) -> set[str]:
    needed: set[str] = set()
    if {Operation.UNLOCK, Operation.SET_PASSWORD} & settings.operations:
        needed.add("lockouttime")
    if Operation.CHANGE_LOGIN in settings.operations:
        needed |= {name.lower() for name in settings.login_attributes}
    if Operation.RELEASE_PESEL in settings.operations and settings.pesel_attribute:
        needed.add(settings.pesel_attribute.lower())
    return needed


def _writable(entry: Entry) -> set[str]:
    return {name.lower() for name in entry.values(_MAY_WRITE)}


def _too_wide(connection: Connection, settings: AdSettings) -> list[Finding]:
    """Administrators must be out of reach: on Samba a delegation on CN=Users reaches Administrator."""
    root = next(iter(connection.search("", "base", "(objectClass=*)", ["defaultNamingContext"])), None)
    domain = root.first("defaultNamingContext") if root is not None else None
    try:
        admins = connection.search(
            domain or settings.base or "", "sub", "(&(objectClass=user)(adminCount=1))", [_MAY_WRITE]
        )
    except DirectoryError:
        cure = "let the operator account search the domain"
        return [Finding(f"{_WHAT} on administrators", Severity.WARNING, "the domain cannot be searched", cure)]
    least = {name.lower() for name in _LEAST}
    if any(_writable(entry) & least for entry in admins):
        cure = "delegate on the branch of people's accounts only, never on CN=Users or the domain (docs/identity-ad.md)"
        return [Finding(f"{_WHAT} on administrators", Severity.ERROR, "the operator account may change them", cure)]
    message = f"none of {len(admins)} administrators can be changed by the operator account"
    return [Finding(f"{_WHAT} on administrators", Severity.OK, message)]
