"""The identity backend on Active Directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from okienko.connectors.identity.ad import mapping
from okienko.connectors.identity.ad.rights import check_rights
from okienko.connectors.identity.ad.settings import AdSettings
from okienko.connectors.identity.directory.backend import DirectoryIdentity
from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import DirectoryError
from okienko.connectors.identity.directory.features import Features
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.identity import Account
from okienko.plugins.ports import Finding


class AdIdentity(DirectoryIdentity):
    """See IdentityBackend."""

    name = "ad"

    def __init__(self, settings: AdSettings, now: Callable[[], datetime]) -> None:
        super().__init__(settings, now)
        self._ad = settings
        self._admin_groups: Sequence[Entry] | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """See DirectoryIdentity."""
        return mapping.attributes(self._ad)

    def ref_filter(self, ref: str) -> str | None:
        """See DirectoryIdentity."""
        return mapping.ref_filter(ref)

    def account(self, entry: Entry, login: str | None = None) -> Account:
        """See DirectoryIdentity."""
        return mapping.account(entry, self._ad, self._now(), login)

    def unlock_changes(self, entry: Entry) -> tuple[Change, ...]:
        """See DirectoryIdentity."""
        del entry
        return mapping.unlock_changes()

    def password_changes(self, entry: Entry, password: str) -> tuple[Change, ...]:
        """See DirectoryIdentity."""
        return mapping.password_changes(entry, password)

    def password_refusal(self, fault: DirectoryError) -> str | None:
        """See DirectoryIdentity."""
        return mapping.password_refusal(fault)

    def is_taken(self, fault: DirectoryError) -> bool:
        """See DirectoryIdentity."""
        return mapping.is_taken(fault)

    def not_ours(self, connection: Connection, entry: Entry) -> str | None:
        """See DirectoryIdentity. Samba guards administrators not as Windows does (AdminSDHolder), so we do."""
        if mapping.privileged(entry):
            return "it is an administrator's"
        if self._admin_groups is None:
            root = connection.search("", "base", "(objectClass=*)", ["defaultNamingContext"])
            domain = root[0].first("defaultNamingContext") if root else None
            found = connection.search(domain or "", "sub", mapping.admin_groups_filter(), ["1.1"])
            if not found:
                raise MisconfiguredError("the built-in groups of administrators are hidden: let the operator read them")
            self._admin_groups = found
        if connection.search(entry.dn, "base", mapping.member_filter(self._admin_groups), ["1.1"]):
            return "it is in a group of administrators"
        return None

    def own_checks(self, connection: Connection, features: Features) -> list[Finding]:
        """See DirectoryIdentity."""
        del features
        return check_rights(connection, self._ad)
