"""Mails as real programs and servers write them, right or wrong. All persons are invented."""

from __future__ import annotations

import pytest

from corpus import SUBJECT, head
from okienko.connectors.email import bodytext
from okienko.connectors.email.headers import decode_bytes
from okienko.connectors.email.parse import parse_message
from okienko.plugins.raw import RawContent
from okienko.schemas import InboundMessage

POLISH = "zażółć gęślą jaźń, ŻÓŁW ŚPI W ŹDŹBŁACH, Ą Ę Ć Ń"


def read(body: bytes | str = "x", *fields: str, subject: str = "NOWE") -> InboundMessage:
    data = body.encode() if isinstance(body, str) else body
    return parse_message(RawContent(head(1, subject, *fields).encode() + b"\r\n" + data))


def parts(kind: str, *members: tuple[str, str]) -> str:
    """A multipart's body with boundary `b`."""
    inner = "".join(f"--b\r\nContent-Type: {member}; charset=utf-8\r\n\r\n{text}\r\n" for member, text in members)
    return f"{inner}--b--\r\n"


# --- charsets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("real", ["utf-8", "iso-8859-2", "cp1250"])
@pytest.mark.parametrize("declared", [None, "us-ascii", "utf-8", "iso-8859-2", "windows-1250", "x-nonsense"])
def test_polish_is_read_whatever_is_declared(real: str, declared: str | None) -> None:
    # ISO-8859-2 under the name windows-1250 is valid windows-1250, with other letters: nobody can tell.
    real = "cp1250" if declared == "windows-1250" and real == "iso-8859-2" else real
    assert decode_bytes(POLISH.encode(real), declared)[0] == POLISH


@pytest.mark.parametrize("declared", ["iso-8859-1", "iso-8859-15", "windows-1252"])
def test_utf_8_under_a_western_name(declared: str) -> None:
    assert decode_bytes(POLISH.encode(), declared) == (POLISH, True)


@pytest.mark.parametrize("text", ["PÓŁNOC", "KOŚCIÓŁ", "KSIĘŻYC", "STÓŁ", "CIĘŻAR", "naïve café", "ŻÓŁTA ŁÓDŹ"])
@pytest.mark.parametrize("charset", ["iso-8859-2", "cp1250", "iso-8859-1", "cp1252"])
def test_an_honest_charset_is_believed(text: str, charset: str) -> None:
    try:
        data = text.encode(charset)
    except UnicodeEncodeError:
        return
    assert decode_bytes(data, charset) == (text, False)


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-2", "cp1250"])
def test_raw_octets_in_the_subject(charset: str) -> None:
    data = head(1, "@").replace("Zmyślona", "Z").encode().replace(b"@\r", POLISH.encode(charset) + b"\r", 1)
    assert parse_message(RawContent(data + b"\r\nx")).subject == POLISH


# --- header fields --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        "=?utf-8?Q?HAS=C5=81O_AWARYJNE?= =?utf-8?Q?_PUESC_PROCEDURA_SPECJALNA?=",
        "=?utf-8?Q?HAS=C5=81O_AWARYJNE_?=\r\n =?utf-8?Q?PUESC_PROCEDURA_SPECJALNA?=",
        "=?utf-8?Q?HAS=C5?=\r\n =?utf-8?Q?=81O_AWARYJNE_PUESC_PROCEDURA_SPECJALNA?=",
        "=?iso-8859-2?Q?HAS=A3O?= AWARYJNE PUESC PROCEDURA SPECJALNA",
        "=?WINDOWS-1250?b?SEFTo08=?= AWARYJNE\r\n\tPUESC PROCEDURA SPECJALNA",
        "=?utf-8*pl?Q?HAS=C5=81O?= AWARYJNE PUESC PROCEDURA SPECJALNA",
        "=?utf-8?Q?HAS=C5=81O AWARYJNE?= PUESC PROCEDURA SPECJALNA",
        "=?utf-8?Q?HASŁO?= AWARYJNE PUESC PROCEDURA SPECJALNA",
        "=?iso-8859-2?Q?HAS=C5=81O?= AWARYJNE PUESC PROCEDURA SPECJALNA",
        "=?UTF-8?B?SEFTxYFP?= =?UTF-8?Q?_AWARYJNE?= PUESC PROCEDURA SPECJALNA",
    ],
)
def test_encodings_of_the_subject(subject: str) -> None:
    assert read(subject=subject).subject.split() == SUBJECT.split()


@pytest.mark.parametrize(
    "field",
    [
        "filename*0*=windows-1250''w%9C; filename*1*=niosek; filename*2=\".pdf\"",
        "filename*=utf-8'pl'w%C5%9Bniosek.pdf",
        'filename="=?iso-8859-2?Q?w=B6niosek.pdf?="',
        'filename="=?utf-8?B?d8WbbmlvcyA=?="',
        'filename="wśniosek.pdf"',
        'filename="C:\\\\Moje dokumenty\\\\wśniosek.pdf"',
    ],
)
def test_file_names(field: str) -> None:
    message = read("x", "Content-Type: application/pdf", f"Content-Disposition: attachment; {field}")
    (attachment,) = message.attachments
    assert attachment.filename in ("wśniosek.pdf", "wśnios")


def test_ids_without_brackets() -> None:
    message = read("x", "In-Reply-To: 20261123.jeden@x.example", "References: 1111111a@x.example b2222222@x.example")
    assert message.in_reply_to == ("20261123.jeden@x.example",)
    assert message.references == ("1111111a@x.example", "b2222222@x.example")


@pytest.mark.parametrize(
    "value",
    [
        "helpdesk@okienko.invalid",
        "<Helpdesk@okienko.invalid>",
        '"Help Desk" <helpdesk@okienko.invalid>',
        "Your mail to biuro2026@x.example",
        "nic",
    ],
)
def test_an_address_is_no_id(value: str) -> None:
    """Or else all who write to it would be one conversation."""
    message = read("x", f"In-Reply-To: {value}", f"References: {value}")
    assert (message.in_reply_to, message.references) == ((), ())


@pytest.mark.parametrize(
    "prefix", [b"\xef\xbb\xbf", b"\r\n", b"\n\n", b"From jan@x.example Mon Nov 23 10:00:00 2026\n"]
)
def test_what_tools_leave_on_top(prefix: bytes) -> None:
    message = parse_message(RawContent(prefix + head(1, "NOWE").encode() + b"\r\ntekst"))
    assert (message.subject, message.text) == ("NOWE", "tekst")


def test_missing_and_repeated_fields_are_named() -> None:
    bare = parse_message(RawContent(b"Subject: NOWE\r\n\r\nx"))
    assert (bare.sender, bare.date, bare.message_id) == (None, None, None)
    assert "no_from" in bare.defects
    twice = read("x", "From: Ewa <ewa@x.example>", "Subject: drugi", "Message-ID: <drugi@x.example>")
    assert twice.sender is not None
    assert (twice.sender.address, twice.subject, twice.message_id) == (
        "osoba1@poczta.example",
        "NOWE",
        "corpus.1@poczta.example",
    )
    assert {"several_from", "several_subject", "several_message-id"} <= set(twice.defects)


def test_the_sender_is_who_stands_in_from() -> None:
    message = read("x", "Sender: ewa@x.example", "Reply-To: Ewa <ewa@x.example>", "Return-Path: <ewa@x.example>")
    assert message.sender is not None
    assert message.sender.address == "osoba1@poczta.example"
    assert message.reply_to is not None
    assert message.reply_to.address == "ewa@x.example"
    # Nobody else is taken for it when it is missing: answers would go to whom no rule names.
    assert (
        parse_message(RawContent(b"Subject: NOWE\r\nSender: ewa@x.example\r\nReply-To: ewa@x.example\r\n\r\nx")).sender
        is None
    )


@pytest.mark.parametrize(
    ("value", "quiet"),
    [("All", True), ("OOF, AutoReply", True), ("DR", False), ("DR, RN, NRN", False), ("None", False)],
)
def test_asking_for_no_receipts_is_not_asking_for_no_answer(value: str, quiet: bool) -> None:
    assert read("x", f"X-Auto-Response-Suppress: {value}").suppress_auto_response is quiet


# --- bodies ---------------------------------------------------------------------------------------------------------


def html(text: str, charset: str = "utf-8") -> str:
    return read(text.encode(charset), f"Content-Type: text/html; charset={charset}").text


def test_html_becomes_text_that_reads_alike() -> None:
    assert html("<table><tr><td>Jan</td><td>Próbny</td></tr><tr><td>1980</td></tr></table>").split("\n") == [
        "Jan Próbny", "", "1980",
    ]  # fmt: skip
    assert html("<p>Proszę o\r\n   zmianę&nbsp;<b>ha</b>s&#322;a &oacute; &lt;x&gt;<br/>dla</p>") == (
        "Proszę o zmianę\u00a0hasła ó <x>\ndla"
    )
    assert html("<title>t</title><div style='display:none'>nie</div><p>a<!-- c -->b</p><style>p{}</style>") == "ab"
    assert html("<pre>a\n  b</pre>") == "a\nb"


def test_quoted_html_is_marked_and_indented_html_is_not() -> None:
    text = html(
        "<div>tak</div><blockquote type=cite><p>stare</p><blockquote type=cite>starsze</blockquote></blockquote>po"
    )
    assert [line for line in text.split("\n") if line] == ["tak", "> stare", "> starsze", "po"]
    assert html("<blockquote style='margin:0 0 0 40px'>moje</blockquote>") == "moje"


def test_the_charset_that_only_the_page_names() -> None:
    page = f'<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-2"><p>{POLISH}'
    assert read(page.encode("iso-8859-2"), "Content-Type: text/html").text == POLISH


def test_html_that_would_take_for_ever_is_cut() -> None:
    message = read(
        "<p>początek" + "<div>" * (2 * bodytext.MAX_TAGS) + "koniec", "Content-Type: text/html; charset=utf-8"
    )
    assert message.text.startswith("początek")
    assert "text_truncated" in message.defects


@pytest.mark.parametrize(
    ("kind", "members", "text", "source"),
    [
        ("mixed", [("text/html", "<p>prośba</p>"), ("text/plain", "skaner")], "prośba\nskaner", "plain"),
        ("alternative", [("text/plain", "prośba"), ("text/html", "<p>inaczej</p>")], "prośba", "plain"),
        ("alternative", [("text/plain", " \r\n "), ("text/html", "<p>prośba</p>")], "prośba", "html"),
        ("mixed", [("text/html", "<p>raz</p>"), ("text/html", "<p>dwa</p>")], "raz\ndwa", "html"),
        ("related", [("text/html", "<p>prośba</p>"), ("image/png", "x")], "prośba", "html"),
    ],
)
def test_which_parts_are_the_body(kind: str, members: list[tuple[str, str]], text: str, source: str) -> None:
    message = read(parts(kind, *members), "MIME-Version: 1.0", f"Content-Type: multipart/{kind}; boundary=b")
    assert (message.text, message.text_source) == (text, source)


def test_an_alternative_beside_a_footer() -> None:
    inner = 'Content-Type: multipart/alternative; boundary="c"\r\n\r\n'
    inner += (
        "--c\r\nContent-Type: text/plain\r\n\r\nprosba\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>prosba</p>\r\n--c--"
    )
    body = f"--b\r\n{inner}\r\n--b\r\nContent-Type: text/plain\r\n\r\nstopka\r\n--b--\r\n"
    assert read(body, 'Content-Type: multipart/mixed; boundary="b"').text == "prosba\nstopka"


@pytest.mark.parametrize(
    "field",
    [
        "Content-Type: text/plain" + "; a=b" * 48_000,
        'Content-Type: text/plain; a="' + '";' * 120_000,
        "Content-Disposition: inline" + ";" * 240_000,
        "Subject: " + "=?utf-8?q?=C5=81?= " * 12_000,
        "Subject: " + "=?u?q?" * 40_000,
        "References: " + "a@" * 120_000,
    ],
)
@pytest.mark.timeout(60)
def test_a_field_of_a_quarter_megabyte_costs_little(field: str) -> None:
    assert read("tekst", field).text.strip() == "tekst"


def test_flowed_and_quoted_printable() -> None:
    flowed = "Content-Type: text/plain; charset=utf-8; format=flowed"
    assert read("Jana \r\nPróbnego \r\n-- \r\nfirma", flowed).text == "Jana Próbnego \n-- \nfirma"
    assert read("Jana \r\n Próbnego", f"{flowed}; delsp=yes").text == "JanaPróbnego"
    quoted = ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable")
    assert read("Prosz=C4=\r\n=99 o zmian=C4=99=20=\r\nhas=C5=82a", *quoted).text == "Proszę o zmianę hasła"
