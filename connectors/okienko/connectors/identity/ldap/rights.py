"""Whether the operator account may do what it has to, and nothing more; tried without changing anything."""

from __future__ import annotations

from secrets import token_hex

from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.entry import Change
from okienko.connectors.identity.directory.faults import NO_RIGHTS, NO_SUCH_ATTRIBUTE, DirectoryError
from okienko.connectors.identity.directory.features import Features
from okienko.connectors.identity.directory.filters import any_of, both
from okienko.connectors.identity.ldap.mapping import POLICY
from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins.identity import Operation
from okienko.plugins.ports import Finding, Severity

_WHAT = "identity ldap rights"
_NEVER = "19700101000000Z"


def check_rights(connection: Connection, settings: LdapSettings, features: Features) -> list[Finding]:
    """Findings about the password policy and, with `check_login`, about every right."""
    findings = [_policy(features)]
    if settings.check_login is None:
        cure = "make an account of no person below base and name its login in OKIENKO_IDENTITY_LDAP_CHECK_LOGIN"
        return [*findings, Finding(_WHAT, Severity.WARNING, "not tried: there is no account to try them on", cure)]
    wanted = both(settings.account_filter, any_of(settings.login_attributes, settings.check_login))
    found = connection.search(settings.base or "", "sub", wanted, ["userPassword"])
    if len(found) != 1:
        cure = "see check_login, base and account_filter, and that the operator account may read"
        return [*findings, Finding(_WHAT, Severity.ERROR, f"check_login finds {len(found)} accounts, not 1", cure)]
    dn = found[0].dn
    if found[0].raw("userPassword"):
        cure = "give it write (=w) on userPassword, not read: see docs/identity-ldap.md"
        findings.append(Finding(_WHAT, Severity.WARNING, "the operator account reads password hashes", cure))
    policy = [name for name in POLICY if not features.lacks(name)]
    problems = [
        f"read {name}"
        for name in ("entryUUID", "entryCSN", *settings.login_attributes, *policy)
        # A filter on what may not be searched is undefined, and so is its negation (RFC 4511, 4.5.1.7).
        if not connection.search(dn, "base", f"(|({name}=*)(!({name}=*)))", ["1.1"])
    ]
    problems += [
        f"write {name}" for name in _needed(settings, policy) if not _may_write(connection, dn, name, settings)
    ]
    if problems:
        cure = "give the operator account these rights (docs/identity-ldap.md), or take the operation out of allowed"
        return [*findings, Finding(_WHAT, Severity.ERROR, f"it may not {', '.join(problems)}", cure)]
    return [*findings, Finding(_WHAT, Severity.OK, "the operator account may do all that is allowed")]


def _policy(features: Features) -> Finding:
    missing = [name for name in POLICY if features.lacks(name)]
    if missing:
        cure = "load the overlay ppolicy (docs/identity-ldap.md)"
        message = f"the server has no {', '.join(missing)}: locks and must-change are not known"
        return Finding("identity ldap policy", Severity.WARNING, message, cure)
    return Finding("identity ldap policy", Severity.OK, "the server knows locks and must-change")


def _needed(settings: LdapSettings, policy: list[str]) -> list[str]:
    needed: list[str] = []
    if Operation.UNLOCK in settings.operations and "pwdAccountLockedTime" in policy:
        needed.append("pwdAccountLockedTime")
    if Operation.SET_PASSWORD in settings.operations:
        needed += ["userPassword", *(["pwdReset"] if "pwdReset" in policy else [])]
    if Operation.CHANGE_LOGIN in settings.operations:
        needed += settings.login_attributes
    if Operation.RELEASE_PESEL in settings.operations and settings.pesel_attribute:
        needed.append(settings.pesel_attribute)
    return needed


def _may_write(connection: Connection, dn: str, name: str, settings: LdapSettings) -> bool:
    """Ask for a change that must fail: a value that is not there is deleted, so all or nothing ends in nothing.

    slapd looks at the rights first (result 50) and at the value after that (result 16).
    """
    changes = [_impossible(connection, dn, name)]
    if name == "userPassword":
        # Deleting a wrong password is refused by the policy whatever the rights, so it is set, beside what must fail.
        other = settings.login_attributes[0] if Operation.CHANGE_LOGIN in settings.operations else "pwdReset"
        changes = [Change("replace", name, (token_hex(24).encode(),)), _impossible(connection, dn, other)]
    try:
        connection.modify(dn, changes)
    except DirectoryError as fault:
        if fault.result == NO_SUCH_ATTRIBUTE:
            return True
        if fault.result == NO_RIGHTS:
            return False
        raise
    return True


def _impossible(connection: Connection, dn: str, name: str) -> Change:
    """The deletion of a value that the attribute has not."""
    if name == "pwdAccountLockedTime":
        return Change("delete", name, (_NEVER.encode(),))
    if name == "pwdReset":
        now = next(iter(connection.search(dn, "base", "(objectClass=*)", [name])), None)
        return Change("delete", name, (b"TRUE" if now is not None and now.first(name) == "FALSE" else b"FALSE",))
    return Change("delete", name, (f"{token_hex(12)}@okienko.invalid".encode(),))
