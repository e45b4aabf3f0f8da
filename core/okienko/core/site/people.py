"""Who somebody is, however they signed in, and what their roles allow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a person may do."""

    IDENTITY_ADMIN = "identity_admin"
    """Look at reset actions and decide about them."""
    AUDITOR = "auditor"
    """Look only."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who proved who they are."""

    who: str
    """Lasting name: `oidc:ISSUER:SUBJECT` or `local:NAME`."""
    name: str
    """For people."""
    emails: tuple[str, ...]
    """Addresses and other names of the person, so that nobody decides about their own account."""
    roles: frozenset[Role]
    authenticated_at: datetime | None = None
    """When they last proved it; None when the identity provider does not say."""


def roles_of(values: frozenset[str] | list[str] | tuple[str, ...]) -> frozenset[Role]:
    """Those of the values that are roles."""
    known = {role.value for role in Role}
    return frozenset(Role(value) for value in values if value in known)
