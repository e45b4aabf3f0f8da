"""Header fields as people and servers really write them (RFC 5322, 2047, 2231), read without ever failing."""

from __future__ import annotations

import binascii
import codecs
import datetime as dt
import email.utils
import re
from base64 import b64decode
from collections.abc import Sequence
from email._policybase import Compat32
from email.message import Message

from okienko.schemas import AutoKind

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]+(=\?[^?\s]{1,60}\?[bBqQ]\?)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ID = re.compile(r"<([^<>\s]{1,998})>")
_BARE_ID = re.compile(r"(?=\S*\d)[^<>\s@\"(),;]{8,200}@[^<>\s@\"(),;]{1,200}")
"""Long and with a digit, lest an address were taken for an id and strangers for parts of one conversation."""
_CODECS = {
    "1250": "cp1250",
    "1252": "cp1252",
    "x-cp1250": "cp1250",
    "utf8mb4": "utf-8",
    "unicode": "utf-8",
    "8859-2": "iso8859-2",
}
_NO_CHARSETS = frozenset(
    {
        "unicode_escape",
        "raw-unicode-escape",
        "raw_unicode_escape",
        "unicode-escape",
        "utf-7",
        "punycode",
        "idna",
        "undefined",
    }
)
MAX_IDS = 100
MAX_PARAMETERS = 20_000


def codec(charset: str) -> str | None:
    """Python's codec for a charset as written in mails, or None when there is none such."""
    name = charset.strip().strip("\"':;").lower().partition("*")[0]
    name = _CODECS.get(
        name, name.replace("cp-", "cp").replace("windows-", "cp") if name.startswith(("cp-", "windows-")) else name
    )
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # "hex" or "zip" are codecs for Python but no charsets; the escapes and UTF-7 hide what a filter should see.
    if info.name in _NO_CHARSETS:
        return None
    return info.name if info._is_text_encoding else None  # noqa: SLF001  no public way


_WINDOWS = {
    "iso8859-1": "cp1252",
    "iso8859-15": "cp1252",
    "iso8859-2": "cp1250",
    "cp1250": "cp1250",
    "cp1252": "cp1252",
}
"""Charsets of one octet a letter, any octets of which decode to something, with what mail programs on Windows mean by them."""
_C1 = re.compile(rb"[\x80-\x9f]")
_LATIN = re.compile("[\x00-\x7f\xa0-\u017f\u0218-\u021b\u0300-\u036f\u2010-\u2044\u20ac\u2122]*")
_ISO_LETTERS, _WINDOWS_LETTERS = re.compile(rb"[\xa1\xa6\xac\xb1\xb6\xbc]"), re.compile(rb"[\xa5\xb9\x80-\x9f]")
"""Polish letters whose octets differ between ISO-8859-2 and windows-1250; in the other one they are signs or controls."""


def decode_bytes(data: bytes, charset: str | None) -> tuple[str, bool]:
    """Text of `data` and whether the declared charset lied. Never fails.

    A charset of one octet a letter takes any octets, so its word is not enough: UTF-8 that reads as Latin letters is UTF-8,
    and octets that ISO leaves to controls are letters of the Windows charset of the same region.
    """
    name = codec(charset) if charset else "utf-8"
    if name in _WINDOWS and not data.isascii():
        text = _utf8(data)
        if text is not None and _LATIN.fullmatch(text):
            return text, True
        if name != _WINDOWS[name] and _C1.search(data):
            return data.decode(_WINDOWS[name], "replace"), True
    for candidate in dict.fromkeys(n for n in (name, "utf-8") if n):
        try:
            return _whole(data.decode(candidate)), candidate != name
        except (UnicodeDecodeError, ValueError):
            continue
    iso = len(_ISO_LETTERS.findall(data)) > len(_WINDOWS_LETTERS.findall(data))
    return data.decode("iso8859-2" if iso else "cp1250", "replace"), True


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


class RawHeaders(Compat32):
    """The library's lenient policy, but header values come as they stand: it would put `?` for raw 8-bit octets."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        """The value, untouched; of a field with parameters, no more than any sender needs.

        The library's time for parameters grows with the square of their number.
        """
        return value[:MAX_PARAMETERS] if len(value) > MAX_PARAMETERS and name.lower().startswith("content-") else value


RAW = RawHeaders()


def _whole(text: str) -> str:
    """Without lone surrogates, which no database and no JSON can hold."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def raw_text(value: object) -> str:
    """A header value as the parser gives it: raw 8-bit octets are read as UTF-8, else as windows-1250."""
    text = str(value).replace("\x00", "")
    if text.isascii():
        return text
    octets = text.encode("utf-8", "surrogateescape")
    return decode_bytes(octets, None)[0]


def decode_words(value: object) -> str:
    """Unfolded, RFC 2047 words decoded, control characters gone. Words split inside a character are joined first."""
    text = raw_text(value).replace("\r\n", "").replace("\n", "").replace("\r", "")
    if "=?" not in text:
        return _CONTROL.sub("", text.replace("\t", " ")).strip(" ")
    previous = None
    while previous != text:
        previous, text = text, _BETWEEN.sub(r"\1\2", text)
    parts: list[str] = []
    position, pending, pending_charset = 0, b"", ""
    for match in _WORD.finditer(text):
        charset, data = match[1], _word_octets(match[2], match[3])
        if pending and (match.start() != position or charset.lower() != pending_charset):
            parts.append(decode_bytes(pending, pending_charset)[0])
            pending = b""
        parts.append(text[position : match.start()])
        pending, pending_charset, position = pending + data, charset.lower(), match.end()
    if pending:
        parts.append(decode_bytes(pending, pending_charset)[0])
    parts.append(text[position:])
    return _CONTROL.sub("", "".join(parts).replace("\t", " ").replace("\n", " ").replace("\r", "")).strip(" ")


def _word_octets(encoding: str, text: str) -> bytes:
    # Raw letters inside a word are wrong and seen; decode_bytes finds out that they are UTF-8.
    data = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(data, header=True)
    data = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    if len(data) % 4 == 1:
        data = data[:-1]
    return b64decode(data + b"=" * (-len(data) % 4))


def message_ids(values: Sequence[object]) -> tuple[str, ...]:
    """The msg-ids in the fields, in order, without brackets (which some programs forget); at most MAX_IDS, the last ones."""
    found: list[str] = []
    for text in map(raw_text, values):
        ids = _ID.findall(text)
        if not ids and all(map(_BARE_ID.fullmatch, words := text[:MAX_PARAMETERS].split())):
            ids = words
        found += ids
    return tuple(dict.fromkeys(found[-MAX_IDS:]))


def date(value: object) -> dt.datetime | None:
    """The Date field in UTC; a zone-less one is taken as UTC; None when it makes no sense."""
    try:
        parsed = email.utils.parsedate_to_datetime(raw_text(value))
        parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
        parsed = parsed.astimezone(dt.UTC)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return parsed if 1970 < parsed.year < 2200 else None


def _token(message: Message, name: str) -> str:
    return raw_text(message.get(name, "")).partition(";")[0].partition("(")[0].strip().lower()


def auto_kind(message: Message) -> AutoKind:
    """What the fields say of the message's origin (RFC 3834, section 5; Precedence; List-Id of RFC 2919)."""
    submitted, precedence = _token(message, "Auto-Submitted"), _token(message, "Precedence")
    content_type = message.get_content_type()
    report = str(message.get_param("report-type") or "").lower() if content_type == "multipart/report" else ""
    if report == "delivery-status" or content_type == "message/delivery-status":
        return AutoKind.DELIVERY_REPORT
    if _token(message, "Return-Path") == "<>":
        sender = raw_text(message.get("From", "")).lower()
        if "mailer-daemon" in sender or "postmaster" in sender:
            return AutoKind.DELIVERY_REPORT
    if submitted.startswith("auto-replied") or precedence == "auto_reply" or report == "disposition-notification":
        return AutoKind.AUTO_REPLIED
    if _token(message, "X-Autoreply") not in ("", "no") or _token(message, "X-Autorespond") not in ("", "no"):
        return AutoKind.AUTO_REPLIED
    if submitted and submitted != "no":
        return AutoKind.AUTO_GENERATED
    if precedence in ("bulk", "junk", "list") or message.get("List-Id") or message.get("List-Unsubscribe"):
        return AutoKind.BULK
    return AutoKind.HUMAN


_AUTO_SUBJECTS = (
    "automatyczna odpowiedź", "odpowiedź automatyczna", "autoodpowiedź", "out of office", "automatic reply", "auto:",
    "nieobecność", "poza biurem",
)  # fmt: skip


def wants_no_answer(message: Message, kind: AutoKind, subject: str) -> bool:
    """Whether an automatic answer would be unwelcome or start a loop."""
    if kind is not AutoKind.HUMAN or _token(message, "Return-Path") == "<>":
        return True
    tokens = {t.strip() for t in raw_text(message.get("X-Auto-Response-Suppress", "")).lower().split(",")}
    # DR, NDR, RN and NRN ask for no reports and receipts, of which we send none (MS-OXCMAIL, 2.2.3.2.14).
    return bool(tokens & {"all", "autoreply", "oof"}) or subject.lower().startswith(_AUTO_SUBJECTS)
