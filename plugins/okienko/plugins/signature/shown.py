"""Signed files as people look at them: which have a picture, and the text of the others. For a process with limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from lxml import etree

from okienko.plugins.signature.application import LEAST_FILE, decoded, file_in, office_lines
from okienko.plugins.signature.formats import looks_like_xml
from okienko.plugins.signature.kinds import MOST_TEXT, Kind
from okienko.plugins.signature.safexml import parse_xml
from okienko.plugins.signature.settings import SignatureSettings

MOST_PARTS = 20
_MOST_LINES = 2_000
_SIGNATURES = ("{http://www.w3.org/2000/09/xmldsig#}Signature",)
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
"""Beginnings of JPEG, PNG and TIFF."""
_FILES = (b"%PDF-", b"PK\x03\x04", *_PICTURES)


@dataclass(frozen=True, slots=True)
class Part:
    """One signed file, or a file in base64 inside signed XML."""

    kind: Kind
    content: bytes = b""
    """Of a PDF or an image."""
    text: str = ""
    cut: bool = False
    """Whether there is more text than that."""


def parts(files: Iterable[bytes], settings: SignatureSettings) -> list[Part]:
    """At most MOST_PARTS of them, always in the same order. Never raises for what is in the files."""
    return list(islice((part for content in files for part in _parts(content, settings, nested=True)), MOST_PARTS))


def _parts(content: bytes, settings: SignatureSettings, *, nested: bool) -> Iterator[Part]:
    if content.startswith(b"%PDF-"):
        yield Part(Kind.PDF, content)
    elif content.startswith(_PICTURES):
        yield Part(Kind.IMAGE, content)
    else:
        try:
            if content.startswith(b"PK\x03\x04"):
                yield _text(office_lines(content, settings))
            elif looks_like_xml(content):
                yield from _xml(content, settings, nested=nested)
            else:
                yield _text(decoded(content).splitlines())
        except Exception:  # a signed file may still be broken; then a human looks at the download
            yield Part(Kind.NONE)


def _xml(content: bytes, settings: SignatureSettings, *, nested: bool) -> Iterator[Part]:
    """The texts of an XML document by their elements' names, then the files that it wraps."""
    root = parse_xml(content, max_depth=settings.max_depth)
    lines: list[str] = []
    inner: list[bytes] = []
    skipped = {inside for tag in _SIGNATURES for found in root.iter(tag) for inside in found.iter(etree.Element)}
    for element in root.iter(etree.Element):
        text = (element.text or "").strip()
        if len(element) or not text:
            continue
        file = file_in(text) if nested and len(text) >= LEAST_FILE else None
        if file is not None and (file.startswith(_FILES) or looks_like_xml(file)):
            inner.append(file)
        elif element not in skipped:
            lines.append(f"{etree.QName(element).localname}: {text}")
    if lines:
        yield _text(lines)
    for file in inner:
        yield from _parts(file, settings, nested=False)


def _text(lines: Iterable[str]) -> Part:
    taken = list(islice((line.strip() for line in lines), _MOST_LINES + 1))
    text = "\n".join(line for line in taken[:_MOST_LINES] if line)
    text = "".join(c for c in text if c.isprintable() or c == "\n")
    if not text:
        return Part(Kind.NONE)
    return Part(Kind.TEXT, text=text[:MOST_TEXT], cut=len(text) > MOST_TEXT or len(taken) > _MOST_LINES)
