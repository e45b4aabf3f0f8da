"""The identity backend on OpenLDAP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from okienko.connectors.identity.directory.backend import DirectoryIdentity
from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import DirectoryError
from okienko.connectors.identity.directory.features import Features
from okienko.connectors.identity.directory.filters import any_of, both
from okienko.connectors.identity.ldap import mapping
from okienko.connectors.identity.ldap.rights import check_rights
from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins.identity import Account, Expected
from okienko.plugins.ports import Finding

ASSERTION = "1.3.6.1.1.12"
"""RFC 4528: the server compares a filter with the entry in the same step as it writes."""


class LdapIdentity(DirectoryIdentity):
    """See IdentityBackend."""

    name = "ldap"
    still_enabled = f"(!(pwdAccountLockedTime={mapping.ADMIN_LOCK}))"
    # Writing a password takes every lock away in slapd, an administrator's as well.

    def __init__(self, settings: LdapSettings, now: Callable[[], datetime]) -> None:
        super().__init__(settings, now)
        self._ldap = settings

    @property
    def attributes(self) -> tuple[str, ...]:
        """See DirectoryIdentity."""
        return mapping.attributes(self._ldap)

    def ref_filter(self, ref: str) -> str | None:
        """See DirectoryIdentity."""
        return mapping.ref_filter(ref)

    def account(self, entry: Entry, login: str | None = None) -> Account:
        """See DirectoryIdentity."""
        return mapping.account(entry, self._ldap, self._now(), has_policy=self._has_policy, login=login)

    def unlock_changes(self, entry: Entry) -> tuple[Change, ...]:
        """See DirectoryIdentity."""
        return mapping.unlock_changes(entry)

    def password_changes(self, entry: Entry, password: str) -> tuple[Change, ...]:
        """See DirectoryIdentity."""
        del entry
        changes = mapping.password_changes(password)
        return changes if self._has_policy else changes[:1]

    def password_refusal(self, fault: DirectoryError) -> str | None:
        """See DirectoryIdentity."""
        return mapping.password_refusal(fault)

    def is_taken(self, fault: DirectoryError) -> bool:
        """See DirectoryIdentity."""
        return mapping.is_taken(fault)

    def assertion(self, expected: Expected, extra: str = "") -> str | None:
        """See DirectoryIdentity: the same account with the same login."""
        if self._features is None or ASSERTION not in self._features.controls:
            return None
        own = mapping.ref_filter(expected.ref) or ""
        logins = any_of(self._ldap.login_attributes, expected.login)
        return both(own, logins, extra if self._has_policy else "")

    def own_checks(self, connection: Connection, features: Features) -> list[Finding]:
        """See DirectoryIdentity."""
        return check_rights(connection, self._ldap, features)

    @property
    def _has_policy(self) -> bool:
        return self._features is None or not any(self._features.lacks(name) for name in mapping.POLICY)
