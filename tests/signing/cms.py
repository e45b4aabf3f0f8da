"""PAdES and CAdES signatures for tests, by pyHanko; and RSA without the NULL, as the real seal makes them."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asn1crypto import cms, keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko_certvalidator.registry import SimpleCertificateStore

from okienko.plugins.signature.nonull import PREFIXES
from signing.pki import Identity

REASON = (
    "Opatrzono pieczęcią ministra właściwego do spraw informatyzacji w imieniu: {name}, PESEL: {pesel}, PZ ID: {login}"
)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run pyHanko's coroutine in a thread of its own: the test itself may be in an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def rsa_without_null(key: rsa.RSAPrivateKey, octets: bytes, hash_name: str = "sha256") -> bytes:
    """PKCS#1 v1.5 by hand: DigestInfo without the NULL parameter."""
    numbers = key.private_numbers()
    length = (numbers.public_numbers.n.bit_length() + 7) // 8
    info = PREFIXES[hash_name] + hashlib.new(hash_name, octets).digest()
    block = b"\0\1" + b"\xff" * (length - 3 - len(info)) + b"\0" + info
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(length, "big")


class _NoNullSigner(signers.SimpleSigner):  # type: ignore[misc]
    plain_key: rsa.RSAPrivateKey

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:
        return rsa_without_null(self.plain_key, data, digest_algorithm)


def signer(identity: Identity, *, null: bool = True, chain: bool = True) -> Any:
    """pyHanko's signer; the issuer's certificate is carried along with `chain`."""
    store = SimpleCertificateStore()
    if chain and identity.issuer is not None:
        store.register(asn1_x509.Certificate.load(identity.issuer.public_bytes(serialization.Encoding.DER)))
    der = identity.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = (signers.SimpleSigner if null else _NoNullSigner)(
        signing_cert=asn1_x509.Certificate.load(identity.der),
        signing_key=keys.PrivateKeyInfo.load(der),
        cert_registry=store,
    )
    if not null:
        made.plain_key = identity.key
    return made


def plain_pdf(lines: tuple[str, ...] = ("Wniosek",)) -> bytes:
    """A PDF of one page, by hand and small; ASCII text only."""
    text = "".join(f"1 0 0 1 50 {780 - 20 * n} Tm ({line}) Tj " for n, line in enumerate(lines))
    stream = f"BT /F1 12 Tf {text}ET".encode("latin-1")
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 5 0 R>>>>/Contents 4 0 R>>",
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, part in enumerate(parts, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(parts) + 1, table)
    return bytes(out)


def sign_pdf(
    pdf: bytes,
    identity: Identity,
    *,
    name: str | None = None,
    reason: str | None = None,
    field: str = "Signature1",
    null: bool = True,
    chain: bool = True,
    certify: MDPPerm | None = None,
) -> bytes:
    """PAdES B-B; with `certify` it says what may be changed afterwards."""
    out = io.BytesIO()
    metadata = signers.PdfSignatureMetadata(
        field_name=field, name=name, reason=reason, subfilter=SigSeedSubFilter.PADES, md_algorithm="sha256",
        certify=certify is not None, docmdp_permissions=certify or MDPPerm.FILL_FORMS,
    )  # fmt: skip
    made = signers.PdfSigner(metadata, signer=signer(identity, null=null, chain=chain))
    _run(made.async_sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf), strict=False), output=out))
    return out.getvalue()


def podpis_zaufany_pdf(pdf: bytes, seal: Identity, name: str, pesel: str, *, null: bool = False) -> bytes:
    """The shape of the real one: the person in /Name and /Reason, the leaf certificate only, RSA without NULL."""
    reason = REASON.format(name=name, pesel=pesel, login="jwymyslony")
    return sign_pdf(pdf, seal, name=name, reason=reason, null=null, chain=False)


def sign_cms(content: bytes, identity: Identity, *, attached: bool = False, chain: bool = True) -> bytes:
    """CAdES B-B."""
    made = signer(identity, chain=chain)
    signed = _run(made.async_sign_general_data(content, "sha256", use_cades=True, detached=not attached))
    return bytes(signed.dump())


def sign_cms_by(content: bytes, identities: list[Identity], *, attached: bool = True) -> bytes:
    """One CMS with a signature by each, side by side (RFC 5652, 5.1)."""
    whole, *others = [cms.ContentInfo.load(sign_cms(content, who, attached=attached)) for who in identities]
    data = whole["content"]
    for other in others:
        data["signer_infos"].append(other["content"]["signer_infos"][0])
        held = {certificate.chosen.dump() for certificate in data["certificates"]}
        for certificate in other["content"]["certificates"]:
            if certificate.chosen.dump() not in held:
                data["certificates"].append(certificate)
    return bytes(whole.dump(force=True))
