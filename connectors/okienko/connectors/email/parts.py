"""The parts of a message: which are text, which are attachments, and their decoded bytes (RFC 2045, 2046, 2183, 2231)."""

from __future__ import annotations

import binascii
import hashlib
import io
import quopri
import re
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.message import Message
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from okienko.connectors.email.headers import decode_words, raw_text
from okienko.connectors.email.skeleton import Skeleton
from okienko.plugins.raw import CHUNK

MAX_PARTS = 1000
MAX_DEPTH = 50
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\u200b-\u200f\u2028-\u202e\u2066-\u2069]')
_TOKEN = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
MAX_TNEF = 32 << 20
"""Larger winmail.dat files stay packed: opening one takes several times its size in memory."""
TNEF_TYPES = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part that holds no further parts for us; a contained message is one."""

    part: Message
    content_type: str
    filename: str
    is_text: bool
    alternative: int = 0
    """Number of the multipart/alternative that it is in, or 0: the texts of one say the same thing."""


def leaves(message: Message, defects: list[str]) -> Iterator[Leaf]:
    """The leaf parts in order, within the limits; what is over them is a defect."""
    stack: list[tuple[Message, int, int]] = [(message, 0, 0)]
    count = alternatives = 0
    while stack:
        part, depth, alternative = stack.pop()
        count += 1
        if count > MAX_PARTS:
            defects.append("too_many_parts")
            return
        content_type = _content_type(part)
        payload = contained(part)
        if payload and not content_type.startswith("message/"):
            if depth >= MAX_DEPTH:
                defects.append("nested_too_deep")
                continue
            if content_type == "multipart/alternative" and not alternative:
                alternatives += 1
                alternative = alternatives
            stack.extend((child, depth + 1, alternative) for child in reversed(payload))
            continue
        disposition = raw_text(part.get("Content-Disposition", "")).partition(";")[0].strip().lower()
        name = _filename(part)
        is_text = content_type in ("text/plain", "text/html") and disposition != "attachment" and not name
        yield Leaf(part, content_type, name, is_text, alternative)


def contained(part: Message) -> list[Message]:
    """The parts within a part; empty for one that holds octets. Never decodes, as get_payload() would."""
    payload = part._payload  # type: ignore[attr-defined]  # noqa: SLF001  there is no public way to it as it stands
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _content_type(part: Message) -> str:
    content_type = part.get_content_type()
    return content_type if _TOKEN.fullmatch(content_type) else "application/octet-stream"


def _filename(part: Message) -> str:
    try:
        name = part.get_filename("")
    except (LookupError, ValueError, TypeError, AttributeError):
        # The library trips over some broken RFC 2231 parameters.
        name = ""
    name = decode_words(name) if name else ""
    if not name and part.get_content_type() == "message/rfc822":
        inner = next(iter(contained(part)), None)
        subject = decode_words(inner.get("Subject", "")) if inner is not None else ""
        name = f"{subject or 'message'}.eml"
    return name


def safe_name(name: str, index: int, content_type: str) -> str:
    """A file name to show: no path, no control or direction characters, at most 150 characters, never empty."""
    name = _UNSAFE.sub("", PurePosixPath(name.replace("\\", "/")).name).strip(" .")
    if len(name) > 150:
        stem, dot, suffix = name.rpartition(".")
        name = f"{stem[: 149 - len(suffix)]}.{suffix}" if dot and len(suffix) < 20 else name[:150]
    return name or f"part-{index}.{'txt' if content_type.startswith('text/') else 'bin'}"


def octets(part: Message, skeleton: Skeleton | None) -> bytes | BinaryIO:
    """The decoded bytes of a leaf: at once when it is small, as a stream when part of it was left out of the skeleton."""
    if inner := contained(part):
        data = b"\r\n".join(map(_bytes_of, inner))
        return skeleton.restore(data) if skeleton and skeleton.has_marker(data) else data
    # get_payload() would read raw 8-bit octets by a charset that may lie.
    raw = part._payload  # type: ignore[attr-defined]  # noqa: SLF001  there is no public way to the octets
    data = raw.encode("ascii", "surrogateescape") if isinstance(raw, str) else b""
    encoding = raw_text(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if skeleton and skeleton.has_marker(data):
        with skeleton.restore(data) as stream:
            return _decode_stream(stream, encoding)
    if encoding == "base64":
        return _base64(data)
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    if encoding in ("x-uuencode", "uuencode", "uue", "x-uue"):
        return _uu(data)
    return data


def _bytes_of(message: Message) -> bytes:
    try:
        # The parser takes an empty boundary; the generator would draw another one each time, and no digest would stay true.
        for number, part in enumerate(message.walk()):
            if contained(part) and part.get_content_maintype() == "multipart" and not part.get_boundary():
                part.set_boundary(f"=_okienko_{number}")
        return message.as_bytes()
    except (LookupError, ValueError, TypeError, AttributeError, KeyError, MessageError):
        # The generator refuses what the parser took; the whole is still in the envelope.
        return b""


def _base64(data: bytes) -> bytes:
    try:
        return b64decode(data)
    except (binascii.Error, ValueError):
        data = _NOT_BASE64.sub(b"", data)
        data = data[:-1] if len(data) % 4 == 1 else data
        return b64decode(data + b"=" * (-len(data) % 4))


def _uu(data: bytes) -> bytes:
    out = []
    for line in data.splitlines():
        if line.startswith((b"begin ", b"end")) or not line:
            continue
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            continue
    return b"".join(out)


def _decode_stream(stream: BinaryIO, encoding: str) -> BinaryIO:
    out: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=CHUNK)
    if encoding == "base64":
        rest = b""
        while piece := stream.read(CHUNK):
            rest += _NOT_BASE64.sub(b"", piece)
            whole = len(rest) // 4 * 4
            out.write(b64decode(rest[:whole]))
            rest = rest[whole:]
        out.write(_base64(rest))
    elif encoding == "quoted-printable":
        quopri.decode(stream, out)
    else:
        while piece := stream.read(CHUNK):
            out.write(piece)
    out.seek(0)
    return cast("BinaryIO", out)


def measured(content: bytes | BinaryIO) -> tuple[int, str]:
    """Size in octets and SHA-256 in hex."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    digest, size = hashlib.sha256(), 0
    while piece := content.read(CHUNK):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def as_stream(content: bytes | BinaryIO) -> BinaryIO:
    """A stream at the start."""
    return io.BytesIO(content) if isinstance(content, bytes) else content


def tnef_members(data: bytes) -> tuple[list[tuple[str, bytes]], str]:
    """Attachments and text body of a winmail.dat. Raises ValueError when it cannot be opened."""
    if len(data) > MAX_TNEF:
        raise ValueError("the TNEF container is too large to be opened")
    _check_tnef_whole(data)
    from tnefparse import TNEF

    try:
        opened = TNEF(data, do_checksum=False)
        members = [(str(a.long_filename() or a.name or ""), bytes(a.data)) for a in opened.attachments]
        body = opened.body or ""
        return members, body.decode("cp1250", "replace") if isinstance(body, bytes) else str(body)
    except Exception as error:  # the library has no error class of its own
        raise ValueError("the TNEF container is damaged") from error


def _check_tnef_whole(data: bytes) -> None:
    """Raises ValueError when an attribute runs over the end (MS-OXTNEF, 2.1.3): the library would give half a file for whole."""
    position = 6
    while position + 9 <= len(data):
        position += 9 + int.from_bytes(data[position + 5 : position + 9], "little") + 2
    if position > len(data) or len(data) < 15:
        raise ValueError("the TNEF container is cut short")
