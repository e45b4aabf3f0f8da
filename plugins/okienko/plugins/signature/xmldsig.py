"""Core validation of one XML Signature (W3C XML Signature 1.1, 3.2), and which octets it really signs.

No library is used for this part: signxml ignores transformations it does not know, xmlsec cannot tell what was signed nor accept
the seal's RSA encoding, and both read the tree again afterwards. Here every reference's octets are kept and only those are
read. The tests hold it against both libraries.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

from asn1crypto import x509
from lxml import etree

from okienko.plugins.signature.certificates import load_certificate
from okienko.plugins.signature.nonull import UNPINNED, spki_sha256
from okienko.plugins.signature.problems import MOST_SIGNATURES, Code, Refused
from okienko.plugins.signature.safexml import parse_xml
from okienko.plugins.signature.xmlalgorithms import (
    BASE64,
    DS,
    TakesOut,
    canonical,
    digest,
    digest_name,
    is_canonicalization,
    strict_base64,
    takes_signature_out,
    verifies,
)
from okienko.plugins.signatures import MissingFile

XADES = "{http://uri.etsi.org/01903/v1.3.2#}"
SIGNED_PROPERTIES = "http://uri.etsi.org/01903#SignedProperties"
_DEFAULT_CANONICAL = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_MOST_REFERENCES = 100
_MOST_TRANSFORMS = 5

Resolver = Callable[[str], bytes | None]
"""Gives the file that a reference names, or None."""


class Kind(StrEnum):
    """What a reference speaks of."""

    DOCUMENT = "document"
    ELEMENT = "element"
    OBJECT = "object"
    SIGNED_PROPERTIES = "signed_properties"
    KEY_INFO = "key_info"
    EXTERNAL = "external"


@dataclass(frozen=True)
class Reference:
    """One reference whose digest agrees."""

    kind: Kind
    uri: str
    octets: bytes
    """What was digested."""
    without_signature: bool
    content_only: bool = False
    """Signed is the text in the element (base64), not the element itself with its attributes."""
    target: Any = None
    """The element in the document; to find out where it stands, never to read from."""


@dataclass(frozen=True)
class Checked:
    """A signature that verifies under `certificate`, with what it covers."""

    root: Any
    signature: Any
    signatures: tuple[Any, ...]
    """All that stand in the document, this one among them."""
    certificate: x509.Certificate
    embedded: tuple[x509.Certificate, ...]
    references: tuple[Reference, ...]

    def octets_of(self, kind: Kind) -> bytes | None:
        """What the one reference of this kind covers."""
        found = [r.octets for r in self.references if r.kind is kind]
        return found[0] if len(found) == 1 else None

    @property
    def whole_document(self) -> bytes | None:
        """The canonical octets of the document without its signature, when that is what is signed."""
        for r in self.references:
            if r.without_signature and (r.kind is Kind.DOCUMENT or r.target is self.root):
                return r.octets
        return None


def check(
    document: bytes,
    *,
    max_depth: int,
    pins: Collection[str] = (),
    resolve: Resolver | None = None,
    comments_allowed: bool = False,
) -> Checked:
    """Verify the one signature in the document. Raises Refused with the reason."""
    found = check_all(
        document, max_depth=max_depth, pins=pins, resolve=resolve, comments_allowed=comments_allowed, most=1
    )
    return found[0]


def check_all(
    document: bytes,
    *,
    max_depth: int,
    pins: Collection[str] = (),
    resolve: Resolver | None = None,
    comments_allowed: bool = False,
    most: int = MOST_SIGNATURES,
) -> list[Checked]:
    """Verify every signature in the document; none may stand in another. Raises Refused with the first reason."""
    root = parse_xml(document, max_depth=max_depth)
    signatures = list(root.iter(DS + "Signature"))
    if not signatures:
        raise Refused(Code.NOT_SIGNED)
    if len(signatures) > most:
        raise Refused(Code.SEVERAL_SIGNATURES)
    if any(next(signature.iterancestors(DS + "Signature"), None) is not None for signature in signatures):
        raise Refused(Code.SEVERAL_SIGNATURES, "one stands in another")
    if not comments_allowed and next(root.getroottree().xpath("//comment()").__iter__(), None) is not None:
        raise Refused(Code.PARTIAL_COVERAGE, "it holds XML comments, which no XML signature covers")
    return [
        _Check(document, root, signatures, number, max_depth, pins, resolve).run() for number in range(len(signatures))
    ]


class _Check:
    def __init__(
        self,
        document: bytes,
        root: Any,
        signatures: list[Any],
        number: int,
        max_depth: int,
        pins: Collection[str],
        resolve: Resolver | None,
    ) -> None:
        self.document, self.root, self.signatures, self.max_depth = document, root, signatures, max_depth
        self.number, self.signature = number, signatures[number]
        self.pins, self.resolve = pins, resolve
        self.ids = _ids(root)
        self.used_external: set[str] = set()

    def run(self) -> Checked:
        info = _one(self.signature, DS + "SignedInfo")
        method = _one(info, DS + "CanonicalizationMethod")
        octets = canonical(info, method.get("Algorithm"), method)
        # Read from the canonical octets: a comment cannot split a value there.
        info = parse_xml(octets, max_depth=self.max_depth)
        value = strict_base64(_text(_one(self.signature, DS + "SignatureValue")))
        algorithm = _one(info, DS + "SignatureMethod").get("Algorithm")
        certificate, others = self._signer(algorithm, octets, value)
        found = info.findall(DS + "Reference")
        if not 0 < len(found) <= _MOST_REFERENCES:
            raise Refused(Code.TOO_COMPLEX, "too many references")
        references = tuple(self._reference(reference) for reference in found)
        return Checked(self.root, self.signature, tuple(self.signatures), certificate, others, references)

    def _signer(
        self, algorithm: str | None, octets: bytes, value: bytes
    ) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
        texts = self.signature.findall(f"{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate")
        if not texts:
            raise Refused(Code.UNSUPPORTED, "the signature does not carry its certificate")
        if len(texts) > 20:
            raise Refused(Code.TOO_COMPLEX, "too many certificates")
        certificates = [load_certificate(strict_base64(_text(text))) for text in texts]
        for certificate in certificates:
            if verifies(certificate.public_key.dump(), algorithm, octets, value, self.pins):
                return certificate, tuple(c for c in certificates if c is not certificate)
        unpinned = any(
            verifies(spki, algorithm, octets, value, {spki_sha256(spki)})
            for spki in (c.public_key.dump() for c in certificates)
        )
        raise Refused(Code.SIGNATURE_INVALID, UNPINNED if unpinned else "")

    def _reference(self, reference: Any) -> Reference:
        uri = reference.get("URI")
        transforms = reference.findall(f"{DS}Transforms/{DS}Transform")
        if len(transforms) > _MOST_TRANSFORMS:
            raise Refused(Code.TOO_COMPLEX, "too many transformations")
        kind, target = self._target(reference, uri)
        without = content_only = False
        node: Any = target
        octets: bytes | None = None
        if kind is Kind.EXTERNAL:
            octets = self.resolve(unquote(uri or "")) if self.resolve else None
            if octets is None:
                raise Refused(Code.CONTENT_MISSING, missing=_signed_elsewhere(reference.getparent()))
        for transform in transforms:
            algorithm = transform.get("Algorithm")
            if (which := takes_signature_out(transform)) is not None:
                if kind is Kind.ELEMENT and octets is None and not self._holds_signature(target):
                    # By its definition (6.6.4) nothing is taken out then; signxml writes such references.
                    continue
                if without or octets is not None or not (kind is Kind.DOCUMENT or target is self.root):
                    raise Refused(
                        Code.FORBIDDEN_TRANSFORM, "a signature is taken out of something else than the document"
                    )
                node, without = self._without_signature(kind, which), True
            elif is_canonicalization(algorithm):
                if octets is not None:
                    node = parse_xml(octets, max_depth=self.max_depth).getroottree()
                octets = canonical(node, algorithm, transform)
            elif algorithm == BASE64:
                if octets is not None or kind is Kind.DOCUMENT:
                    raise Refused(Code.FORBIDDEN_TRANSFORM, "base64 of something else than an element")
                octets, content_only = strict_base64("".join(node.itertext())), True
            else:
                raise Refused(Code.FORBIDDEN_TRANSFORM)
        if octets is None:
            octets = canonical(node, _DEFAULT_CANONICAL)
        expected = strict_base64(_text(_one(reference, DS + "DigestValue")))
        if not hmac.compare_digest(digest(_one(reference, DS + "DigestMethod").get("Algorithm"), octets), expected):
            raise Refused(Code.CHANGED)
        return Reference(kind, uri or "", octets, without, content_only, None if kind is Kind.EXTERNAL else target)

    def _target(self, reference: Any, uri: str | None) -> tuple[Kind, Any]:
        if uri == "":
            return Kind.DOCUMENT, self.root.getroottree()
        if uri is None or not uri.startswith("#"):
            return Kind.EXTERNAL, None
        element = self.ids.get(uri[1:])
        if element is None:
            raise Refused(Code.FORBIDDEN_TRANSFORM, "a reference to something that is not in the document")
        if reference.get("Type") == SIGNED_PROPERTIES:
            # Anywhere else the properties would be signed, but not be this signature's.
            if element is not self.signature.find(f"{DS}Object/{XADES}QualifyingProperties/{XADES}SignedProperties"):
                raise Refused(Code.WRAPPING, "the signed properties stand in a wrong place")
            return Kind.SIGNED_PROPERTIES, element
        if element is self.signature.find(DS + "KeyInfo"):
            return Kind.KEY_INFO, element
        if any(ancestor is self.signature for ancestor in element.iterancestors()):
            return Kind.OBJECT, element
        return Kind.ELEMENT, element

    def _holds_signature(self, element: Any) -> bool:
        """Whether any signature is it or stands in it."""
        return next(element.iter(DS + "Signature"), None) is not None

    def _without_signature(self, kind: Kind, which: TakesOut) -> Any:
        fresh = parse_xml(self.document, max_depth=self.max_depth)
        signatures = list(fresh.iter(DS + "Signature"))
        if which is TakesOut.FIRST and len(signatures) > 1:
            raise Refused(Code.FORBIDDEN_TRANSFORM, "which of several signatures is taken out is not clear")
        for signature in signatures if which is TakesOut.ALL else [signatures[self.number]]:
            self._take_out(signature)
        return fresh.getroottree() if kind is Kind.DOCUMENT else fresh

    def _take_out(self, signature: Any) -> None:
        parent = signature.getparent()
        if parent is None:
            raise Refused(Code.FORBIDDEN_TRANSFORM, "nothing is left without the signature")
        before = signature.getprevious()
        if signature.tail and before is not None:
            before.tail = (before.tail or "") + signature.tail
        elif signature.tail:
            parent.text = (parent.text or "") + signature.tail
        parent.remove(signature)


def _ids(root: Any) -> dict[str, Any]:
    """Elements by id. Raises Refused for an id that stands twice: which one is meant would be the reader's choice."""
    ids: dict[str, Any] = {}
    for element in root.iter(etree.Element):
        for name in ("Id", "ID", "id", "{http://www.w3.org/XML/1998/namespace}id"):
            value = element.get(name)
            if value is not None and ids.setdefault(value, element) is not element:
                raise Refused(Code.WRAPPING, "an id stands twice in the document")
    return ids


def _signed_elsewhere(info: Any) -> tuple[MissingFile, ...]:
    """Files outside the document by their digests; nothing when one is digested otherwise than octet by octet."""
    missing = []
    for reference in info.findall(DS + "Reference"):
        uri = reference.get("URI")
        if uri is not None and (uri == "" or uri.startswith("#")):
            continue
        name = digest_name(_one(reference, DS + "DigestMethod").get("Algorithm"))
        if name is None or reference.find(DS + "Transforms") is not None:
            return ()
        missing.append(MissingFile(name, strict_base64(_text(_one(reference, DS + "DigestValue")))))
    return tuple(dict.fromkeys(missing))


def _one(element: Any, tag: str) -> Any:
    found = element.findall(tag)
    if len(found) != 1:
        raise Refused(Code.MALFORMED, "a part of the signature is missing or stands twice")
    return found[0]


def _text(element: Any) -> str:
    if len(element):
        raise Refused(Code.MALFORMED, "a value of the signature holds elements")
    return element.text or ""
