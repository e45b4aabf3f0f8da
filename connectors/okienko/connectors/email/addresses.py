"""Mailboxes in address fields as people and servers really write them (RFC 5322, section 3.4).

The library's getaddresses takes `jan@a.example <ewa@b.example>` for jan's mail, and loses names that have a comma in an encoded
word. Who a mail is from decides who is answered, so that it is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from okienko.connectors.email.headers import decode_words, raw_text
from okienko.schemas import Address

_ADDRESS = re.compile(r"[^\s@<>\"(),;:]{1,64}@[^\s@<>\"(),;:]{1,253}")
_TOKEN = re.compile(
    r'(?P<word>=\?[^?\s]{1,60}\?[bBqQ]\?[^?]{0,2000}\?=)|(?P<quoted>"(?:[^"\\]|\\.){0,500}")|(?P<comment>\((?:[^()\\]|\\.){0,500}\))'
    r"|(?P<angle><(?:[^<>]*>|[^<>,]*))|(?P<comma>[,;])|(?P<text>[^\"(<,;=]+|[=(\"])",
    re.DOTALL,
)
_MOST = 20_000
"""Characters of one field that are read."""


def addresses(values: Sequence[object], limit: int = 50) -> tuple[Address, ...]:
    """The mailboxes of the fields in order, as far as they make sense. What stands in angle brackets is the address."""
    found: list[Address] = []
    for value in values:
        text = raw_text(value).replace("\r", "").replace("\n", "")[:_MOST]
        for name, address in _mailboxes(text):
            if len(found) == limit:
                return tuple(found)
            local, _, domain = address.rpartition("@")
            found.append(Address.model_construct(name=decode_words(name)[:200], address=f"{local}@{domain.lower()}"))
    return tuple(found)


def _mailboxes(text: str) -> Iterator[tuple[str, str]]:
    """Name and address of each. A piece without address is the beginning of a name: `Kowalski, Jan <jan@…>`."""
    name: list[str] = []
    comments: list[str] = []
    angle = ""
    for match in _TOKEN.finditer(f"{text},"):
        token = match[0]
        match match.lastgroup:
            case "comma":
                bare = "".join(name)
                if found := _ADDRESS.search(angle) if angle else _ADDRESS.search(bare):
                    shown = bare if angle else " ".join(comments)
                    yield " ".join(shown.split()), found[0]
                    name, comments, angle = [], [], ""
                elif bare.strip():
                    # A group's name (`undisclosed-recipients:`) is no person's.
                    name = [] if bare.rstrip().endswith(":") else [bare.strip(), ", "]
            case "angle":
                # Of two, the last: the first may be part of a badly quoted name.
                angle = token
            case "quoted":
                name.append(re.sub(r"\\(.)", r"\1", token[1:-1]))
            case "comment":
                comments.append(token[1:-1])
            case _:
                name.append(token)
