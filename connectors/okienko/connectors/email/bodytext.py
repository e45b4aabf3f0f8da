"""The readable text of a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.message import Message

from okienko.connectors.email.headers import decode_bytes

MAX_TEXT = 1_000_000
MAX_TAGS = 20_000
"""Tags of an HTML body that are read: the time that HTML's parsing rules take grows with the square of open ones."""
_BLANKS = re.compile(r"\n{3,}")
_META = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?([\w:-]{1,40})", re.IGNORECASE)
_INVISIBLE = 'script,style,head,title,noscript,template,[style*="display:none" i],[style*="display: none" i]'
_QUOTES = "blockquote[type=cite],blockquote.gmail_quote"
"""Quoted mails; other blockquotes are how some programs indent."""
_OPEN, _CLOSE = "\x02", "\x03"
_BLOCKS = "p,div,tr,li,h1,h2,h3,h4,h5,h6,table,ul,ol,blockquote,section,article,header,footer,pre,hr,dt,dd"


def plain(part: Message, data: bytes, defects: list[str]) -> str:
    """text/plain in its charset, with LF line ends, flowed lines joined (RFC 3676)."""
    text = clean(_decoded(part, data, defects))
    if str(part.get_param("format") or "").lower() == "flowed":
        text = _unflow(text, delsp=str(part.get_param("delsp") or "").lower() == "yes")
    return text


def from_html(part: Message, data: bytes, defects: list[str]) -> str:
    """text/html as text: blocks, <br> and rows become lines, cells words, quoted mails get `>`, the invisible goes."""
    from selectolax.lexbor import LexborHTMLParser

    source = _decoded(part, data, defects)[:MAX_TEXT].replace(_OPEN, "").replace(_CLOSE, "")
    pieces = source.split("<", MAX_TAGS + 1)
    if len(pieces) > MAX_TAGS + 1:
        defects.append("text_truncated")
        source = "<".join(pieces[:-1])
    if "<pre" not in source.lower():
        # Between tags a line break is a space like any other.
        source = source.replace("\r", " ").replace("\n", " ")
    tree = LexborHTMLParser(source)
    for node in tree.css(_INVISIBLE):
        if node.tag not in ("html", "body"):
            node.decompose()
    for node in tree.css(_QUOTES):
        node.insert_before(f"\n{_OPEN}\n")
        node.insert_after(f"\n{_CLOSE}\n")
    for node in tree.css("td,th"):
        node.insert_after(" ")
    for node in tree.css("br"):
        node.replace_with("\n")
    for node in tree.css(_BLOCKS):
        node.insert_before("\n")
        node.insert_after("\n")
    text = tree.body.text(separator="") if tree.body else ""
    lines = (re.sub(r"[ \t\f\v]+", " ", line).strip(" ") for line in clean(text).split("\n"))
    return _BLANKS.sub("\n\n", "\n".join(_with_marks(lines))).strip("\n")


def _with_marks(lines: Iterable[str]) -> Iterator[str]:
    """Quoted lines marked as in plain text."""
    depth = 0
    for line in lines:
        if line == _OPEN:
            depth += 1
        elif line == _CLOSE:
            depth = max(0, depth - 1)
        else:
            yield f"> {line}" if depth and line else line


def clean(text: str) -> str:
    """LF line ends, no NUL, within the limit."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")[:MAX_TEXT]


def _decoded(part: Message, data: bytes, defects: list[str]) -> str:
    charset = part.get_param("charset")
    if isinstance(charset, tuple):
        charset = charset[2]
    if not charset and part.get_content_type() == "text/html" and (meta := _META.search(data, 0, 4096)):
        charset = meta[1].decode("ascii", "replace")
    text, lied = decode_bytes(data, str(charset) if charset else None)
    if lied and charset and not data.isascii():
        defects.append("bad_charset")
    if "\x00" in text:
        defects.append("nul_bytes")
    return text


def _unflow(text: str, *, delsp: bool) -> str:
    out: list[str] = []
    joining = False
    for number, line in enumerate(text.split("\n")):
        line = line.removeprefix(" ")  # space-stuffing, RFC 3676 section 4.4
        ends = line == "-- " or line.startswith(">")
        if number and not (joining and not ends):
            out.append("\n")
        joining = line.endswith(" ") and not ends
        out.append(line[:-1] if joining and delsp else line)
    return "".join(out)
