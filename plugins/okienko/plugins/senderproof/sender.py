"""The From: field, read so strictly that nobody can mean another sender by it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from okienko.plugins.senderproof.domains import canonical

MAX_LENGTH = 2000
_SPACE = re.compile(r"[ \t\r\n]+")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010FFFF-]+"
_ADDRESS = rf"({_ATOM}(?:\.{_ATOM})*)@([^\s@<>()\[\],;:\\\"]+)"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# Possessive: a long word must not be tried in every way of cutting it up.
_WORD = rf'(?:{_QUOTED}|[^\s@<>()\[\],;:\\"]++)'
_PHRASE = rf"{_WORD}(?: ?{_WORD})*+"
_FROM = re.compile(rf"(?:({_PHRASE}) ?)?<{_ADDRESS}>|{_ADDRESS}(?: \(([^()\\]*)\))?")
_AT = re.compile(r"[^\s@<>\"'()]+@[^\s@<>\"'()]+")


class UnsureSenderError(ValueError):
    """The field does not name one sender for sure; the message says why."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The one mailbox in From:."""

    address: str
    """With the domain in canonical form; the local part as written."""
    domain: str


def read_sender(fields: tuple[str, ...]) -> Sender:
    """The sender in the raw values of all From fields (RFC 5322, section 3.6.2). Raises UnsureSenderError."""
    if len(fields) != 1:
        raise UnsureSenderError(f"the message has {len(fields)} From fields; one is allowed")
    text = _SPACE.sub(" ", fields[0]).strip()
    if len(text) > MAX_LENGTH:
        raise UnsureSenderError("the From field is too long")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in text):
        raise UnsureSenderError("the From field holds characters that cannot be seen")
    found = _FROM.fullmatch(text)
    if found is None:
        raise UnsureSenderError("the From field is not one plain mailbox")
    local, domain = (found[2], found[3]) if found[2] is not None else (found[4], found[5])
    if not all(c.isascii() or unicodedata.category(c)[0] in "LN" for c in local):
        raise UnsureSenderError("the address holds characters that are no letters")
    if unicodedata.normalize("NFKC", local) != local:
        raise UnsureSenderError("the address holds letters that stand for others")
    name = canonical(domain)
    if name is None:
        raise UnsureSenderError("the domain of the address cannot be read for sure")
    address = f"{local}@{name}"
    _refuse_trick(found[1] or found[6] or "", address, f"{local}@{domain}")
    return Sender(address, name)


def _refuse_trick(display: str, *own: str) -> None:
    """A name that is itself an address makes people believe in that one."""
    try:
        shown = str(make_header(decode_header(display.replace('"', " "))))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        raise UnsureSenderError("the display name cannot be decoded") from None
    shown = unicodedata.normalize("NFKC", shown)
    for found in _AT.findall(shown):
        if found.strip(".,;:").lower() not in {one.lower() for one in own}:
            raise UnsureSenderError("the display name is another address")
    if "@" in _AT.sub("", shown):
        raise UnsureSenderError("the display name looks like an address")


def header_values(raw: bytes, name: str) -> tuple[str, ...]:
    """The raw values of all fields `name` in the head of a message, topmost first; octets above ASCII read as UTF-8."""
    head = re.split(rb"\r?\n\r?\n|\r\r", raw, maxsplit=1)[0]
    lines = re.sub(rb"\r?\n(?=[ \t])", b"", head)
    wanted = name.lower().encode("ascii")
    found = []
    for line in re.split(rb"\r\n|\n|\r", lines):
        key, colon, value = line.partition(b":")
        if colon and key.rstrip(b" \t").lower() == wanted:
            found.append(value.decode("utf-8", "replace").strip())
    return tuple(found)
