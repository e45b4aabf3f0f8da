"""What a server says of itself: its controls, and the attributes of its schema."""

from __future__ import annotations

import re
from dataclasses import dataclass

from okienko.connectors.identity.directory.connection import Connection

_NAMES = re.compile(r"\bNAME\s+(?:'([^']+)'|\(([^)]*)\))")


@dataclass(frozen=True, slots=True)
class Features:
    """What the server says of itself."""

    controls: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    """Lower-case names of the schema's attributes; empty when the schema cannot be read."""

    def lacks(self, attribute: str) -> bool:
        """Whether the schema is known and has no such attribute."""
        return bool(self.attributes) and attribute.lower() not in self.attributes


def read_features(connection: Connection) -> Features:
    """From the root entry and the subschema (RFC 4512, 5.1 and 4.2)."""
    root = next(iter(connection.search("", "base", "(objectClass=*)", ["supportedControl", "subschemaSubentry"])), None)
    if root is None:
        return Features()
    subschema = root.first("subschemaSubentry")
    entries = connection.search(subschema, "base", "(objectClass=*)", ["attributeTypes"]) if subschema else []
    types = [text for entry in entries for text in entry.values("attributeTypes")]
    return Features(frozenset(root.values("supportedControl")), attribute_names(types))


def attribute_names(types: list[str]) -> frozenset[str]:
    """The lower-case names in attribute type descriptions (RFC 4512, 4.1.2)."""
    names: set[str] = set()
    for text in types:
        if (found := _NAMES.search(text)) is not None:
            names |= {name.lower() for name in re.findall(r"[A-Za-z][A-Za-z0-9-]*", found[1] or found[2])}
    return frozenset(names)
