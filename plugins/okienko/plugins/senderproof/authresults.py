"""Authentication-Results fields (RFC 8601, section 2.2), read strictly: what cannot be read for sure is not read at all.

The library authres is more lenient than is good here: it takes `dmarc=pass;header.from=x` for two results, drops what it
does not know, and refuses quoted and internationalised names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_LENGTH = 20_000
MAX_RESULTS = 100

_SPACE = re.compile(r"[ \t\r\n]+")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ID = re.compile(rf'({_QUOTED}|[^\s"\\;=()<>,]+)(?:\s+(\S+))?')
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_METHOD = re.compile(rf"({_WORD})(?:\s*/\s*(\d+))?\s*=\s*({_WORD})(?=\s|$)")
_PROPERTY = re.compile(rf'(?:({_WORD})\s*\.\s*)?({_WORD})\s*=\s*((?:{_QUOTED}|[^\s"\\])+)(?=\s|$)')


class NotReadableError(ValueError):
    """The field is not of the form of RFC 8601; the message says what is wrong and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """One result: `dkim=pass header.d=poczta.example`."""

    method: str
    """In lower case."""
    result: str
    """In lower case."""
    properties: dict[str, str] = field(default_factory=dict)
    """By `ptype.property` in lower case; quotes are gone where the whole value was quoted."""
    repeated: frozenset[str] = frozenset()
    """Properties that were given more than once: which one holds is anyone's guess."""

    def only(self, name: str) -> str | None:
        """The property, when it was given exactly once."""
        return None if name in self.repeated else self.properties.get(name)


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """One field."""

    authserv_id: str
    """In lower case."""
    results: tuple[Result, ...]


def authserv_id(value: str) -> str | None:
    """Whose field it is, in lower case, also when the rest cannot be read; None when not even that can be."""
    try:
        return _head(next(_parts(_checked(value))))
    except NotReadableError:
        return None


def parse(value: str) -> AuthenticationResults:
    """Read one field's value, folded or not. Raises NotReadableError."""
    parts = [part.strip() for part in _parts(_checked(value))]
    head = _head(parts[0])
    rest = parts[1:]
    if rest and not rest[-1]:
        # A final semicolon is common and harmless.
        rest = rest[:-1]
    if not rest:
        raise NotReadableError("it has no result")
    if [part.lower() for part in rest] == ["none"]:
        return AuthenticationResults(head, ())
    if len(rest) > MAX_RESULTS:
        raise NotReadableError("it has too many results")
    return AuthenticationResults(head, tuple(_result(part) for part in rest))


def _checked(value: str) -> str:
    if len(value) > MAX_LENGTH:
        raise NotReadableError("it is too long")
    text = _SPACE.sub(" ", value)
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise NotReadableError("it holds control characters")
    return text


def _parts(text: str) -> Iterator[str]:
    """The pieces between semicolons, with comments (RFC 5322, section 3.2.2, nested ones too) replaced by a space."""
    piece: list[str] = []
    depth, quoted, index = 0, False, 0
    while index < len(text):
        char = text[index]
        pair = char == "\\" and (depth or quoted)
        if pair and index + 1 == len(text):
            raise NotReadableError("it ends in a backslash")
        whole = text[index : index + 2] if pair else char
        index += len(whole)
        if depth:
            depth += {"(": 1, ")": -1}.get(whole, 0)
            if not depth:
                piece.append(" ")
        elif quoted:
            piece.append(whole)
            quoted = whole != '"'
        elif whole == "(":
            depth = 1
        elif whole == ")":
            raise NotReadableError("a comment ends that never began")
        elif whole == ";":
            yield "".join(piece)
            piece = []
        else:
            piece.append(whole)
            quoted = whole == '"'
    if depth or quoted:
        raise NotReadableError("a comment or a quoted text does not end")
    yield "".join(piece)


def _head(part: str) -> str:
    found = _ID.fullmatch(part.strip())
    if found is None:
        raise NotReadableError("it does not begin with the name of a server")
    if found[2] not in (None, "1"):
        raise NotReadableError("its version is not 1")
    return _unquoted(found[1]).lower()


def _result(part: str) -> Result:
    found = _METHOD.match(part)
    if found is None:
        raise NotReadableError("a result is not of the form method=result")
    if found[2] not in (None, "1"):
        raise NotReadableError("a method's version is not 1")
    properties: dict[str, str] = {}
    repeated = set()
    position = found.end()
    while position < len(part):
        if part[position] == " ":
            position += 1
            continue
        one = _PROPERTY.match(part, position)
        if one is None:
            raise NotReadableError("a property is not of the form type.name=value")
        # `reason="…"`, and `action=none` of Microsoft, have no type.
        name = f"{one[1]}.{one[2]}".lower() if one[1] else one[2].lower()
        if name in properties:
            repeated.add(name)
        properties[name] = _unquoted(one[3])
        position = one.end()
    return Result(found[1].lower(), found[3].lower(), properties, frozenset(repeated))


def _unquoted(text: str) -> str:
    if re.fullmatch(_QUOTED, text):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
