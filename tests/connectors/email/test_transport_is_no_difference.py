"""Rules A1 to A3 end to end: however a mail is encoded on its way, what was met stays met. All persons are invented."""

from __future__ import annotations

import base64
import datetime as dt
import quopri
import unicodedata
from html import escape
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from corpus import PHRASE_A, SUBJECT
from okienko.connectors.email.parse import parse_message
from okienko.plugins.context import PluginContext
from okienko.plugins.evidence import Evidence
from okienko.plugins.puesc import okienko_procedures
from okienko.plugins.raw import RawContent
from okienko.schemas import CaseKind, Person, Verdict

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
(PACK,) = okienko_procedures(PluginContext(Path("/nonexistent"), {}, lambda: NOW))
BODY = f"Dzień dobry,\n\n{PHRASE_A}\nJana Próbnego, rok urodzenia 1980.\n\nPozdrawiam\n-- \nFirma Zmyślona, od 1950"
CHARSETS = st.sampled_from(["utf-8", "iso-8859-2", "windows-1250"])


@st.composite
def subjects(draw: st.DrawFn) -> str:
    """The field's body, in encoded words of every make, folded anywhere between words."""
    charset = draw(CHARSETS)
    text = draw(st.sampled_from([SUBJECT, SUBJECT.replace(" ", "\u00a0"), SUBJECT.replace(" ", "  "), f" {SUBJECT} "]))
    if charset == "utf-8":
        text = unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD"])), text)
    octets = text.encode(charset)
    # Between octets, not letters: some servers cut a letter in two.
    cuts = sorted(draw(st.sets(st.integers(1, len(octets) - 1), max_size=4)))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    encode = draw(st.sampled_from([_b, _q]))
    return draw(st.sampled_from([" ", "\r\n ", "\r\n\t", ""])).join(
        f"=?{charset}?{encode(piece)}?=" for piece in pieces
    )


def _b(octets: bytes) -> str:
    return f"B?{base64.b64encode(octets).decode()}"


def _q(octets: bytes) -> str:
    return "q?" + "".join(chr(o) if chr(o).isalnum() and o < 128 else "_" if o == 32 else f"={o:02x}" for o in octets)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Content fields and content."""
    charset, kind = draw(CHARSETS), draw(st.sampled_from(["plain", "flowed", "html", "alternative", "footer"]))
    text = BODY if charset != "utf-8" else unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD"])), BODY)
    spaces = draw(st.sampled_from([" ", "  ", "\u00a0", " \u00a0"]))
    text = text.replace(" ", spaces)
    if kind == "flowed":
        text = text.replace("\u00a0", " ").replace("Jana ", "Jana \n")
    page = "".join(f"<p>{escape(line) or '&nbsp;'}</p>\r\n" for line in text.split("\n")).replace("ę", "&#281;")
    match kind:
        case "plain":
            return _part("text/plain", charset, text, draw)
        case "flowed":
            return _part("text/plain; format=flowed", charset, text, draw)
        case "html":
            return _part("text/html", charset, page, draw)
        case "alternative":
            members = [_part("text/plain", charset, text, draw), _part("text/html", charset, page, draw)]
        case _:
            members = [_part("text/html", charset, page, draw), _part("text/plain", "utf-8", "Sprawdził skaner.", draw)]
    kind = "alternative" if kind == "alternative" else "mixed"
    inner = b"".join(b"--grenze\r\n" + member + b"\r\n" for member in members)
    return f'Content-Type: multipart/{kind}; boundary="grenze"\r\n\r\n'.encode() + inner + b"--grenze--\r\n"


def _part(kind: str, charset: str, text: str, draw: st.DrawFn) -> bytes:
    data = text.replace("\r\n", "\n").replace("\n", "\r\n").encode(charset)
    encoding = draw(st.sampled_from(["8bit", "base64", "quoted-printable"]))
    if encoding == "base64":
        data = base64.encodebytes(data)
    elif encoding == "quoted-printable":
        data = quopri.encodestring(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    fields = f"Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return fields.encode() + data


@given(subjects(), bodies(), st.booleans())
def test_what_was_met_stays_met(subject: str, body: bytes, bare_line_feeds: bool) -> None:
    fields = f"From: jan@poczta.example\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
    data = fields.encode() + body
    message = parse_message(RawContent(data.replace(b"\r\n", b"\n") if bare_line_feeds else data))
    classification = PACK.classify(message)
    assert classification.kind is CaseKind.RECOVERY
    assert PACK.decide(message, classification, Evidence()).rules(Verdict.UNMET) == ()
    assert classification.person == Person(given_name="Jana", family_name="Próbnego", birth_year=1980)
