"""XAdES signatures and ASiC containers for tests, built by hand on purpose: the checker's code is not used."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lxml import etree

from signing.cms import rsa_without_null, sign_cms
from signing.pki import Identity

DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
ASIC = "http://uri.etsi.org/02918/v1.2.1#"
PPZP = "http://crd.gov.pl/xml/schematy/ppzp/"
PERSON = "http://crd.gov.pl/xml/schematy/osoba/2009/03/06/"
EP = "http://crd.gov.pl/xml/schematy/podpis_zaufany/"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
BASE64 = "http://www.w3.org/2000/09/xmldsig#base64"
XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
APPLICATION = (
    '<Wniosek xmlns="http://okienko.invalid/wniosek"><Imie>Jan</Imie><Nazwisko>Wymyślony</Nazwisko>'
    "<DotychczasowyAdres>jan.stary@poczta.invalid</DotychczasowyAdres><NowyAdres>jan.nowy@poczta.invalid</NowyAdres></Wniosek>"
)


def podpis_zp(given: str, family: str, pesel: str) -> str:
    """The role in the older shape."""
    return (
        f'<ppZP:PodpisZP xmlns:ppZP="{PPZP}" xmlns:os="{PERSON}"><ppZP:DaneZP><ppZP:DaneZPOsobyFizycznej>'
        f'<os:Nazwisko rodzajCzlonu="pierwszy">{family}</os:Nazwisko><os:Imie>{given}</os:Imie><os:PESEL>{pesel}</os:PESEL>'
        "<ppZP:IdKontaUzytkownikaEpuap>jwymyslony</ppZP:IdKontaUzytkownikaEpuap>"
        "</ppZP:DaneZPOsobyFizycznej></ppZP:DaneZP></ppZP:PodpisZP>"
    )


def ep_signature(given: str, family: str, pesel: str) -> str:
    """The role in the other shape."""
    return (
        f'<EPSignature xmlns="{EP}"><NaturalPerson><CurrentFamilyName>{family}</CurrentFamilyName><FirstName>{given}</FirstName>'
        f"<DateOfBirth>2244-05-14</DateOfBirth><PersonalIdentifier>{pesel}</PersonalIdentifier></NaturalPerson>"
        "<SignatureData><IdentityIssuer>test</IdentityIssuer></SignatureData></EPSignature>"
    )


@dataclass
class Data:
    """One data reference: a URI with its octets, or computed from the document."""

    uri: str
    octets: bytes | None = None
    transforms: list[Any] = field(default_factory=list)
    """Algorithms, or whole Transform elements."""


def transform(algorithm: str, xpath: str | None = None) -> Any:
    """A Transform element with an XPath of either kind."""
    element = etree.Element(f"{{{DS}}}Transform", Algorithm=algorithm, nsmap={"ds": DS})
    if xpath is not None:
        namespace = FILTER2 if algorithm == FILTER2 else DS
        inner = etree.SubElement(element, f"{{{namespace}}}XPath")
        inner.text = xpath
        if algorithm == FILTER2:
            inner.set("Filter", "subtract")
    return element


def sign_xml(
    identity: Identity,
    data: list[Data],
    *,
    root: Any = None,
    objects: list[Any] | None = None,
    role: str | None = None,
    null: bool = True,
    c14n: str = EXCLUSIVE,
    chain: bool = False,
    properties: bool = True,
    number: int = 1,
) -> Any:
    """A ds:Signature of XAdES B-B; put into `root` when there is one. Octets not given are taken from the document."""
    signature = etree.Element(f"{{{DS}}}Signature", nsmap={"ds": DS, "xades": XADES}, Id=f"S{number}")
    if root is not None:
        root.append(signature)
    info = _add(signature, DS, "SignedInfo")
    _add(info, DS, "CanonicalizationMethod", Algorithm=c14n)
    _add(info, DS, "SignatureMethod", Algorithm=_method(identity))
    value = _add(signature, DS, "SignatureValue")
    key_info = _add(_add(signature, DS, "KeyInfo"), DS, "X509Data")
    _add(key_info, DS, "X509Certificate", _b64(identity.der))
    if chain and identity.issuer is not None:
        from cryptography.hazmat.primitives.serialization import Encoding

        _add(key_info, DS, "X509Certificate", _b64(identity.issuer.public_bytes(Encoding.DER)))
    for item in objects or ():
        signature.append(item)
    signed_properties = _properties(signature, identity, role, number) if properties else None
    for place, reference in enumerate(data, 1):
        octets = reference.octets if reference.octets is not None else _octets(root, signature, reference, c14n)
        _reference(info, reference.uri, octets, reference.transforms, name=f"r{number}-{place}")
    if signed_properties is not None:
        octets = _canonical(signed_properties, c14n)
        _reference(info, f"#SP{number}", octets, [c14n], kind="http://uri.etsi.org/01903#SignedProperties")
    value.text = _b64(_raw(identity, _canonical(info, c14n), null=null))
    return signature


def enveloped(identity: Identity, xml: str = APPLICATION, **options: Any) -> bytes:
    """The document with its signature inside."""
    root = etree.fromstring(xml.encode())
    transforms = options.pop("transforms", [ENVELOPED, options.get("c14n", EXCLUSIVE)])
    uri = options.pop("uri", "")
    sign_xml(identity, [Data(uri, transforms=transforms)], root=root, **options)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def enveloped_twice(identity: Identity, xml: str = APPLICATION) -> bytes:
    """The document with two signatures inside, each over the document without both."""
    root = etree.fromstring(xml.encode())
    for number in (1, 2):
        others = transform(XPATH, "not(ancestor-or-self::ds:Signature)")
        sign_xml(identity, [Data("", transforms=[others, EXCLUSIVE])], root=root, number=number)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def enveloping(identity: Identity, content: bytes, **options: Any) -> bytes:
    """Any file inside the signature, as base64."""
    item = etree.Element(f"{{{DS}}}Object", Id="plik", Encoding=BASE64, nsmap={"ds": DS})
    item.text = _b64(content)
    return etree.tostring(sign_xml(identity, [Data("#plik", content, [BASE64])], objects=[item], **options))


def detached(identity: Identity, files: dict[str, bytes], **options: Any) -> bytes:
    """Files beside the signature."""
    return etree.tostring(sign_xml(identity, [Data(name, octets) for name, octets in files.items()], **options))


def beside(identity: Identity, **options: Any) -> bytes:
    """Data and signature side by side in one wrapper, referenced by id."""
    wrapper = etree.fromstring(f'<Koperta xmlns="http://okienko.invalid/koperta">{APPLICATION}</Koperta>'.encode())
    wrapper[0].set("Id", "w1")
    transforms = options.pop("transforms", [EXCLUSIVE])
    sign_xml(identity, [Data("#w1", transforms=transforms)], root=wrapper, **options)
    return etree.tostring(wrapper)


def asic_xades(identity: Identity, files: dict[str, bytes], **options: Any) -> bytes:
    """ASiC-E with a XAdES signature."""
    root = etree.Element(f"{{{ASIC}}}XAdESSignatures", nsmap={"asic": ASIC})
    sign_xml(identity, [Data(name, octets) for name, octets in files.items()], root=root, **options)
    meta = {"META-INF/signatures0.xml": etree.tostring(root, xml_declaration=True, encoding="UTF-8")}
    return container({**files, **meta})


def asic_cades(identity: Identity, files: dict[str, bytes], number: int | str = "") -> bytes:
    """ASiC-E with a manifest under a CMS signature."""
    manifest = etree.Element(f"{{{ASIC}}}ASiCManifest", nsmap={"asic": ASIC, "ds": DS})
    _add(
        manifest, ASIC, "SigReference", URI=f"META-INF/signature{number}.p7s", MimeType="application/x-pkcs7-signature"
    )
    for name, octets in files.items():
        entry = _add(manifest, ASIC, "DataObjectReference", URI=name)
        _add(entry, DS, "DigestMethod", Algorithm=SHA256)
        _add(entry, DS, "DigestValue", _b64(hashlib.sha256(octets).digest()))
    octets = etree.tostring(manifest, xml_declaration=True, encoding="UTF-8")
    meta = {
        f"META-INF/ASiCManifest{number}.xml": octets,
        f"META-INF/signature{number}.p7s": sign_cms(octets, identity),
    }
    return container({**files, **meta})


def container(files: dict[str, bytes], kind: str = "e", *, mimetype: bool = True, packed: bool = True) -> bytes:
    """A ZIP, with the media type first where wanted."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        if mimetype:
            entry = zipfile.ZipInfo("mimetype", (2026, 1, 1, 0, 0, 0))
            made.writestr(entry, f"application/vnd.etsi.asic-{kind}+zip", zipfile.ZIP_STORED)
        for name, octets in files.items():
            made.writestr(
                zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)),
                octets,
                zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED,
            )
    return out.getvalue()


def rezip(blob: bytes, change: dict[str, bytes | None], *, packed: bool = True) -> bytes:
    """The container with files changed, added, or (None) taken out."""
    files = unzip(blob) | change
    return container({name: o for name, o in files.items() if o is not None and name != "mimetype"}, packed=packed)


def unzip(blob: bytes) -> dict[str, bytes]:
    """All files in it."""
    with zipfile.ZipFile(io.BytesIO(blob)) as old:
        return {entry.filename: old.read(entry) for entry in old.infolist()}


def _octets(root: Any, signature: Any, reference: Data, c14n: str) -> bytes:
    if reference.uri.startswith("#"):
        (target,) = root.xpath(f"//*[@Id='{reference.uri[1:]}']")
        if target is not root:
            return _canonical(target, c14n)
    copy = etree.fromstring(etree.tostring(root))
    for inner in list(copy.iter(f"{{{DS}}}Signature")):
        inner.getparent().remove(inner)
    return _canonical(copy, c14n)


def _properties(signature: Any, identity: Identity, role: str | None, number: int) -> Any:
    qualifying = _add(_add(signature, DS, "Object"), XADES, "QualifyingProperties", Target=f"#S{number}")
    properties = _add(qualifying, XADES, "SignedProperties", Id=f"SP{number}")
    inner = _add(properties, XADES, "SignedSignatureProperties")
    _add(inner, XADES, "SigningTime", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    digest = _add(_add(_add(inner, XADES, "SigningCertificateV2"), XADES, "Cert"), XADES, "CertDigest")
    _add(digest, DS, "DigestMethod", Algorithm=SHA256)
    _add(digest, DS, "DigestValue", _b64(hashlib.sha256(identity.der).digest()))
    if role:
        claimed = _add(_add(_add(inner, XADES, "SignerRole"), XADES, "ClaimedRoles"), XADES, "ClaimedRole")
        claimed.append(etree.fromstring(role))
    return properties


def _reference(
    info: Any, uri: str, octets: bytes, transforms: list[Any], *, kind: str | None = None, name: str | None = None
) -> None:
    reference = _add(info, DS, "Reference", URI=uri)
    if name:
        reference.set("Id", name)
    if kind:
        reference.set("Type", kind)
    if transforms:
        holder = _add(reference, DS, "Transforms")
        for item in transforms:
            if isinstance(item, str):
                _add(holder, DS, "Transform", Algorithm=item)
            else:
                holder.append(item)
    _add(reference, DS, "DigestMethod", Algorithm=SHA256)
    _add(reference, DS, "DigestValue", _b64(hashlib.sha256(octets).digest()))


def _method(identity: Identity) -> str:
    kind = "ecdsa" if isinstance(identity.key, ec.EllipticCurvePrivateKey) else "rsa"
    return f"http://www.w3.org/2001/04/xmldsig-more#{kind}-sha256"


def _raw(identity: Identity, octets: bytes, *, null: bool) -> bytes:
    key = identity.key
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), hashes.SHA256()) if null else rsa_without_null(key, octets)
    r, s = decode_dss_signature(key.sign(octets, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _canonical(element: Any, c14n: str) -> bytes:
    return bytes(etree.tostring(element, method="c14n", exclusive=c14n == EXCLUSIVE))


def _add(parent: Any, namespace: str, tag: str, text: str | None = None, **attributes: str) -> Any:
    element = etree.SubElement(parent, f"{{{namespace}}}{tag}", **attributes)
    element.text = text
    return element


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
