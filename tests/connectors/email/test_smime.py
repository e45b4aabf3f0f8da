"""Mails that are opaque-signed as a whole: what is inside is the mail. All persons are invented."""

from __future__ import annotations

import base64
import random

import pytest
from asn1crypto import cms
from hypothesis import given
from hypothesis import strategies as st

from corpus import PHRASE_A, SUBJECT, head
from okienko.connectors.email import smime
from okienko.connectors.email.parse import open_attachment, parse_message
from okienko.plugins.raw import RawContent

TEXT = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{PHRASE_A}\r\n".encode()
PDF = b"%PDF-1.4 " + bytes(range(256)) * 10


def with_file(content: bytes = PDF, kind: str = "application/pdf", name: str = "wniosek.pdf") -> bytes:
    """A MIME entity with a text and a file."""
    part = f'\r\n--w\r\nContent-Type: {kind}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'.encode()
    return b'Content-Type: multipart/mixed; boundary="w"\r\n\r\n--w\r\n' + TEXT + part + base64.encodebytes(content) + b"--w--\r\n"  # fmt: skip


def signed(content: bytes | None, kind: str = "signed_data") -> bytes:
    """A CMS without any signer: nobody looks at the signature."""
    if kind != "signed_data":
        return bytes(cms.ContentInfo({"content_type": "data", "content": content}).dump())
    inner = {"content_type": "data"} if content is None else {"content_type": "data", "content": content}
    data = cms.SignedData({"version": "v1", "digest_algorithms": [], "encap_content_info": inner, "signer_infos": []})
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": data}).dump())


def mail(octets: bytes, kind: str = "application/pkcs7-mime; smime-type=signed-data; name=smime.p7m") -> RawContent:
    fields = head(1, SUBJECT, f"Content-Type: {kind}", "Content-Transfer-Encoding: base64").encode()
    return RawContent(fields + b"\r\n" + base64.encodebytes(octets))


@pytest.mark.parametrize(
    "kind",
    [
        "application/pkcs7-mime; smime-type=signed-data; name=smime.p7m",
        "application/x-pkcs7-mime",
        "application/octet-stream; name=smime.p7m",
    ],
)
def test_what_is_inside_is_the_mail(kind: str) -> None:
    message = parse_message(mail(signed(TEXT), kind))
    assert PHRASE_A in message.text
    assert (message.subject, message.attachments, message.defects) == (SUBJECT, (), ())
    assert message.sender is not None


START = (
    b"\x30\x80" + cms.ContentType("signed_data").dump() + b"\xa0\x80\x30\x80\x02\x01\x01\x31\x80\x30\x00\0\0"
    b"\x30\x80" + cms.ContentType("data").dump() + b"\xa0\x80"
)  # fmt: skip
"""A SignedData up to its content, all in indefinite lengths."""


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_files_inside_are_the_attachments(size: int) -> None:
    content = random.Random(5).randbytes(size)
    raw = mail(signed(with_file(content)))
    message = parse_message(raw)
    assert PHRASE_A in message.text
    assert [(a.filename, a.content_type, a.size) for a in message.attachments] == [("wniosek.pdf", "application/pdf", size)]  # fmt: skip
    with open_attachment(raw, 0) as stream:
        assert stream.read() == content


def test_indefinite_lengths() -> None:
    """As a stream writes it, the content in pieces (X.690, 8.7.3)."""
    pieces = b"".join(b"\x04" + bytes([len(piece)]) + piece for piece in (TEXT[:50], TEXT[50:100], TEXT[100:]))
    definite = b"\x24\x81" + bytes([len(pieces)]) + pieces
    for octets in (b"\x24\x80" + pieces + b"\0\0", definite, b"\x24\x80" + definite + b"\0\0"):
        assert PHRASE_A in parse_message(mail(START + octets + b"\0\0" * 5)).text


def test_an_application_that_somebody_attached_stays_one() -> None:
    """Its own signature is what counts, and it needs its octets."""
    application = signed(with_file())
    raw = mail(signed(with_file(application, "application/pkcs7-mime", "wniosek.pdf.p7m")))
    message = parse_message(raw)
    assert [a.filename for a in message.attachments] == ["wniosek.pdf.p7m"]
    with open_attachment(raw, 0) as stream:
        assert stream.read() == application
    outer = (
        head(1, SUBJECT, "").encode().rstrip()
        + b"\r\n"
        + with_file(application, "application/pkcs7-mime", "wniosek.pdf.p7m")
    )
    assert [a.filename for a in parse_message(RawContent(outer)).attachments] == ["wniosek.pdf.p7m"]


@pytest.mark.parametrize(
    ("octets", "defects"),
    [
        (signed(None), ()),
        (signed(b"x", "data"), ()),
        (signed(PDF), ()),
        (b"0\x80broken", ("bad_smime",)),
        (signed(TEXT)[:60], ("bad_smime",)),
        (b"\x30\x80\x24\x80" * 3000, ("bad_smime",)),
        (START + b"\x24\x80" * 3000, ("bad_smime",)),
        (START + b"\x24\x80" + b"\x04\x00" * 300_000 + b"\0\0", ("bad_smime",)),
        (START[:-2] + b"\xa0\x84\xff\xff\xff\xff", ("bad_smime",)),
    ],
    ids=[
        "nothing inside",
        "another kind",
        "a bare file",
        "broken",
        "cut",
        "deep",
        "nested",
        "in crumbs",
        "longer than it is",
    ],
)
def test_what_cannot_be_opened_stays_a_file(octets: bytes, defects: tuple[str, ...]) -> None:
    raw = mail(octets)
    message = parse_message(raw)
    assert [a.filename for a in message.attachments] == ["smime.p7m"]
    assert message.defects == defects
    with open_attachment(raw, 0) as stream:
        assert stream.read() == octets


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smime, "MAX_SIGNED", 100)
    message = parse_message(mail(signed(TEXT)))
    assert ([a.filename for a in message.attachments], message.defects) == (["smime.p7m"], ("bad_smime",))


@given(st.integers(0, 2000), st.binary(max_size=40))
def test_noise_inside_never_raises(place: int, noise: bytes) -> None:
    octets = signed(with_file())
    message = parse_message(mail(octets[:place] + noise + octets[place + len(noise) :]))
    message.model_dump_json()
