"""The identity backend on Active Directory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from okienko.connectors.identity.ad import mapping
from okienko.connectors.identity.ad.rights import check_rights
from okienko.connectors.identity.ad.settings import AdSettings
from okienko.connectors.identity.directory.backend import DirectoryIdentity
from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import DirectoryError
from okienko.connectors.identity.directory.features import Features
from okienko.plugins.identity import Account
from okienko.plugins.ports import Finding


class AdIdentity(DirectoryIdentity):
    """See IdentityBackend."""

    name = "ad"

    def __init__(self, settings: AdSettings, now: Callable[[], datetime]) -> None:
        super().__init__(settings, now)
        self._ad = settings

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

    def not_ours(self, entry: Entry) -> str | None:
        """See DirectoryIdentity."""
        return mapping.privileged(entry)

    def own_checks(self, connection: Connection, features: Features) -> list[Finding]:
        """See DirectoryIdentity."""
        del features
        return check_rights(connection, self._ad)
