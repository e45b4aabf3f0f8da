"""What a document is, by its bytes; the file name decides only between what bytes leave open."""

from __future__ import annotations

import base64
import binascii
import re

from okienko.plugins.signatures import SignatureFormat

ASIC_TYPES = (b"application/vnd.etsi.asic-e+zip", b"application/vnd.etsi.asic-s+zip")
_PEM = re.compile(rb"\A\s*-----BEGIN (?:PKCS7|CMS)-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END (?:PKCS7|CMS)-----\s*\Z")
_BOMS = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


def detect(document: bytes) -> SignatureFormat:
    """The family that the document may be signed in; NONE for what carries no signature that we know."""
    if document.startswith(b"PK\x03\x04"):
        return SignatureFormat.ASIC_E
    if cms_bytes(document) is not None:
        return SignatureFormat.CADES
    if looks_like_xml(document):
        return SignatureFormat.XADES
    # Last, because a viewer finds the mark anywhere in the first kilobyte (ISO 32000-1, annex H), where others carry a PDF.
    if b"%PDF-" in document[:1024]:
        return SignatureFormat.PADES
    return SignatureFormat.NONE


def looks_like_xml(document: bytes) -> bool:
    """Whether the first thing in it is a tag, in any of the encodings that XML begins with."""
    start = document[:64]
    for bom in _BOMS:
        start = start.removeprefix(bom)
    return start.replace(b"\0", b"").lstrip().startswith(b"<")


def cms_bytes(document: bytes) -> bytes | None:
    """The CMS SignedData in it (RFC 5652) as BER: as it is, from PEM or from bare base64. None when there is none."""
    armoured = _PEM.match(document)
    if armoured:
        return _decoded(armoured[1])
    if document[:1] == b"\x30":
        return document if _SIGNED_DATA in document[:32] else None
    if document[:2] == b"MI":
        return _decoded(document)
    return None


def _decoded(text: bytes) -> bytes | None:
    try:
        raw = base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if raw[:1] == b"\x30" and _SIGNED_DATA in raw[:32] else None
