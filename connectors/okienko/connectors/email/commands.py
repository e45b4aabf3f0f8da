"""The arguments of MAIL and RCPT (RFC 5321, sections 4.1.1.2, 4.1.1.3 and 4.1.2), read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATH = re.compile(rb'<((?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^<>"\x00-\x20\x7f])*)>(?: +(.*))?')
_SIZE = re.compile(rb"\d{1,20}")


class CommandError(Exception):
    """What is wrong, as the answer line."""


@dataclass(frozen=True, slots=True)
class Sender:
    """MAIL FROM: the reverse-path, empty for the null sender of a report, and the size that the client announces."""

    address: str
    size: int = 0


def read_sender(rest: bytes) -> Sender:
    """Read what follows MAIL. SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531) are known parameters."""
    address, parameters = _path(b"FROM:", rest)
    size = 0
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        match name.upper():
            case b"SIZE" if _SIZE.fullmatch(value):
                size = int(value)
            case b"BODY" if value.upper() in (b"7BIT", b"8BITMIME"):
                pass
            case b"SMTPUTF8" if not value:
                pass
            case _:
                raise CommandError("555 5.5.4 Unknown parameter")
    return Sender(address, size)


def read_recipient(rest: bytes) -> str:
    """Read what follows RCPT; no parameters are known."""
    address, parameters = _path(b"TO:", rest)
    if not address:
        raise CommandError("501 5.1.3 A recipient needs an address")
    if parameters:
        raise CommandError("555 5.5.4 Unknown parameter")
    return address


def _path(keyword: bytes, rest: bytes) -> tuple[str, list[bytes]]:
    # A space after the colon is wrong by the grammar and common in practice.
    found = _PATH.fullmatch(rest[len(keyword) :].lstrip(b" ")) if rest.upper().startswith(keyword) else None
    if found is None:
        raise CommandError(f"501 5.5.4 Write {keyword.decode()}<address>")
    try:
        address = found[1].decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("501 5.1.3 An address is ASCII or UTF-8") from None
    if address.startswith("@"):
        # A source route is to be ignored (RFC 5321, appendix C).
        address = address.partition(":")[2]
    return address, (found[2] or b"").split()
