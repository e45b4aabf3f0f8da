"""XAdES (ETSI EN 319 132): the signed properties belong to this signature, and nothing beside the signed octets is read."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from lxml import etree

from okienko.plugins.signature.intact import Intact, aware
from okienko.plugins.signature.podpis_zaufany import from_role
from okienko.plugins.signature.problems import Code, Refused, problem
from okienko.plugins.signature.safexml import parse_xml
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.xmlalgorithms import BASE64, DS, digest, strict_base64
from okienko.plugins.signature.xmldsig import XADES, Checked, Kind, Resolver, check_all
from okienko.plugins.signatures import SignedFile

_ASIC = "{http://uri.etsi.org/02918/v1.2.1#}"
_ATTRIBUTES = {
    DS + "Signature": {"Id"},
    DS + "SignatureValue": {"Id"},
    DS + "KeyInfo": {"Id"},
    DS + "Object": {"Id", "MimeType", "Encoding"},
    XADES + "QualifyingProperties": {"Id", "Target"},
    DS + "X509Data": set(),
    DS + "X509Certificate": set(),
}

_VALUES = (DS + "X509Certificate", DS + "SignatureValue")


def open_xades(
    document: bytes,
    filename: str,
    settings: SignatureSettings,
    *,
    resolve: Resolver | None = None,
) -> list[Intact]:
    """Check the signatures of an XML document: enveloped, enveloping, beside its data in one file, or detached.

    Raises Refused with the reason. `resolve` gives the files that a detached signature names.
    """
    found = check_all(document, max_depth=settings.max_depth, pins=settings.pinned_seals, resolve=resolve)
    return [_intact(checked, filename, settings) for checked in found]


def _intact(checked: Checked, filename: str, settings: SignatureSettings) -> Intact:
    _refuse_strays(checked)
    octets = checked.octets_of(Kind.SIGNED_PROPERTIES)
    if octets is None:
        raise Refused(Code.UNSUPPORTED, "a plain XML signature without XAdES' signed properties")
    properties = parse_xml(octets, max_depth=settings.max_depth)
    _bind_certificate(checked, properties)
    files, problems = _covered(checked, filename)
    roles = properties.findall(
        f"{XADES}SignedSignatureProperties/{XADES}SignerRole/{XADES}ClaimedRoles/{XADES}ClaimedRole"
    )
    roles += properties.findall(
        f"{XADES}SignedSignatureProperties/{XADES}SignerRoleV2/{XADES}ClaimedRoles/{XADES}ClaimedRole"
    )
    return Intact(
        certificate=checked.certificate,
        embedded=checked.embedded,
        files=files,
        coverage="partial" if problems else "whole",
        signed_at=_time(properties.findtext(f"{XADES}SignedSignatureProperties/{XADES}SigningTime")),
        statement=from_role(roles),
        problems=problems,
        beside=tuple(unquote(r.uri) for r in checked.references if r.kind is Kind.EXTERNAL),
    )


def _bind_certificate(checked: Checked, properties: Any) -> None:
    """SigningCertificate or its V2 (5.2.2) must name the certificate; else another one with the same key could stand in."""
    base = f"{XADES}SignedSignatureProperties/{XADES}"
    found = [*properties.findall(base + "SigningCertificateV2"), *properties.findall(base + "SigningCertificate")]
    if not found:
        raise Refused(Code.UNSUPPORTED, "the signed properties do not name the certificate")
    for element in found:
        first = element.find(f"{XADES}Cert/{XADES}CertDigest")
        if first is None:
            raise Refused(Code.MALFORMED, "the certificate's digest is missing")
        expected = strict_base64(first.findtext(DS + "DigestValue") or "")
        method = first.find(DS + "DigestMethod")
        got = digest(None if method is None else method.get("Algorithm"), checked.certificate.dump())
        if not hmac.compare_digest(got, expected):
            raise Refused(Code.CHANGED, "the certificate is another one than was signed")


def _covered(checked: Checked, filename: str) -> tuple[tuple[SignedFile, ...], list[Any]]:
    """Signed files, and a problem when something in the document is not signed."""
    whole = checked.whole_document
    external = [r for r in checked.references if r.kind is Kind.EXTERNAL]
    if whole is not None:
        # Referenced by its id, the root is signed without what stands around it, a style sheet say.
        around = [*checked.root.itersiblings(), *checked.root.itersiblings(preceding=True)]
        by_id = not any(r.kind is Kind.DOCUMENT for r in checked.references)
        problems = [problem(Code.PARTIAL_COVERAGE, "a processing instruction")] if around and by_id else []
        return (SignedFile(filename, "application/xml", whole), *_files(external)), problems
    objects = [r for r in checked.references if r.kind is Kind.OBJECT]
    elements = [r for r in checked.references if r.kind is Kind.ELEMENT]
    if any(r.kind is Kind.DOCUMENT or r.target is checked.root for r in checked.references):
        raise Refused(Code.WRAPPING, "the document is signed together with its signature")
    signed = {r.target for r in (*objects, *elements)}
    if elements:
        _refuse_wrapping(checked, signed)
    data = [*objects, *elements, *external]
    if not data:
        return (), [problem(Code.PARTIAL_COVERAGE, "only its own properties are signed, no data")]
    problems = [] if _all_signed(checked, signed) else [problem(Code.PARTIAL_COVERAGE)]
    return _files(data), problems


def _refuse_wrapping(checked: Checked, signed: set[Any]) -> None:
    """A signed element that is hidden while an unsigned one of its name stands where a reader looks."""
    for element in signed:
        if element.getparent() is checked.root or element is checked.root:
            continue
        twins = [e for e in checked.root.iter(element.tag) if e not in signed]
        if twins:
            raise Refused(Code.WRAPPING)


def _all_signed(checked: Checked, signed: set[Any]) -> bool:
    root, signature = checked.root, checked.signature
    if root is not signature:
        # Beside the signature stand signed elements only, and the wrapper says nothing itself.
        wrapper_ok = set(root.attrib) <= {"Id", "ID", "id"} and not _text_in(root)
        children = [child for child in root if child not in checked.signatures]
        if not wrapper_ok or signature.getparent() is not root or any(child not in signed for child in children):
            return False
        if not children and root.tag != _ASIC + "XAdESSignatures":
            return False
    for item in signature.findall(DS + "Object"):
        holds_properties = item.find(XADES + "QualifyingProperties") is not None and len(item) == 1
        if not (
            holds_properties
            or item in signed
            or (len(item) and all(child in signed for child in item) and not _text_in(item))
        ):
            return False
    return True


def _files(references: list[Any]) -> tuple[SignedFile, ...]:
    files = []
    for number, reference in enumerate(references, 1):
        if reference.kind is Kind.EXTERNAL:
            files.append(SignedFile(reference.uri, "application/octet-stream", reference.octets))
            continue
        content, media = reference.octets, "application/xml"
        target = reference.target
        if target.tag == DS + "Object":
            encoding = target.get("Encoding") or ""
            # Of an element whose text alone is signed, the media type is nobody's word.
            media = "application/octet-stream" if encoding else media
            inner = _canonical_root(reference.octets)
            if encoding.endswith("base64") and inner is not None and not len(inner):
                content = strict_base64(inner.text or "")
        files.append(SignedFile(f"object-{number}", media, content))
    return tuple(files)


def _canonical_root(octets: bytes) -> Any:
    try:
        return parse_xml(octets, max_depth=1 << 10)
    except Refused:
        return None


def _refuse_strays(checked: Checked) -> None:
    """Nothing may hide in the parts of the signature that no digest covers: no text, no unknown element or attribute."""
    signature = checked.signature
    signed = {r.target for r in checked.references if r.kind is Kind.OBJECT and not r.content_only}
    texts = {r.target for r in checked.references if r.content_only}
    for element in signature.iter(*_ATTRIBUTES):
        if element in signed or any(ancestor in signed for ancestor in element.iterancestors()):
            # What is signed speaks for itself.
            continue
        if not set(element.attrib) <= _ATTRIBUTES[element.tag] or element.get("Encoding", BASE64) != BASE64:
            raise Refused(Code.MALFORMED, "an unknown attribute in the signature")
        if element.tag not in _VALUES and element not in texts and _text_in(element):
            raise Refused(Code.MALFORMED, "text between the parts of the signature")
    order = [child.tag for child in signature if isinstance(child.tag, str)]
    if not set(order) <= {DS + name for name in ("SignedInfo", "SignatureValue", "KeyInfo", "Object")}:
        raise Refused(Code.MALFORMED, "an unknown element in the signature")
    if len(order) != len(signature) or next(signature.iter(etree.PI), None) is not None:
        raise Refused(Code.MALFORMED, "a processing instruction in the signature")
    qualifying = signature.findall(f"{DS}Object/{XADES}QualifyingProperties")
    for properties in qualifying:
        if properties.get("Target") != f"#{signature.get('Id')}":
            raise Refused(Code.MALFORMED, "the properties speak of another signature")
        if {child.tag for child in properties} - {XADES + "SignedProperties", XADES + "UnsignedProperties"}:
            raise Refused(Code.MALFORMED, "an unknown element in the properties")
    if len(qualifying) > 1:
        raise Refused(Code.MALFORMED, "two sets of properties")


def _text_in(element: Any) -> bool:
    return bool((element.text or "").strip() or any((child.tail or "").strip() for child in element))


def _time(text: str | None) -> datetime | None:
    try:
        return aware(datetime.fromisoformat(text.strip())) if text else None
    except (ValueError, OverflowError):
        return None
