"""Wounds for mails: what transports, gateways, broken programs and attackers do to them. The same each time for a seed."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable, Sequence

_TOKENS = [
    b"\r\n", b"\n\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"--b", b"--b--\r\n", b"<", b'"', b"(" * 50, b"\\", b";;=;",
    b"=?utf-8?B?", b"=?utf-8?B?/w==?=", b"=?utf-16?Q?=00?=", b"=?x?z?x?=", b";filename*0*=", b";filename*=x''%", b";boundary=",
    b"\r\n.\r\n", b"\r\nFrom ", b"\xc5", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1b$B", b"begin 644 x\r\n", b"=\r\n", b"&#x110000;",
    "\u202e\u2028\ufeff".encode(),
]  # fmt: skip
_CHARSETS = [
    b"utf-7", b"utf-16", b"utf-32", b"idna", b"punycode", b"hex", b"zlib", b"rot13", b"undefined", b"raw_unicode_escape",
    b"unicode_escape", b"iso-2022-jp", b"x\x00y", b"", b"a" * 300, b"mbcs", b"unknown-8bit", b"cp437", b"EBCDIC-CP-PL",
]  # fmt: skip
_FIELDS = [
    b"Content-Type: multipart/mixed", b"Content-Type: multipart/alternative; boundary=", b"Content-Type: message/rfc822",
    b"Content-Type: message/partial; id=x", b"Content-Type: message/delivery-status", b"Content-Type: text/html; charset=utf-7",
    b"Content-Type: application/ms-tnef", b"Content-Type: ;;;", b"Content-Type: multipart/mixed; boundary*0=\"a\"; boundary*1=\"b\"",
    b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable", b"Content-Transfer-Encoding: uuencode",
    b"Content-Transfer-Encoding: x-none", b"Content-Disposition: attachment; filename*=utf-8''%ff%00%2e%2e%2f", b"MIME-Version: 9",
    b"From: ", b"From: <>", b"From: a@b, c@d, e@f", b"From: (((((a@b", b"From: group: a@b, c@d;", b"Sender: \xff@\xff",
    b"Message-ID: ", b"Message-ID: <a><b>", b"Message-ID: <" + b"x" * 3000 + b">", b"References: " + b"<a@b> " * 500,
    b"Date: 99 Foo 99999 99:99:99 +9999", b"Date: Thu, 1 Jan 1 00:00:00 +0000", b"Subject: " + b"x" * 20_000,
    b"Subject: =?utf-8?B?" + b"gA" * 500 + b"?=", b"Auto-Submitted: \x00", b"Return-Path: <\"a b\"@[IPv6:::1]>", b"\xc5\xbb: x", b": x",
    b"In-Reply-To: \r\n\t\r\n\t", b"Received: " + b"from x by y; " * 300,
]  # fmt: skip
_BOUNDARY = re.compile(rb'boundary="?([^";\r\n]+)', re.IGNORECASE)
_CHARSET = re.compile(rb'charset="?([^";\r\n]+)', re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{8,}={0,2}")
Wound = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def _place(chance: random.Random, data: bytearray) -> int:
    """Somewhere, in the head more often than its length would have it."""
    return chance.randrange(min(len(data), 800) + 1 if chance.random() < 0.5 else len(data) + 1)


def _flip(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    for _ in range(chance.randint(1, 8)):
        if data:
            data[min(_place(chance, data), len(data) - 1)] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _place(chance, data)
    del data[at : at + chance.randrange(300)]


def _truncate(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_place(chance, data) :]


def _repeat(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _place(chance, data)
    data[at:at] = bytes(data[at : at + chance.randrange(200)]) * chance.choice([1, 1, 3, 40])


def _token(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _place(chance, data)
    data[at:at] = chance.choice(_TOKENS)


def _noise(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = _place(chance, data)
    data[at : at + chance.randrange(10)] = chance.randbytes(chance.randrange(1, 60))


def _splice(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """The head of one mail on the body of another, or a mail inside a mail."""
    other = chance.choice(others)[:20_000]
    data[_place(chance, data) :] = other[chance.randrange(len(other) + 1) :]


def _field(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """One field more, at the top or wherever a line ends: in a part's head, in the body."""
    ends = [0, *(found.end() for found in re.finditer(rb"\n", data[:4000]))]
    at = chance.choice(ends)
    data[at:at] = chance.choice(_FIELDS) + b"\r\n"


def _drop_line(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    lines = bytes(data).split(b"\n")
    del lines[chance.randrange(len(lines))]
    chance.random() < 0.2 and lines.reverse()
    data[:] = b"\n".join(lines)


def _line_ends(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    data[:] = bytes(data).replace(b"\r\n", chance.choice([b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n"]))


def _parameter(pattern: re.Pattern[bytes], values: Sequence[bytes]) -> Wound:
    def wound(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
        if found := list(pattern.finditer(data)):
            which = chance.choice(found)
            data[which.start(1) : which.end(1)] = chance.choice(values)

    return wound


def _base64(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Base64 that is none, or base64 of something else."""
    if found := list(_BASE64.finditer(data)):
        which = chance.choice(found)
        other = base64.b64encode(chance.choice(others)[:600])
        new = [b"====", b"=" + which[0], which[0][:-3], which[0].replace(b"A", b"-"), other, b"\xff" * 9, which[0] * 3]
        data[which.start() : which.end()] = chance.choice(new)


def _nest(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """The mail in a mail in a mail, or in multiparts that name each other's boundaries."""
    for level in range(chance.choice([1, 2, 5, 60])):
        kind = chance.choice(
            ["message/rfc822", f'multipart/mixed; boundary="n{level}"', 'multipart/digest; boundary="b"']
        )
        open_ = f"--n{level}\r\n\r\n" if "mixed" in kind else ""
        data[:0] = f"Subject: NOWE w {level}\r\nContent-Type: {kind}\r\n\r\n{open_}".encode()


WOUNDS: list[Wound] = [
    _flip, _cut, _truncate, _repeat, _token, _noise, _splice, _field, _field, _drop_line, _line_ends, _base64, _nest,
    _parameter(_BOUNDARY, [b"", b"b", b"-", b"x" * 200, b"\xff", b'"', b"=_?:", b"b0"]), _parameter(_CHARSET, _CHARSETS),
]  # fmt: skip


def mutant(chance: random.Random, mails: Sequence[bytes]) -> bytes:
    """One of the mails with one to six wounds."""
    mail = chance.choice(mails)[:20_000]
    if chance.random() < 0.9:
        # Another sender and another id, or most mutants would be duplicates and go no further.
        own = b"%08x" % chance.getrandbits(32)
        mail = mail.replace(b"<corpus.", b"<corpus.%s." % own).replace(b"<osoba", b"<osoba%s." % own)
    data = bytearray(mail)
    for _ in range(chance.randint(1, 6)):
        chance.choice(WOUNDS)(chance, data, mails)
    return bytes(data[:100_000])
