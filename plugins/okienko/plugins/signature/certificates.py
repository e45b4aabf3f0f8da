"""Certificates from files and from documents."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from asn1crypto import pem, x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import load_der_x509_certificate

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.signature.problems import Code, Refused


def read_certificates(paths: Iterable[Path]) -> list[x509.Certificate]:
    """All certificates in the files, PEM (several in one file) or DER. Raises MisconfiguredError that names the file."""
    found: list[x509.Certificate] = []
    for path in paths:
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise MisconfiguredError(f"cannot read the certificate file {path}: {error.strerror}") from None
        try:
            blocks = (
                [der for kind, _, der in pem.unarmor(raw, multiple=True) if kind == "CERTIFICATE"]
                if pem.detect(raw)
                else [raw]
            )
            loaded = [load_certificate(der) for der in blocks]
        except (ValueError, TypeError, Refused):
            raise MisconfiguredError(f"{path} holds no readable certificate (PEM or DER)") from None
        if not loaded:
            raise MisconfiguredError(f"{path} holds no certificate")
        found += loaded
    return found


def load_certificate(der: bytes) -> x509.Certificate:
    """One certificate, parsed to its end. Raises Refused for what is none."""
    try:
        certificate = x509.Certificate.load(der, strict=True)
        _ = certificate.native
        with warnings.catch_warnings(action="ignore"):
            load_der_x509_certificate(der)  # the stricter of the two parsers
    except Exception:  # both parsers raise whatever their lowest layer did
        raise Refused(Code.MALFORMED, "a certificate in it cannot be read") from None
    if not 0 < certificate.serial_number < 1 << 160 or der[:1] != b"\x30":
        raise Refused(Code.MALFORMED, "a certificate in it has no proper serial number")
    inner, outer = certificate["tbs_certificate"]["signature"], certificate["signature_algorithm"]
    if certificate["signature_value"].contents[:1] != b"\0" or inner.dump() != outer.dump():
        # Neither the count of unused bits nor the outer algorithm is signed.
        raise Refused(Code.MALFORMED, "a certificate in it says of its signature what it must not")
    return certificate


def refuse_damaged(embedded: Sequence[x509.Certificate], known: Sequence[x509.Certificate]) -> None:
    """Raise Refused when a certificate carried along is not what its issuer signed.

    Nothing else protects these bytes: a CMS or KeyInfo may carry the chain outside of what is signed.
    """
    pool = [*embedded, *known]
    whole = {certificate.dump() for certificate in known}
    for certificate in embedded:
        if certificate.dump() in whole:
            continue
        # Loaded once already, so it raises nothing.
        plain = load_der_x509_certificate(certificate.dump())
        issuers = [load_der_x509_certificate(c.dump()) for c in pool if c.subject == certificate.issuer]
        for issuer in issuers:
            try:
                plain.verify_directly_issued_by(issuer)
            except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
                continue
            break
        else:
            raise Refused(
                Code.CHANGED if issuers else Code.UNTRUSTED,
                "a certificate carried in the signature does not verify under its issuer's key"
                if issuers
                else "the issuer of a certificate carried in the signature is unknown",
            )
