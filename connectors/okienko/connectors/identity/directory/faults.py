"""Results of LDAP operations and the errors they become. Pure; knows no LDAP library."""

from __future__ import annotations

import re

from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError

# Results of servers (RFC 4511, 4.1.9, and RFC 4528) and of the library (negative).
TIME_LIMIT, SIZE_LIMIT, STRONG_AUTH, REFERRAL, CONFIDENTIALITY = 3, 4, 8, 10, 13
NO_SUCH_ATTRIBUTE, UNDEFINED_TYPE, CONSTRAINT, VALUE_EXISTS, INVALID_SYNTAX = 16, 17, 19, 20, 21
NO_SUCH_OBJECT, INVALID_DN, INAPPROPRIATE_AUTH, INVALID_CREDENTIALS, NO_RIGHTS = 32, 34, 48, 49, 50
BUSY, UNAVAILABLE, UNWILLING, NOT_ON_RDN, ASSERTION_FAILED = 51, 52, 53, 67, 122
SERVER_DOWN, TIMEOUT, CONNECT_ERROR = -1, -5, -11

LOST = frozenset({SERVER_DOWN, TIMEOUT, CONNECT_ERROR})
"""After these a connection is of no more use."""
_TRANSIENT = LOST | {TIME_LIMIT, BUSY, UNAVAILABLE}
_CURES = {
    STRONG_AUTH: "use ldaps:// or StartTLS",
    CONFIDENTIALITY: "use ldaps:// or StartTLS",
    REFERRAL: "it is a read-only copy: name the server that takes writes in url",
    UNDEFINED_TYPE: "the schema lacks an attribute: see the ..._attribute settings",
    NO_SUCH_OBJECT: "see the setting base",
    INVALID_DN: "see the settings base and bind_dn",
    INAPPROPRIATE_AUTH: "see the settings bind_dn and bind_password",
    INVALID_CREDENTIALS: "see the settings bind_dn and bind_password",
    NO_RIGHTS: "give the operator account the right, see the connector's document",
}
_SIGN_IN = {
    "525": "there is no such account",
    "52e": "wrong password",
    "530": "not allowed at this hour",
    "531": "not allowed from this machine",
    "532": "the password has expired",
    "533": "the account is disabled",
    "701": "the account has expired",
    "773": "the password must be changed",
    "775": "the account is locked",
}
"""Data codes in Active Directory's answers (Windows error numbers, in hexadecimal)."""


class DirectoryError(Exception):
    """An operation went wrong: the result's number and the server's words."""

    def __init__(self, result: int, text: str) -> None:
        super().__init__(result)
        self.result = result
        self.text = scrub(text)


def scrub(text: str) -> str:
    """A server's words without what may be a person's: filters in brackets, and runs of eleven digits and more."""
    return re.sub(r"\d{11,}", "***", re.sub(r"\([|&!(].*\)", "(***)", text.replace("\0", ""))).strip()


def to_error(fault: DirectoryError, doing: str) -> OkienkoError:
    """The error for a result that has no meaning of its own in what was being done."""
    words = f"{doing}: result {fault.result}" + (f", {fault.text}" if fault.text else "")
    if fault.result == INVALID_CREDENTIALS and (reason := sign_in_reason(fault.text)):
        words += f" ({reason})"
    if fault.result in _TRANSIENT:
        return TransientError(words)
    if fault.result in _CURES:
        return MisconfiguredError(f"{words}; {_CURES[fault.result]}")
    return PermanentError(words)


def sign_in_reason(text: str) -> str:
    """What the data code of a refused sign-in means; empty when there is none."""
    found = re.search(r"\bdata ([0-9a-f]{3})\b", text, re.IGNORECASE)
    return _SIGN_IN.get(found[1].lower(), "") if found else ""
