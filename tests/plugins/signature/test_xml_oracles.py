"""Our XML arithmetic against two libraries: xmlsec (libxml2's own) and signxml agree with us on what verifies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from lxml import etree
from signxml.exceptions import InvalidDigest, InvalidSignature
from signxml.xades import XAdESSignatureConfiguration, XAdESVerifier

from plugins.signature.conftest import Check
from plugins.signature.test_xades import SHAPES
from signing.pki import Pki
from signing.xml import DS, XADES, beside, enveloped, enveloping

DOCUMENTS: dict[str, Any] = {
    **{shape: lambda i, o=options: enveloped(i, **copy.deepcopy(o)) for shape, options in SHAPES.items()},
    "enveloping": lambda i: enveloping(i, b"abc" * 100),
    "beside": beside,
}


def by_xmlsec(document: bytes, pki: Pki, signer: str) -> bool:
    root = etree.fromstring(document)
    xmlsec.tree.add_ids(root, ["Id"])
    (signature,) = root.iter(f"{{{DS}}}Signature")
    context = xmlsec.SignatureContext()
    pem = pki[signer].certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    try:
        context.verify(signature)
    except xmlsec.Error:
        return False
    return True


def by_signxml(document: bytes, pki: Pki, signer: str) -> bool:
    config = XAdESSignatureConfiguration(expect_references=True, location=".//")
    try:
        XAdESVerifier().verify(document, x509_cert=load_der_x509_certificate(pki[signer].der), expect_config=config)
    except (InvalidSignature, InvalidDigest):
        return False
    return True


@pytest.mark.parametrize("signer", ["jan", "jan_rsa"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_all_three_agree(pki: Pki, check: Check, name: str, signer: str) -> None:
    document = DOCUMENTS[name](pki[signer])
    assert check(document).report.valid
    assert by_xmlsec(document, pki, signer)
    if name not in ("xpath", "filter2"):
        # signxml ignores transformations that it does not know.
        assert by_signxml(document, pki, signer)
    changed = document.replace(b"</xades:SigningTime>", b"0</xades:SigningTime>")
    assert changed != document
    assert not check(changed).report.valid
    assert not by_xmlsec(changed, pki, signer)


def test_what_xmlsec_signs_we_accept(pki: Pki, check: Check) -> None:
    """A signature whose values another implementation computed, with namespaces declared far above what is signed."""
    root = etree.fromstring(
        b'<k:Koperta xmlns:k="http://okienko.invalid/k" xmlns:unused="http://okienko.invalid/u"><k:Tresc a="1">&lt;tekst&gt; \xc5\xbc</k:Tresc></k:Koperta>'
    )
    template = etree.fromstring(enveloped(pki["jan_rsa"], c14n="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"))
    signature = template.find(f"{{{DS}}}Signature")
    root.append(signature)
    for value in signature.iterfind(f".//{{{DS}}}Reference/{{{DS}}}DigestValue"):
        value.text = ""
    signature.find(f"{{{DS}}}SignatureValue").text = ""
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    pem = pki["jan_rsa"].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    context.sign(signature)
    found = check(etree.tostring(root))
    assert found.report.valid, found.report.problems
    assert XADES not in found.signed[0].content.decode()
