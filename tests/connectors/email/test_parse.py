"""The parser: what is odd is read around, and nothing but UnreadableError ever comes out."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from corpus import PHRASE_A, SUBJECT, build_corpus, head, plain
from mutate import mutant
from okienko.connectors.email.parse import open_attachment, parse_message
from okienko.plugins.errors import UnreadableError
from okienko.plugins.raw import RawContent
from okienko.schemas import AutoKind

MUTANTS = int(os.environ.get("OKIENKO_TEST_MUTANTS", "3000"))


def test_mutants_end_in_a_message_or_unreadable() -> None:
    chance = random.Random(7)
    corpus = [mail for _, mail in build_corpus(50)]
    for _ in range(MUTANTS):
        data = mutant(chance, corpus)
        try:
            message = parse_message(RawContent(data))
        except UnreadableError:
            continue
        assert "\x00" not in message.text + message.subject
        message.model_dump_json()
        for file in message.attachments[:3]:
            with open_attachment(RawContent(data), file.index) as stream:
                content = stream.read()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)


def test_a_contained_mail_without_a_boundary_is_the_same_each_time() -> None:
    """The standard library draws a boundary where there is an empty one, so that two readings gave two files."""
    inner = (
        b'Subject: w\r\nContent-Type: multipart/mixed; boundary=""\r\n\r\n-- \r\n\r\nala\r\n-- \r\n\r\nkot\r\n----\r\n'
    )
    outer = head(1, SUBJECT, 'Content-Type: multipart/mixed; boundary="b"').encode()
    data = outer + b"\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    first, second = (parse_message(RawContent(data)).attachments for _ in range(2))
    assert first == second
    with open_attachment(RawContent(data), 0) as stream:
        content = stream.read()
    assert hashlib.sha256(content).hexdigest() == first[0].sha256
    assert b"ala" in content
    assert b"kot" in content


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-2", "windows-1250"])
def test_polish_charsets_give_the_same_text(charset: str) -> None:
    message = parse_message(RawContent(plain(1, SUBJECT, f"{PHRASE_A} Zażółć Gęślą", charset)))
    assert message.subject == SUBJECT
    assert message.text.strip() == f"{PHRASE_A} Zażółć Gęślą"


def test_raw_8_bit_subject_and_a_lying_charset() -> None:
    data = head(1, SUBJECT, "Content-Type: text/plain; charset=us-ascii").encode() + "\r\nżółć\r\n".encode("cp1250")
    message = parse_message(RawContent(data))
    assert (message.subject, message.text.strip()) == (SUBJECT, "żółć")
    assert "bad_charset" in message.defects


def test_a_word_split_inside_a_character() -> None:
    octets = "NOWE żółć".encode()
    parts = [base64.b64encode(octets[:6]).decode(), base64.b64encode(octets[6:]).decode()]
    subject = f"=?utf-8?B?{parts[0]}?=\r\n =?utf-8?B?{parts[1]}?="
    assert parse_message(RawContent((head(1, subject) + "\r\nx").encode())).subject == "NOWE żółć"


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02", b"to nie jest poczta\n\nwcale"])
def test_what_is_no_mail(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        parse_message(RawContent(data))


def test_a_delivery_report_names_the_mail_it_is_about() -> None:
    data = (
        head(1, "Undelivered", 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"')
        + "\r\n--b\r\n\r\nnie da sie\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n"
        + "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <nasz@okienko.invalid>\r\n\r\nx\r\n--b--\r\n"
    )
    message = parse_message(RawContent(data.encode()))
    assert message.auto is AutoKind.DELIVERY_REPORT
    assert message.reported_message_ids == ("nasz@okienko.invalid",)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_an_attachment_comes_back_octet_for_octet(tmp_path: Path, where: str) -> None:
    content = random.Random(3).randbytes(3_000_000)
    body = base64.encodebytes(content).replace(b"\n", b"\r\n")
    fields = head(1, "NOWE duzy", "MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"').encode()
    part = b'\r\n--b\r\n\r\ntekst\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="a.pdf"\r\n\r\n'
    data = fields + part + body + b"--b--\r\n"
    (tmp_path / "a.eml").write_bytes(data)
    raw = RawContent(data) if where == "memory" else RawContent(path=tmp_path / "a.eml")
    message = parse_message(raw)
    assert [(a.filename, a.size) for a in message.attachments] == [("a.pdf", len(content))]
    assert message.text.strip() == "tekst"
    with open_attachment(raw, 0) as stream:
        assert stream.read() == content


def test_a_large_mail_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.eml"
    line = base64.b64encode(bytes(57)) + b"\r\n"
    with path.open("wb") as out:
        out.write(head(1, "NOWE", 'Content-Type: multipart/mixed; boundary="b"').encode())
        out.write(b"\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
        for _ in range(500):
            out.write(line * 1000)
        out.write(b"--b--\r\n")
    tracemalloc.start()
    message = parse_message(RawContent(path=path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message.attachments[0].size == 57 * 500_000
    assert peak < 20_000_000
