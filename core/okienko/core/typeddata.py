"""What is typed beside a document, held against what can be a name or an address."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum

from okienko.core.applications import FIELDS
from okienko.plugins.identity import same_login

MOST_NAME = 100
MOST_ADDRESS = 254
"""RFC 5321, section 4.5.3.1.3, less the brackets."""
_NAME = re.compile(r"[^\W\d_]+(?:(?:[ '’-]|\. ?)[^\W\d_]+)*\.?")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""RFC 5322, section 3.4.1: dot-atom."""
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")
_LOGINS = ("old_login", "new_login")


class Wrong(StrEnum):
    """What is wrong with one field."""

    EMPTY = "empty"
    NAME = "name"
    ADDRESS = "address"
    SAME = "same"
    """Both logins are one."""
    READ = "read"
    """It was read out of signed octets and is not typed over."""


def cleaned(values: Mapping[str, str]) -> dict[str, str]:
    """The fields that say something, in NFC and without white space around or in rows."""
    known = {name: unicodedata.normalize("NFC", " ".join(values.get(name, "").split())) for name in FIELDS}
    return {name: value for name, value in known.items() if value}


def wrong_with(values: Mapping[str, str], missing: Sequence[str]) -> dict[str, Wrong]:
    """What is wrong with `values` (cleaned), by field. All of `missing` is needed and nothing else may be there."""
    found: dict[str, Wrong] = {}
    for name in FIELDS:
        value = values.get(name)
        if value is None:
            if name in missing:
                found[name] = Wrong.EMPTY
        elif name not in missing:
            found[name] = Wrong.READ
        elif name in _LOGINS:
            if not is_address(value):
                found[name] = Wrong.ADDRESS
        elif len(value) > MOST_NAME or not _NAME.fullmatch(value):
            found[name] = Wrong.NAME
    old, new = (values.get(name) for name in _LOGINS)
    if old and new and not found and same_login(old, new):
        found["new_login"] = Wrong.SAME
    return found


def is_address(text: str) -> bool:
    """Whether it is an addr-spec of RFC 5322 without quotes, comments or literals, of a domain with at least two labels."""
    local, at, domain = text.rpartition("@")
    labels = domain.split(".")
    return (
        bool(at)
        and len(text) <= MOST_ADDRESS
        and len(local) <= 64
        and _LOCAL.fullmatch(local) is not None
        and len(labels) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
    )
