"""What an application says (rule B3), from signed octets: PDF text and form fields, XML, DOCX, ODT and plain text.

Two different answers to one question are no answer: a human then types what the document's picture shows.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from pypdf import PdfReader

from okienko.plugins.signature.formats import looks_like_xml
from okienko.plugins.signature.problems import Refused
from okienko.plugins.signature.safexml import parse_xml
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.strictzip import read_member
from okienko.plugins.signatures import Application, SignedFile
from okienko.schemas.pesel import Pesel

_MOST_PAGES = 20
_MOST_LINES = 5_000
LEAST_FILE = 60
"""Shorter texts in XML are not taken for a file in base64."""
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_NAME = re.compile(r"[^\W\d_][^\W\d_'’ -]*(?:[ '’-]{1,2}[^\W\d_]+){0,4}")
_PESEL = re.compile(r"(?<!\d)\d{11}(?!\d)")
_ADDRESS = r"(?:login|mail|adres|konto|konta|uzytkownik)"
_OLD = re.compile(
    rf"\b(?:dotychczasow|utracon|star[yae]|poprzedni|obecn|aktualn|old|lost|previous|current)\w*\b.*{_ADDRESS}"
)
_NEW = re.compile(rf"\b(?:now[yae]|nowego|nowym|docelow|new)\w*\b.*{_ADDRESS}")
_GIVEN = re.compile(r"\b(?:imie|imiona|first name|given names?)\b")
_FAMILY = re.compile(r"\b(?:nazwisko|family name|surname|last name)\b")
_LABEL = re.compile(r"^(?P<label>[^:=]{2,80})[:=]\s*(?P<value>.*)$")
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"


def read_application(signed: Iterable[SignedFile], settings: SignatureSettings) -> Application:
    """The application's data. Never raises for what is in the files."""
    answers = _Answers()
    for file in signed:
        for label, value in _pairs(file.content, settings, nested=True):
            answers.take(label, value)
    return answers.application()


@dataclass
class _Answers:
    found: dict[str, dict[str, str]] = field(default_factory=dict)
    """Question -> folded answer -> answer as written."""

    def take(self, label: str, value: str) -> None:
        question, value = _question(label), " ".join(value.split()).strip(" .,;_")
        if question is None or not value:
            return
        if question == "names":
            words = value.split()
            if _NAME.fullmatch(value) and len(words) >= 2:
                self._add("given", " ".join(words[:-1]))
                self._add("family", words[-1])
        elif question in ("old", "new"):
            mails = _MAIL.findall(value)
            if len(mails) == 1:
                self._add(question, mails[0])
        elif question == "pesel":
            numbers = _PESEL.findall(value)
            if len(numbers) == 1:
                self._add(question, numbers[0])
        elif _NAME.fullmatch(value):
            self._add(question, value)

    def _add(self, question: str, answer: str) -> None:
        folded = unicodedata.normalize("NFC", answer).casefold()
        self.found.setdefault(question, {}).setdefault(folded, answer)

    def application(self) -> Application:
        return Application(
            given_name=self._one("given"), family_name=self._one("family"), old_login=self._one("old"),
            new_login=self._one("new"), pesel=_pesel(self._one("pesel")),
        )  # fmt: skip

    def _one(self, question: str) -> str | None:
        answers = list(self.found.get(question, {}).values())
        return answers[0] if len(answers) == 1 else None


def _pesel(digits: str | None) -> Pesel | None:
    try:
        return Pesel(digits) if digits else None
    except ValueError:
        return None


def _question(label: str) -> str | None:
    """Which question a label asks; labels of forms, XML names (NowyAdres) and printed words alike."""
    spaced = re.sub(r"(?<=[a-ząćęłńóśźż])(?=[A-ZĄĆĘŁŃÓŚŹŻ])", " ", label)
    folded = unicodedata.normalize("NFKD", spaced.casefold().replace("ł", "l"))
    plain = " ".join(re.sub(r"[^a-z0-9]+", " ", "".join(c for c in folded if not unicodedata.combining(c))).split())
    given, family = _GIVEN.search(plain), _FAMILY.search(plain)
    old, new = _OLD.search(plain), _NEW.search(plain)
    if old or new:
        return None if old and new else "old" if old else "new"
    if given or family:
        return "names" if given and family else "given" if given else "family"
    return "pesel" if re.search(r"\bpesel\b", plain) else None


def _pairs(content: bytes, settings: SignatureSettings, *, nested: bool) -> Iterator[tuple[str, str]]:
    """Labels and values in one file."""
    try:
        if content.startswith(b"%PDF-"):
            yield from _from_pdf(content)
        elif content.startswith(b"PK\x03\x04"):
            yield from _from_lines(office_lines(content, settings))
        elif looks_like_xml(content):
            yield from _from_xml(content, settings, nested=nested)
        else:
            yield from _from_lines(decoded(content).splitlines())
    except Refused:
        return
    except Exception:  # a signed file may still be broken; then a human reads it
        return


def _from_lines(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`Label: value` on one line, or the label alone and its value on the next."""
    waiting = ""
    for number, raw in enumerate(lines):
        if number >= _MOST_LINES:
            return
        line = unicodedata.normalize("NFC", raw).replace("\u00a0", " ").strip()
        if not line:
            continue
        found = _LABEL.match(line)
        if found and _question(found["label"]):
            if found["value"].strip(" ._"):
                yield found["label"], found["value"]
                waiting = ""
            else:
                waiting = found["label"]
        elif waiting:
            yield waiting, line
            waiting = ""
        elif _question(line) and len(line) < 60 and not _MAIL.search(line):
            waiting = line


def _from_pdf(content: bytes) -> Iterator[tuple[str, str]]:
    reader = PdfReader(io.BytesIO(content), strict=False)
    for name, entry in (reader.get_fields() or {}).items():
        value = entry.get("/V")
        if isinstance(value, str):
            yield str(entry.get("/TU") or name), value
    for page in reader.pages[:_MOST_PAGES]:
        yield from _from_lines(page.extract_text().splitlines())


def _from_xml(content: bytes, settings: SignatureSettings, *, nested: bool) -> Iterator[tuple[str, str]]:
    root = parse_xml(content, max_depth=settings.max_depth)
    for element in root.iter(etree.Element):
        text = (element.text or "").strip()
        if len(element) or not text:
            continue
        if nested and len(text) >= LEAST_FILE and (inner := file_in(text)) is not None:
            # Podpis zaufany wraps any other file into XML.
            yield from _pairs(inner, settings, nested=False)
        yield etree.QName(element).localname, text


def office_lines(content: bytes, settings: SignatureSettings) -> Iterator[str]:
    """Rows of tables and paragraphs of a DOCX or ODT. Raises Refused for what is neither or too large."""
    for member, paragraph, row, cell in (
        ("word/document.xml", _W + "p", _W + "tr", _W + "tc"),
        ("content.xml", _TEXT + "p", None, None),
    ):
        xml = read_member(content, member, settings.max_unpacked)
        if xml is None:
            continue
        root = parse_xml(xml, max_depth=settings.max_depth)
        if row and cell:
            for line in root.iter(row):
                texts = [_joined(c) for c in line.iter(cell)]
                if len(texts) >= 2:
                    yield f"{texts[0].rstrip(': ')}: {texts[1]}"
        for element in root.iter(paragraph):
            yield _joined(element)


def _joined(element: Any) -> str:
    parts = []
    for node in element.iter(etree.Element):
        if node.tag in (_W + "br", _W + "tab", _TEXT + "tab", _TEXT + "line-break", _TEXT + "s"):
            parts.append(" ")
        parts += [node.text or ""]
        parts += [node.tail or ""] if node is not element else []
    return "".join(parts)


def file_in(text: str) -> bytes | None:
    """What a text holds in base64, or None."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def decoded(content: bytes) -> str:
    """Plain text in UTF-8, else in windows-1250."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1250", "replace")
