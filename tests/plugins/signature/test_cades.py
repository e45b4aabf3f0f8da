"""CMS signatures: attached, detached, and armoured."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest

from okienko.plugins.signatures import MissingFile, SignatureFormat, SignatureLevel
from plugins.signature.conftest import Check, codes
from signing.cms import sign_cms
from signing.pki import Pki

CONTENT = b"Wniosek: jan.stary@poczta.invalid, jan.nowy@poczta.invalid\n"


@pytest.mark.parametrize("signer", ["jan", "jan_rsa"])
@pytest.mark.parametrize("armour", ["der", "base64", "pem"])
def test_attached(pki: Pki, check: Check, signer: str, armour: str) -> None:
    signed = sign_cms(CONTENT, pki[signer], attached=True)
    if armour != "der":
        signed = base64.encodebytes(signed)
    if armour == "pem":
        signed = b"-----BEGIN PKCS7-----\n" + signed + b"-----END PKCS7-----\n"
    found = check(signed, "wniosek.txt.p7m")
    assert codes(found) == []
    assert (found.report.format, found.report.level) == (SignatureFormat.CADES, SignatureLevel.QUALIFIED)
    assert [(f.name, f.content) for f in found.signed] == [("wniosek.txt", CONTENT)]


def test_a_pdf_inside(pki: Pki, check: Check) -> None:
    found = check(sign_cms(b"%PDF-1.4 udawany", pki["jan"], attached=True), "a.pdf.p7m")
    assert codes(found) == []
    assert [(f.name, f.content) for f in found.signed] == [("a.pdf", b"%PDF-1.4 udawany")]


def test_detached(pki: Pki, check: Check) -> None:
    signed = sign_cms(CONTENT, pki["jan"])
    assert codes(check(signed, detached=CONTENT)) == []
    found = check(signed)
    assert codes(found) == ["content_missing"]
    assert found.missing == (MissingFile("sha256", hashlib.sha256(CONTENT).digest()),)
    assert check(signed, detached=CONTENT).missing == ()
    assert codes(check(signed, detached=CONTENT + b"x")) == ["changed"]


def test_attached_and_another_file_beside(pki: Pki, check: Check) -> None:
    assert codes(check(sign_cms(CONTENT, pki["jan"], attached=True), detached=b"inny")) == ["changed"]


@pytest.mark.parametrize(
    ("signer", "expected"), [("jan_evil", "untrusted"), ("jan_expired", "expired"), ("jan_revoked", "revoked")]
)
def test_reasons(pki: Pki, check: Check, signer: str, expected: str) -> None:
    assert codes(check(sign_cms(CONTENT, pki[signer], attached=True))) == [expected]


def test_changed_content(pki: Pki, check: Check) -> None:
    assert codes(check(sign_cms(CONTENT, pki["jan"], attached=True).replace(b"nowy", b"inny"))) == ["changed"]


def test_octets_behind_it(pki: Pki, check: Check) -> None:
    assert codes(check(sign_cms(CONTENT, pki["jan"], attached=True) + b"\0")) == ["unreadable"]


@pytest.mark.parametrize("document", [b"", b"MIIB", b"0\x80", b"hello", bytes(range(256))])
def test_garbage_is_not_signed(check: Check, document: bytes) -> None:
    found = check(document, "x.p7m", detached=CONTENT)
    assert codes(found) == ["not_signed"]
    assert found.report.format is SignatureFormat.NONE


def test_openssl_agrees(pki: Pki, check: Check, tmp_path: Path) -> None:
    """`openssl cms -verify` reads the same file the same way."""
    signed = sign_cms(CONTENT, pki["jan"], attached=True)
    (tmp_path / "w.p7m").write_bytes(signed)
    command = [
        "openssl", "cms", "-verify", "-inform", "DER", "-in", tmp_path / "w.p7m", "-CAfile", pki.folder / "root.pem",
        "-certfile", pki.folder / "ca.pem", "-purpose", "any", "-out", tmp_path / "content",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "content").read_bytes() == check(signed).signed[0].content
