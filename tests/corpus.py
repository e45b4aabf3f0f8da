"""Mails of every shape that has been seen in the field, made anew and the same each time. All persons are invented."""

from __future__ import annotations

import base64
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP

SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
PHRASE_A = "Proszę o zmianę hasła awaryjnego dla"
PHRASE_B = "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla"


def head(n: int, subject: str, *more: str) -> str:
    """Header fields with a Message-ID and a date of their own."""
    lines = [
        f"From: Osoba Zmyślona {n} <osoba{n}@poczta.example>",
        "To: helpdesk@okienko.invalid",
        f"Subject: {subject}",
        f"Message-ID: <corpus.{n}@poczta.example>",
        f"Date: Mon, 23 Nov 2026 {n // 60 % 24:02}:{n % 60:02}:{n % 53:02} +0100",
        *more,
    ]
    return "\r\n".join(lines) + "\r\n"


def word(text: str, charset: str) -> str:
    """An RFC 2047 encoded word in base64."""
    return f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


def plain(n: int, subject: str, text: str, charset: str = "utf-8", *more: str) -> bytes:
    """text/plain, 8bit, with an encoded subject."""
    fields = head(n, word(subject, charset), "MIME-Version: 1.0", f"Content-Type: text/plain; charset={charset}", *more)
    return (fields.encode() + f"\r\n{text}\r\n".encode(charset)).replace("Zmyślona".encode(), b"Zmyslona")


def built(n: int, subject: str, text: str, change: Callable[[EmailMessage], object]) -> bytes:
    """A mail made by the standard library."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"] = f"Osoba <osoba{n}@poczta.example>", "helpdesk@okienko.invalid"
    mail["Subject"], mail["Message-ID"] = subject, f"<corpus.{n}@poczta.example>"
    mail["Date"] = f"Mon, 23 Nov 2026 {n // 60 % 24:02}:{n % 60:02}:{n % 53:02} +0100"
    mail.set_content(text)
    change(mail)
    return mail.as_bytes()


def nested(n: int, depth: int) -> bytes:
    """Multiparts in multiparts."""
    out = head(n, "NOWE gniazda", "MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b0"') + "\r\n"
    for level in range(depth):
        out += f'--b{level}\r\nContent-Type: multipart/mixed; boundary="b{level + 1}"\r\n\r\n'
    return out.encode() + b"tekst\r\n"


def many_parts(n: int, count: int) -> bytes:
    """A flat multipart with very many parts."""
    fields = head(n, "NOWE czesci", "MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"')
    return (fields + "\r\n" + "--b\r\n\r\nx\r\n" * count + "--b--\r\n").encode()


def with_attachment(mail: EmailMessage, name: str = "wniosek.pdf") -> None:
    """Attach something that could be an application."""
    mail.add_attachment(b"%PDF-1.4 " + b"x" * 3000, maintype="application", subtype="pdf", filename=name)


def shapes() -> list[Callable[[int], bytes]]:
    """One maker for each shape."""
    who = "Jana Próbnego, rok urodzenia 1980"
    return [
        lambda n: plain(n, f"NOWE sprawa {n}", f"Treść {n}."),
        lambda n: plain(n, f"Sprawa {n}", f"Bez słowa. {n}", "iso-8859-2"),
        lambda n: plain(n, SUBJECT, f"{PHRASE_A} {who}\r\nnr {n}", "windows-1250"),
        lambda n: plain(n, SUBJECT, f"{PHRASE_A}\r\nAnny Przykładowej\r\n1975\r\n-- \r\n{n}"),
        lambda n: plain(n, f"Odp: {SUBJECT}", f"{PHRASE_A} {who} {n}"),
        lambda n: plain(n, SUBJECT.lower(), f"{PHRASE_A} {who} {n}"),
        lambda n: built(n, SUBJECT, f"{PHRASE_B} {who} {n}", with_attachment),
        lambda n: built(n, SUBJECT, f"{PHRASE_B} {who} {n}", lambda _: None),
        lambda n: built(n, f"NOWE zdjęcie {n}", "W załączeniu.", lambda m: with_attachment(m, "zażółć gęślą " * 20 + ".pdf")),
        lambda n: built(n, f"NOWE html {n}", "", lambda m: m.set_content(f"<p>Zażółć<br>gęślą {n}</p><script>x</script>", subtype="html")),
        lambda n: built(n, f"NOWE oba {n}", f"tekst {n}", lambda m: m.add_alternative("<b>tekst</b>", subtype="html")),
        lambda n: built(n, f"NOWE list w liście {n}", "dalej", lambda m: m.add_attachment(EmailMessage(policy=SMTP))),
        lambda n: built(n, f"NOWE tnef {n}", "x", lambda m: m.add_attachment(b"\x78\x9f\x3e\x22\x01\x00rubbish", maintype="application", subtype="ms-tnef", filename="winmail.dat")),
        lambda n: plain(n, f"Automatyczna odpowiedź {n}", "Wracam w maju.", "utf-8", "Auto-Submitted: auto-replied"),
        lambda n: plain(n, f"Re: NOWE sprawa {n - 14}", "Dodaję.", "utf-8", f"In-Reply-To: <corpus.{n - 14}@poczta.example>"),
        lambda n: head(n, "NOWE surowy temat żółć").encode() + f"\r\nosiem bitów {n}: żółć\r\n".encode(),
        lambda n: head(n, "NOWE klamie", "Content-Type: text/plain; charset=us-ascii").encode() + f"\r\nżółć {n}\r\n".encode("cp1250"),
        lambda n: head(n, "NOWE nieznany", "Content-Type: text/plain; charset=x-nic-takiego").encode() + f"\r\nx {n}\r\n".encode(),
        lambda n: head(n, "NOWE zla granica", 'Content-Type: multipart/mixed; boundary="b"').encode() + b"\r\n--inna\r\n\r\ntekst\r\n",
        lambda n: head(n, "NOWE urwany", 'Content-Type: multipart/mixed; boundary="b"').encode() + b"\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nZZZ",
        lambda n: head(n, "NOWE zera").encode() + f"\r\nzero \x00 w tekście {n}\r\n".encode(),
        lambda n: nested(n, 1000),
        lambda n: many_parts(n, 10_000 if n < 30 else 1_200),
        lambda n: built(n, f"NOWE bomba {n}", "x", lambda m: m.add_attachment(b"PK\x03\x04" + bytes(200), maintype="application", subtype="zip", filename="../../42.zip")),
        lambda n: head(n, "NOWE bez nadawcy").replace("From: Osoba Zmyślona", "X-From: Osoba").encode() + f"\r\nx {n}\r\n".encode(),
    ]  # fmt: skip


def build_corpus(count: int = 200) -> list[tuple[str, bytes]]:
    """`count` different mails, by name."""
    makers = shapes()
    return [(f"{n:04}.eml", makers[n % len(makers)](n)) for n in range(count)]
