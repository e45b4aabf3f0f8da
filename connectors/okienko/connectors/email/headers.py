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

from okienko.schemas import Address, AutoKind

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]+(=\?[^?\s]{1,60}\?[bBqQ]\?)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ID = re.compile(r"<([^<>\s]{1,998})>")
_ADDRESS = re.compile(r"[^\s@<>\"(),;:]{1,64}@[^\s@<>\"(),;:]{1,253}")
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


def decode_bytes(data: bytes, charset: str | None) -> tuple[str, bool]:
    """Text of `data` and whether the declared charset told the truth. Never fails: windows-1250 takes any byte."""
    name = codec(charset) if charset else "utf-8"
    lied = name is None
    for candidate in dict.fromkeys(n for n in (name, "utf-8") if n):
        try:
            return _whole(data.decode(candidate)), lied or candidate != name
        except (UnicodeDecodeError, ValueError):
            continue
    return data.decode("cp1250", "replace"), charset is not None or not data.isascii()


class RawHeaders(Compat32):
    """The library's lenient policy, but header values come as they stand: it would put `?` for raw 8-bit octets."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        """The value, untouched."""
        del name
        return value


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
    data = text.encode("ascii", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(data, header=True)
    data = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    if len(data) % 4 == 1:
        data = data[:-1]
    return b64decode(data + b"=" * (-len(data) % 4))


def message_ids(values: Sequence[object]) -> tuple[str, ...]:
    """The msg-ids in the fields, in order, without brackets; at most MAX_IDS, the last ones."""
    found = [match for value in values for match in _ID.findall(raw_text(value))]
    return tuple(dict.fromkeys(found[-MAX_IDS:]))


def addresses(values: Sequence[object], limit: int = 50) -> tuple[Address, ...]:
    """The mailboxes in address fields, as far as they make sense."""
    result = []
    for value in values:
        text = raw_text(value).replace("\r", "").replace("\n", "")[:20000]
        for name, address in _pairs(text):
            found = _ADDRESS.fullmatch(address.strip()) or _ADDRESS.search(address)
            if found:
                local, _, domain = found[0].rpartition("@")
                result.append(
                    Address.model_construct(name=decode_words(name)[:200], address=f"{local}@{domain.lower()}")
                )
        if not result and (loose := _ADDRESS.search(text)):
            local, _, domain = loose[0].rpartition("@")
            result.append(Address.model_construct(name="", address=f"{local}@{domain.lower()}"))
    return tuple(result[:limit])


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return email.utils.getaddresses([text], strict=False) if _strict_known() else email.utils.getaddresses([text])
    except RecursionError:
        # Thousands of comments in comments; the caller looks for an address by itself.
        return []


def _strict_known() -> bool:
    """Python's security releases added `strict` to getaddresses; older ones lack it."""
    return getattr(email.utils, "supports_strict_parsing", False)


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
    return bool(tokens & {"all", "autoreply", "oof", "dr"}) or subject.lower().startswith(_AUTO_SUBJECTS)
