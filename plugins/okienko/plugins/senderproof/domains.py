"""Domain names: one form for comparing, and alignment by the public suffix list that comes with publicsuffixlist."""

from __future__ import annotations

import re
from functools import lru_cache

import idna
from publicsuffixlist import PublicSuffixList

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def canonical(domain: str) -> str | None:
    """The domain in lower case and A-labels, without a final dot; None when it is not one, or not surely one.

    IDNA 2008 without mappings: the older rules take faß.example for fass.example, which is somebody else's.
    """
    text = domain.removesuffix(".")
    if not text.isascii():
        try:
            text = idna.encode("".join(c.lower() if c.isascii() else c for c in text)).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    text = text.lower()
    labels = text.split(".")
    if len(text) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    # An address such as 192.0.2.1 is no domain.
    return None if labels[-1].isdigit() else text


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    # With the private section: two customers of one hosting domain are two organisations.
    return PublicSuffixList()


def organisational(domain: str) -> str | None:
    """The organisational domain of a canonical one; None for a public suffix itself."""
    found: str | None = _suffixes().privatesuffix(domain)
    return found


def aligned(one: str, other: str, *, strict: bool) -> bool:
    """Whether two canonical domains are the same, or, when not `strict`, of one organisation (RFC 7489, section 3.1)."""
    if one == other:
        return True
    own = organisational(one)
    return not strict and own is not None and own == organisational(other)
