"""Search filters (RFC 4515), built so that no value can end its own."""

from __future__ import annotations

import string
from collections.abc import Iterable

_PLAIN = frozenset((string.ascii_letters + string.digits + "@.-_+ ").encode())


def escape(value: str | bytes) -> str:
    """Every octet but plain ASCII letters, digits and a few signs, as `\\xx` (RFC 4515, section 3)."""
    # surrogatepass: half a surrogate in a mail must find nothing, and not break the search.
    octets = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return "".join(chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in octets)


def equals(attribute: str, value: str | bytes) -> str:
    """`(attribute=value)`."""
    return f"({attribute}={escape(value)})"


def any_of(attributes: Iterable[str], value: str) -> str:
    """Entries with the value in one of the attributes."""
    return f"(|{''.join(equals(attribute, value) for attribute in attributes)})"


def both(*filters: str) -> str:
    """Entries that match all of the filters."""
    return f"(&{''.join(filters)})"
