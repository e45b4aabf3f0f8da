"""Who is who: one person may have several identities, and is one approver all the same. Pure.

A person's names are the lasting name of how they signed in (`oidc:ISSUER:SUBJECT`, `local:NAME`, `cli:LOGIN`), every address that
it is known to have, and what OKIENKO_PEOPLE adds. Two approvals are of two people only if that can be told:

* they have no name in common, without regard to case, and
* they came by the same kind of sign-in, whose lasting names tell people apart, or both are known by an e-mail address.

A login of the operating system alone tells nobody apart (`sudo`), so where two people are needed the command line counts only for
who is mapped to an e-mail address. Chains count as one person: if A and B share a name, and B and C, all three are one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from okienko.plugins.identity import same_login

_KINDS = ("oidc", "local", "cli")
CLI = "cli"


class People:
    """OKIENKO_PEOPLE: a person's e-mail address, and their other identities."""

    def __init__(self, people: Mapping[str, Collection[str]] | None = None) -> None:
        self._groups = [frozenset({address, *names}) for address, names in (people or {}).items()]

    def names(self, who: str, also_known_as: Iterable[str] = ()) -> frozenset[str]:
        """Every name of the person who signed in as `who`."""
        names = frozenset({who, *filter(None, also_known_as)})
        while more := [group for group in self._groups if not group <= names and overlap(group, names)]:
            names = names.union(*more)
        return names


def overlap(one: Iterable[str], other: Collection[str]) -> bool:
    """Whether a name stands in both, without regard to case."""
    return any(same_login(a, b) for a in one for b in other)


def kind(who: str) -> str:
    """How somebody signed in; empty for what is none of the known ways."""
    first = who.partition(":")[0]
    return first if first in _KINDS else ""


def has_address(names: Iterable[str]) -> bool:
    """Whether an e-mail address is among the names."""
    return any("@" in name and kind(name) == "" for name in names)


def cannot_be_told(who: str, names: Iterable[str]) -> bool:
    """Whether nothing says which person it is: a login of the operating system without an address."""
    return kind(who) == CLI and not has_address(names)


def different(one: tuple[str, frozenset[str]], other: tuple[str, frozenset[str]]) -> bool:
    """Whether two, each as `who` and names, are certainly two people."""
    if overlap(one[1], other[1]):
        return False
    return kind(one[0]) == kind(other[0]) or (has_address(one[1]) and has_address(other[1]))


def distinct(given: Sequence[tuple[str, frozenset[str]]]) -> list[str]:
    """The `who` that came first of each different person."""
    groups: list[list[tuple[str, frozenset[str]]]] = []
    for one in given:
        same = [group for group in groups if not all(different(one, other) for other in group)]
        merged = [member for group in same for member in group] + [one]
        groups = [group for group in groups if group not in same] + [merged]
    return [next(who for who, names in given if (who, names) in group) for group in groups]
