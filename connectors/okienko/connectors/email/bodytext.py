"""The readable text of a message."""

from __future__ import annotations

import re
from email.message import Message

from okienko.connectors.email.headers import decode_bytes

MAX_TEXT = 1_000_000
_BLANKS = re.compile(r"\n{3,}")
_BLOCKS = "p,div,tr,li,h1,h2,h3,h4,h5,h6,table,ul,ol,blockquote,section,article,header,footer,pre,hr,dt,dd"


def plain(part: Message, data: bytes, defects: list[str]) -> str:
    """text/plain in its charset, with LF line ends, flowed lines joined (RFC 3676)."""
    text = clean(_decoded(part, data, defects))
    if str(part.get_param("format") or "").lower() == "flowed":
        text = _unflow(text, delsp=str(part.get_param("delsp") or "").lower() == "yes")
    return text


def from_html(part: Message, data: bytes, defects: list[str]) -> str:
    """text/html as text: blocks and <br> become line breaks, scripts and styles go, entities are decoded."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_decoded(part, data, defects)[:MAX_TEXT])
    for node in tree.css("script,style,head,noscript,template"):
        node.decompose()
    for node in tree.css("br"):
        node.replace_with("\n")
    for node in tree.css(_BLOCKS):
        node.insert_before("\n")
        node.insert_after("\n")
    text = tree.body.text(separator="") if tree.body else ""
    lines = (re.sub(r"[ \t\f\v]+", " ", line).strip(" ") for line in clean(text).split("\n"))
    return _BLANKS.sub("\n\n", "\n".join(lines)).strip("\n")


def clean(text: str) -> str:
    """LF line ends, no NUL, within the limit."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")[:MAX_TEXT]


def _decoded(part: Message, data: bytes, defects: list[str]) -> str:
    charset = part.get_param("charset")
    if isinstance(charset, tuple):
        charset = charset[2]
    text, lied = decode_bytes(data, str(charset) if charset else None)
    if lied and charset and not data.isascii():
        defects.append("bad_charset")
    if "\x00" in text:
        defects.append("nul_bytes")
    return text


def _unflow(text: str, *, delsp: bool) -> str:
    out: list[str] = []
    joining = False
    for line in text.split("\n"):
        line = line.removeprefix(" ")  # space-stuffing, RFC 3676 section 4.4
        if joining and not line.startswith(">"):
            out[-1] += line
        else:
            out.append(line)
        joining = line.endswith(" ") and line != "-- " and not line.startswith(">")
        if joining and delsp:
            out[-1] = out[-1][:-1]
    return "\n".join(out)
