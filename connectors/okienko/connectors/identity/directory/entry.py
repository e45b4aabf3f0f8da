"""Entries as they were read, and changes to be written. Pure; knows no LDAP library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from okienko.plugins.identity import same_login


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Names of attributes are compared without regard to case (RFC 4512, 2.5)."""

    dn: str
    """The name in the directory; it may hold the person's name, so it stands in no message."""
    attributes: Mapping[str, tuple[bytes, ...]] = field(repr=False)
    """By lower-case name."""

    def raw(self, name: str) -> tuple[bytes, ...]:
        """The values as bytes; empty when there are none."""
        return self.attributes.get(name.lower(), ())

    def values(self, name: str) -> tuple[str, ...]:
        """The values as text."""
        return tuple(value.decode("utf-8", "replace") for value in self.raw(name))

    def first(self, name: str) -> str | None:
        """The first value as text, or None."""
        return next(iter(self.values(name)), None)

    def number(self, name: str) -> int | None:
        """The first value as a number; None when there is none or it is no number."""
        try:
            return int(self.first(name) or "")
        except ValueError:
            return None

    def logins(self, names: Iterable[str]) -> tuple[str, ...]:
        """Every value of the attributes that hold a login, in their order."""
        return tuple(value for name in names for value in self.values(name))

    def stored_login(self, name: str, login: str) -> str | None:
        """How the attribute writes the login, or None when it has another one."""
        return next((value for value in self.values(name) if same_login(value, login)), None)


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a modify operation (RFC 4511, 4.6). The values stay out of `repr`: they may be a password."""

    how: Literal["add", "delete", "replace"]
    attribute: str
    values: tuple[bytes, ...] = field(default=(), repr=False)


def fields(changes: Iterable[Change]) -> tuple[str, ...]:
    """The attributes that the changes write, each once, in order."""
    return tuple(dict.fromkeys(change.attribute for change in changes))


def login_changes(entry: Entry, names: Iterable[str], old: str, new: str) -> tuple[Change, ...]:
    """Swap the login in every attribute that holds the old one; empty when none does.

    Deleting the old value by name is the comparison: the server refuses the whole modify when it is gone.
    """
    changes: list[Change] = []
    for name in names:
        stored = entry.stored_login(name, old)
        if stored is None:
            continue
        changes.append(Change("delete", name, (stored.encode(),)))
        if entry.stored_login(name, new) is None:
            changes.append(Change("add", name, (new.encode(),)))
    return tuple(changes)
