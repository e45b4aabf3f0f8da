"""Outlook's winmail.dat: what is in it counts as attached. All persons are invented."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest

from corpus import PHRASE_A, SUBJECT, head
from okienko.connectors.email import parts
from okienko.connectors.email.parse import open_attachment, parse_message
from okienko.plugins.raw import RawContent


def attribute(level: int, tag: int, data: bytes) -> bytes:
    """One attribute of a TNEF stream (MS-OXTNEF, section 2.1.3)."""
    return struct.pack("<BII", level, tag, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def container(files: list[tuple[str, bytes]], body: str = "") -> bytes:
    """A TNEF stream with files and a text body."""
    out = struct.pack("<IH", 0x223E9F78, 1) + attribute(1, 0x00089006, struct.pack("<I", 0x00010000))
    out += attribute(1, 0x00069007, struct.pack("<II", 1250, 0))
    if body:
        out += attribute(1, 0x0002800C, body.encode("cp1250") + b"\0")
    for name, content in files:
        out += attribute(2, 0x00069002, bytes(14))
        out += attribute(2, 0x00018010, name.encode("cp1250") + b"\0") + attribute(2, 0x0006800F, content)
    return out


def mail(
    tnef: bytes, *, text: str = "W załączeniu.", kind: str = "application/ms-tnef", name: str = "winmail.dat"
) -> RawContent:
    data = head(1, SUBJECT, 'Content-Type: multipart/mixed; boundary="b"').encode()
    if text:
        data += f"\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()
    data += f'\r\n--b\r\nContent-Type: {kind}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'.encode()
    return RawContent(data + base64.encodebytes(tnef) + b"--b--\r\n")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("application/ms-tnef", "winmail.dat"), ("application/ms-tnef", "x"), ("application/octet-stream", "WINMAIL.DAT")],
)
def test_the_files_in_it_are_the_attachments(kind: str, name: str) -> None:
    pdf, other = b"%PDF-1.4 " + bytes(range(256)) * 10, b"inny"
    raw = mail(container([("wniosek.pdf", pdf), ("drugi.txt", other)]), kind=kind, name=name)
    message = parse_message(raw)
    assert [(a.filename, a.size, a.sha256) for a in message.attachments] == [
        ("wniosek.pdf", len(pdf), hashlib.sha256(pdf).hexdigest()), ("drugi.txt", 4, hashlib.sha256(other).hexdigest()),
    ]  # fmt: skip
    assert message.text.strip() == "W załączeniu."
    with open_attachment(raw, 0) as stream:
        assert stream.read() == pdf
    with open_attachment(raw, 1) as stream:
        assert stream.read() == other


def test_its_text_is_the_body_when_there_is_no_other() -> None:
    message = parse_message(mail(container([], f"{PHRASE_A} Jana Próbnego 1980"), text=""))
    assert message.text.strip("\0\n ") == f"{PHRASE_A} Jana Próbnego 1980"
    assert parse_message(mail(container([], "z TNEF"))).text.strip() == "W załączeniu."


@pytest.mark.parametrize("cut", [2, 5, 8, 30, 60, 100, 190])
def test_a_damaged_one_is_kept_as_it_is(cut: int) -> None:
    tnef = container([("wniosek.pdf", b"x" * 100)])[:cut]
    message = parse_message(mail(tnef))
    assert message.text.strip() == "W załączeniu."
    assert [(a.filename, a.sha256) for a in message.attachments] == [("winmail.dat", hashlib.sha256(tnef).hexdigest())]
    assert "bad_tnef" in message.defects


def test_a_large_one_stays_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_TNEF", 100)
    tnef = container([("wniosek.pdf", b"x" * 1000)])
    message = parse_message(mail(tnef))
    assert [(a.filename, a.size) for a in message.attachments] == [("winmail.dat", len(tnef))]
    assert "bad_tnef" in message.defects
