"""ZIP containers from strangers (PKWARE APPNOTE 6.3): limits first, and no octet that two readers could understand differently.

Each entry is described twice, in its local header and in the central directory; both must agree, entries must touch each other,
and nothing may stand before, between or after them.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib

from okienko.plugins.signature.problems import Code, Refused

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_END = struct.Struct("<4sHHHHIIH")
_CENTRAL = 46
_LENGTHS = struct.Struct("<HHH")
_DESCRIPTOR = struct.Struct("<III")
_HAS_DESCRIPTOR, _UTF8, _LEVEL = 1 << 3, 1 << 11, 0b110
_MODES = (0o600, 0o640, 0o644, 0o660, 0o664, 0o666)
_ATTRIBUTES = frozenset({0, 0x20} | {(mode | kind) << 16 for mode in _MODES for kind in (0, 0o100000)})
"""External attributes of an ordinary file, as the usual tools write them."""
_UNSAFE = re.compile(r"^/|^[A-Za-z]:|\\|(?:^|/)\.\.?(?:/|$)|//|[\x00-\x1f]")


def read_zip(blob: bytes, *, max_unpacked: int, max_parts: int) -> dict[str, bytes]:
    """All files by name, in the container's order. Raises Refused with the reason."""
    try:
        entries = sorted(zipfile.ZipFile(io.BytesIO(blob)).infolist(), key=lambda e: e.header_offset)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError, EOFError, UnicodeDecodeError):
        raise Refused(Code.UNREADABLE, "it is not a readable ZIP container") from None
    if len(entries) > max_parts or sum(entry.file_size for entry in entries) > max_unpacked:
        raise Refused(Code.TOO_COMPLEX)
    if len({entry.filename.casefold() for entry in entries}) != len(entries):
        raise Refused(Code.WRAPPING, "a name stands twice in the container")
    if any(_UNSAFE.search(entry.filename) for entry in entries):
        raise Refused(Code.MALFORMED, "a name that leads out of the container")
    if len({(e.create_version, e.create_system) for e in entries}) > 1 or len(_attributes(entries)) > 1:
        raise Refused(Code.MALFORMED, "its entries were made by different programs")
    files, position = {}, 0
    for entry in entries:
        content, position = _read_entry(blob, entry, position)
        if not entry.is_dir():
            files[entry.filename] = content
        elif content:
            raise Refused(Code.MALFORMED, "a folder with content")
    _check_directory(blob, entries, position)
    return files


def _attributes(entries: list[zipfile.ZipInfo]) -> set[int]:
    """What the files' attributes are; the media type may have been written apart, with none."""
    return {e.external_attr for e in entries if not e.is_dir() and (e.header_offset or e.external_attr)}


def _read_entry(blob: bytes, entry: zipfile.ZipInfo, position: int) -> tuple[bytes, int]:
    if entry.header_offset != position:
        raise Refused(Code.MALFORMED, "octets between its entries")
    try:
        local = _LOCAL.unpack_from(blob, position)
    except struct.error:
        raise Refused(Code.UNREADABLE, "its container is cut off") from None
    mark, version, flags, method, time, date, crc, packed, size, name_length, extra_length = local
    start = position + _LOCAL.size
    name = blob[start : start + name_length].decode("utf-8" if flags & _UTF8 else "cp437", "replace")
    sizes = (crc, packed, size)
    described = flags & _HAS_DESCRIPTOR
    year, month, day, hour, minute, second = entry.date_time
    told_twice = (
        mark == b"PK\x03\x04"
        and (version, flags, method) == (entry.extract_version, entry.flag_bits, entry.compress_type)
        and (date, time) == ((year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2)
        and name == entry.orig_filename
        and (sizes == (entry.CRC, entry.compress_size, entry.file_size) or (described and sizes == (0, 0, 0)))
    )
    ordinary = (
        not flags & ~(_HAS_DESCRIPTOR | _UTF8 | _LEVEL)
        and method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        and (entry.external_attr in _ATTRIBUTES or entry.is_dir())
        and entry.internal_attr == 0
        and entry.reserved == 0
        and entry.volume == 0
        and version in (10, 20)
        and not entry.comment
    )
    if not told_twice or not ordinary:
        raise Refused(Code.MALFORMED, "an entry of its container is described in two ways, or unusual")
    start += name_length + extra_length
    end = start + entry.compress_size
    content = _unpack(blob[start:end], entry)
    if described:
        end = _after_descriptor(blob, end, entry)
    return content, end


def _unpack(packed: bytes, entry: zipfile.ZipInfo) -> bytes:
    content = packed
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        machine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = machine.decompress(packed, entry.file_size + 1)
        except zlib.error:
            raise Refused(Code.CHANGED, "an entry of its container is damaged") from None
        if not machine.eof or machine.unused_data or _padding_set(packed, content):
            raise Refused(Code.MALFORMED, "an entry of its container is longer or shorter than it says")
    if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise Refused(Code.CHANGED, "an entry of its container is damaged")
    return content


def _padding_set(packed: bytes, content: bytes) -> bool:
    """Whether a bit behind the end of the deflated data is set: clearing the highest set bit changes nothing then."""
    last = packed[-1]
    cleared = last & ~(1 << (last.bit_length() - 1)) if last else 0
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        same = machine.decompress(packed[:-1] + bytes([cleared]), len(content) + 1) == content and machine.eof
    except zlib.error:
        return False
    return bool(last) and same


def _after_descriptor(blob: bytes, position: int, entry: zipfile.ZipInfo) -> int:
    if blob[position : position + 4] == b"PK\x07\x08":
        position += 4
    if blob[position : position + _DESCRIPTOR.size] != _DESCRIPTOR.pack(
        entry.CRC, entry.compress_size, entry.file_size
    ):
        raise Refused(Code.MALFORMED, "an entry of its container is described in two ways")
    return position + _DESCRIPTOR.size


def _check_directory(blob: bytes, entries: list[zipfile.ZipInfo], position: int) -> None:
    """The central directory begins where the entries end and is followed by its own end, and by nothing."""
    if len(blob) < _END.size:
        raise Refused(Code.UNREADABLE, "its container is cut off")
    mark, disk, disk_start, here, total, size, offset, comment = _END.unpack(blob[-_END.size :])
    whole = (
        mark == b"PK\x05\x06"
        and (disk, disk_start, comment) == (0, 0, 0)
        and here == total == len(entries)
        and offset == position
        and offset + size == len(blob) - _END.size
        and _directory_end(blob, offset, len(entries)) == offset + size
    )
    if not whole:
        raise Refused(Code.APPENDED, "octets around its container")


def _directory_end(blob: bytes, position: int, count: int) -> int:
    """Where the last of `count` records of the central directory ends, by the lengths that they give."""
    for _ in range(count):
        if position + _CENTRAL > len(blob):
            return -1
        position += _CENTRAL + sum(_LENGTHS.unpack_from(blob, position + 28))
    return position


def read_member(blob: bytes, name: str, limit: int) -> bytes | None:
    """One file of an office document, at most `limit` octets of it; None when there is none or it cannot be read.

    Laxer than `read_zip`: the document as a whole is signed, so its form does not matter.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as container, container.open(name) as member:
            content = member.read(limit + 1)
    except (
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
        struct.error,
    ):
        return None
    return content if len(content) <= limit else None
