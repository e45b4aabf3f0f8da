"""Mails that are opaque-signed as a whole (S/MIME, RFC 8551, 3.5.2): all that they say stands inside a CMS SignedData.

What is inside is read as the mail's content. The signature around it is not checked and counts for nothing: the sender is proved by
the receiving server (A4, B6), an application by its own signature (B4).
"""

from __future__ import annotations

from collections.abc import Collection
from email.message import Message

MAX_SIGNED = 32 << 20
"""Octets of the CMS; larger ones stay packed, since opening one takes several times its size in memory."""
_TYPES: Collection[str] = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})


_SEQUENCE, _OID, _EXPLICIT_0, _OCTETS, _PIECES = 0x30, 0x06, 0xA0, 0x04, 0x24
_SIGNED_DATA, _DATA = bytes.fromhex("2a864886f70d010702"), bytes.fromhex("2a864886f70d010701")
_MOST_STEPS = 200_000
_MOST_NESTED = 8


def may_be_signed(content_type: str, filename: str) -> bool:
    """Whether a mail of this type may be opaque-signed; gateways that know no S/MIME leave only the name (RFC 8551, 3.9)."""
    return content_type in _TYPES or (content_type == "application/octet-stream" and filename.lower() == "smime.p7m")


def signed_content(octets: bytes) -> bytes | None:
    """What is signed. None when it is another kind of CMS (encrypted, certificates only).

    Raises ValueError when it is broken or larger than `MAX_SIGNED`. No library reads it: a mail of tiny nested pieces must not
    take minutes of the service's own process.
    """
    if len(octets) > MAX_SIGNED:
        raise ValueError("the signed mail is too large to be opened")
    try:
        reader = _Ber(octets)
        # ContentInfo, then SignedData (RFC 5652, 3 and 5.1): version, digest algorithms, what is signed.
        reader.enter(_SEQUENCE)
        if reader.primitive(_OID) != _SIGNED_DATA:
            return None
        reader.enter(_EXPLICIT_0)
        reader.enter(_SEQUENCE)
        reader.skip()
        reader.skip()
        within = reader.enter(_SEQUENCE)
        if reader.primitive(_OID) != _DATA or reader.at_end(within):
            return None
        reader.enter(_EXPLICIT_0)
        return reader.octet_string()
    except IndexError:
        raise ValueError("the signed mail is cut short") from None


class _Ber:
    """Reads BER (X.690, 8.1) from front to back, every octet at most once, in a limited number of steps."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._place = 0
        self._steps = 0

    def enter(self, tag: int) -> int | None:
        """Step into a value of this tag; where it ends, None when only an end-of-contents tells."""
        found, end = self._header()
        if found != tag:
            raise ValueError("the signed mail is damaged")
        return end

    def at_end(self, end: int | None) -> bool:
        """Whether nothing more stands in the value that ends there."""
        return self._place == end if end is not None else self._octets[self._place : self._place + 2] == b"\0\0"

    def primitive(self, tag: int) -> bytes:
        """The octets of a value of this tag."""
        end = self.enter(tag)
        if end is None:
            raise ValueError("the signed mail is damaged")
        start, self._place = self._place, end
        return self._octets[start:end]

    def skip(self) -> None:
        """Step over a value."""
        open_values = 0
        while True:
            tag, end = self._header()
            if end is None:
                open_values += 1
            else:
                self._place = end
                if tag == 0 and open_values:
                    open_values -= 1
            if not open_values:
                return

    def octet_string(self) -> bytes:
        """The octets of a string, put together where it comes in pieces (8.7.3)."""
        tag, end = self._header()
        if tag == _OCTETS and end is not None:
            return self._octets[self._place : end]
        if tag != _PIECES:
            raise ValueError("the signed mail is damaged")
        pieces, ends = [], [end]
        while ends:
            if ends[-1] == self._place:
                ends.pop()
                continue
            tag, end = self._header()
            if tag == _PIECES and len(ends) < _MOST_NESTED:
                ends.append(end)
            elif tag == _OCTETS and end is not None:
                pieces.append(self._octets[self._place : end])
                self._place = end
            elif tag == 0 and end == self._place and ends[-1] is None:
                ends.pop()
            else:
                raise ValueError("the signed mail is damaged")
        return b"".join(pieces)

    def _header(self) -> tuple[int, int | None]:
        """Tag and end of the value that begins here; the place is then its first octet."""
        self._steps += 1
        tag, length = self._octets[self._place], self._octets[self._place + 1]
        self._place += 2
        if self._steps > _MOST_STEPS or tag & 0x1F == 0x1F:
            raise ValueError("the signed mail is damaged, or in too many pieces")
        if length == 0x80 and tag & 0x20:
            return tag, None
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 8:
                raise ValueError("the signed mail is damaged")
            length = int.from_bytes(self._octets[self._place : self._place + count], "big")
            self._place += count
        if self._place + length > len(self._octets):
            raise ValueError("the signed mail is cut short")
        return tag, self._place + length


def is_mime(message: Message) -> bool:
    """Whether it says of itself what it is. A file that somebody signed and mailed bare does not."""
    return "Content-Type" in message
