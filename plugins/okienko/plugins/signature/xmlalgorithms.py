"""The closed lists of XML Signature: algorithms that count, transformations that are allowed, and their arithmetic.

No SHA-1, no XSLT, no XPath but the two expressions that mean "all but the signature" (RFC 6931; XML Signature 1.1, 6).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from okienko.plugins.signature.nonull import verifies_without_null
from okienko.plugins.signature.problems import Code, Refused

DS = "{http://www.w3.org/2000/09/xmldsig#}"
MIN_RSA_BITS = 2048

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_DIGESTS = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_METHODS = {
    **{f"http://www.w3.org/2001/04/xmldsig-more#rsa-{h}": ("rsa", h) for h in _HASHES},
    **{f"http://www.w3.org/2001/04/xmldsig-more#ecdsa-{h}": ("ecdsa", h) for h in _HASHES},
    **{f"http://www.w3.org/2007/05/xmldsig-more#{h}-rsa-MGF1": ("pss", h) for h in _HASHES},
}
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_CANONICAL = {
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315": False,
    "http://www.w3.org/2006/12/xml-c14n11": False,
    _EXCLUSIVE: True,
}
"""Canonicalization -> exclusive? The forms with comments are the same here: comments are refused or never looked at.
1.0 and 1.1 differ in inherited xml:id and xml:base only, and then the digest does not agree."""
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
BASE64 = "http://www.w3.org/2000/09/xmldsig#base64"
XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
_NOT_IN_SIGNATURE = re.compile(r"not\(\s*ancestor-or-self::([\w.-]+):Signature\s*\)")
_SUBTRACT_SIGNATURE = re.compile(r"(?:/descendant::|//|here\(\)/ancestor::)([\w.-]+):Signature(?:\[1\])?")


def digest(algorithm: str | None, octets: bytes) -> bytes:
    """The digest by its URI. Raises Refused for one that is not on the list."""
    if algorithm not in _DIGESTS:
        raise Refused(Code.WEAK_ALGORITHM, "a digest other than SHA-256, 384 or 512")
    return hashlib.new(_DIGESTS[algorithm], octets).digest()


def digest_name(algorithm: str | None) -> str | None:
    """What `hashlib` calls the digest; None for one that is not on the list."""
    return _DIGESTS.get(algorithm or "")


def is_canonicalization(algorithm: str | None) -> bool:
    """Whether it is one of the canonicalizations on the list, with or without comments."""
    return (algorithm or "").removesuffix("WithComments").rstrip("#") in {a.rstrip("#") for a in _CANONICAL}


def canonical(node: Any, algorithm: str | None, transform: Any = None) -> bytes:
    """Canonical octets of an element or tree, without comments. `transform` may carry a PrefixList."""
    exact = (algorithm or "").removesuffix("WithComments")
    exact = exact if exact in _CANONICAL else exact.rstrip("#")
    if exact not in _CANONICAL:
        raise Refused(Code.FORBIDDEN_TRANSFORM, "a canonicalization that is not on the list")
    prefixes = None
    inclusive = None if transform is None else transform.find(f"{{{_EXCLUSIVE}}}InclusiveNamespaces")
    if inclusive is not None:
        prefixes = (inclusive.get("PrefixList") or "").split()
    exclusive = _CANONICAL[exact]
    octets: bytes = etree.tostring(
        node,
        method="c14n",
        exclusive=exclusive,
        with_comments=False,
        inclusive_ns_prefixes=prefixes if exclusive else None,
    )
    return octets


class TakesOut(StrEnum):
    """Which signatures a transformation leaves out of what is digested."""

    OWN = "own"
    FIRST = "first"
    ALL = "all"


def takes_signature_out(transform: Any) -> TakesOut | None:
    """Whether the transformation means "all but the signature". Raises Refused for any other XPath."""
    algorithm = transform.get("Algorithm")
    if algorithm == ENVELOPED:
        return TakesOut.OWN
    if algorithm == XPATH:
        (expression, pattern) = (transform.find(DS + "XPath"), _NOT_IN_SIGNATURE)
    elif algorithm == FILTER2:
        (expression, pattern) = (transform.find(f"{{{FILTER2}}}XPath"), _SUBTRACT_SIGNATURE)
        if expression is not None and expression.get("Filter") != "subtract":
            expression = None
    else:
        return None
    found = (
        pattern.fullmatch((expression.text or "").strip()) if expression is not None and len(transform) == 1 else None
    )
    if expression is None or found is None or expression.nsmap.get(found[1]) != DS[1:-1]:
        raise Refused(Code.FORBIDDEN_TRANSFORM, "an XPath that is not on the list")
    if found[0].startswith("here()"):
        return TakesOut.OWN
    return TakesOut.FIRST if found[0].endswith("[1]") else TakesOut.ALL


def strict_base64(text: str) -> bytes:
    """Decode; raises Refused for anything but white space and the one right encoding of the octets."""
    packed = "".join(text.split())
    try:
        octets = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Code.MALFORMED, "its base64 is broken") from None
    if base64.b64encode(octets).decode("ascii") != packed:
        raise Refused(Code.MALFORMED, "its base64 is not the shortest form")
    return octets


def verifies(spki: bytes, method: str | None, octets: bytes, value: bytes, pins: Collection[str]) -> bool:
    """Whether `value` signs `octets` under the key. Raises Refused for weak keys and methods off the list."""
    if method not in _METHODS:
        raise Refused(Code.WEAK_ALGORITHM, "a signature method that is not on the list")
    kind, hash_name = _METHODS[method]
    algorithm = _HASHES[hash_name]
    key = serialization.load_der_public_key(spki)
    try:
        if isinstance(key, rsa.RSAPublicKey) and kind in ("rsa", "pss"):
            if key.key_size < MIN_RSA_BITS:
                raise Refused(Code.WEAK_ALGORITHM, f"an RSA key below {MIN_RSA_BITS} bits")
            scheme = (
                padding.PKCS1v15() if kind == "rsa" else padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
            )
            key.verify(value, octets, scheme, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and kind == "ecdsa":
            half = (key.key_size + 7) // 8
            if len(value) != 2 * half:
                return False
            r, s = int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
            key.verify(encode_dss_signature(r, s), octets, ec.ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        hashed = hashlib.new(hash_name, octets).digest()
        return kind == "rsa" and verifies_without_null(spki, value, hashed, hash_name, pins)
    return True
