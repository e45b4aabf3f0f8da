"""ASiC containers: every file is signed, and the ZIP says everything once."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest

from okienko.plugins.signatures import SignatureFormat
from plugins.signature.conftest import Check, codes, verifier_for
from signing.cms import sign_cms
from signing.pki import NOW, Identity, Pki
from signing.xml import asic_cades, asic_xades, container, detached, rezip

FILES = {"wniosek.txt": b"Wniosek " * 20, "zalacznik nr 1.pdf": b"%PDF-1.4"}
Make = Callable[[Identity, dict[str, bytes]], bytes]
BOTH = pytest.mark.parametrize("make", [asic_xades, asic_cades])


@BOTH
def test_valid(pki: Pki, check: Check, make: Make) -> None:
    found = check(make(pki["jan"], FILES))
    assert codes(found) == []
    assert found.report.format is SignatureFormat.ASIC_E
    assert {f.name: f.content for f in found.signed} == FILES


@BOTH
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"wniosek.txt": b"inny"}, ["changed"]),
        ({"dopisek.txt": b"x"}, ["partial_coverage"]),
        ({"META-INF/dopisek.xml": b"x"}, ["partial_coverage"]),
        ({"wniosek.txt": None}, ["content_missing"]),
        ({"../x": b"x"}, ["malformed"]),
        ({"a\\b": b"x"}, ["malformed"]),
        ({"META-INF/signatures7.xml": b"<a/>"}, ["malformed"]),
        ({"WNIOSEK.TXT": b"x"}, ["wrapping"]),
    ],
)
def test_changed_containers(
    pki: Pki, check: Check, make: Make, change: dict[str, bytes | None], expected: list[str]
) -> None:
    found = check(rezip(make(pki["jan"], FILES), change))
    assert codes(found) == expected
    assert all(f.name in FILES for f in found.signed)


@BOTH
@pytest.mark.parametrize(
    ("signer", "expected"), [("jan_evil", "untrusted"), ("jan_expired", "expired"), ("jan_revoked", "revoked")]
)
def test_reasons(pki: Pki, check: Check, make: Make, signer: str, expected: str) -> None:
    assert codes(check(make(pki[signer], FILES))) == [expected]


@BOTH
def test_a_pdf_stored_in_front(pki: Pki, check: Check, make: Make) -> None:
    """A viewer of PDF would find the mark in the first kilobyte; it is a container all the same."""
    found = check(rezip(make(pki["jan"], {"a.pdf": b"%PDF-1.4 udawany"}), {}, packed=False))
    assert codes(found) == []
    assert found.report.format is SignatureFormat.ASIC_E


def test_simple_container(pki: Pki, check: Check) -> None:
    one = {"wniosek.txt": b"abc"}
    assert codes(check(container({**one, "META-INF/signature.p7s": sign_cms(b"abc", pki["jan"])}, "s"))) == []
    assert codes(check(container({**one, "META-INF/signatures.xml": detached(pki["jan"], one)}, "s"))) == []
    assert codes(
        check(container({"wniosek.txt": b"abd", "META-INF/signature.p7s": sign_cms(b"abc", pki["jan"])}, "s"))
    ) == ["changed"]


def test_unsigned_containers(check: Check) -> None:
    assert codes(check(container(FILES))) == ["not_signed"]
    assert codes(check(container(FILES, mimetype=False))) == ["not_signed"]


@pytest.mark.parametrize("where", ["before", "behind", "comment"])
def test_octets_around(pki: Pki, check: Check, where: str) -> None:
    blob = asic_xades(pki["jan"], FILES)
    if where == "comment":
        blob = blob[:-2] + struct.pack("<H", 3) + b"abc"
    changed = {"before": b"x" + blob, "behind": blob + b"PK", "comment": blob}[where]
    assert not check(changed).report.valid


def test_two_descriptions_of_one_entry(pki: Pki, check: Check) -> None:
    """The local header says something else than the central directory: two readers would see two files."""
    blob = bytearray(asic_xades(pki["jan"], FILES))
    place = blob.index(b"wniosek.txt")
    blob[place : place + 11] = b"wniosek.tyt"
    assert codes(check(bytes(blob))) == ["malformed"]


def test_bombs(pki: Pki) -> None:
    verifier = verifier_for(pki, max_unpacked="1000000", max_parts="20")
    bomb = asic_xades(pki["jan"], {"zera": b"\0" * 5_000_000})
    assert len(bomb) < 20_000
    assert codes(verifier.verify(bomb, "a", at=NOW)) == ["too_complex"]
    many = asic_xades(pki["jan"], {f"{n}.txt": b"x" for n in range(30)})
    assert codes(verifier.verify(many, "a", at=NOW)) == ["too_complex"]


def test_a_bomb_that_lies_about_its_size(pki: Pki, check: Check) -> None:
    blob = bytearray(asic_xades(pki["jan"], {"zera": b"\0" * 5_000_000}))
    size = struct.pack("<I", 5_000_000)
    small = struct.pack("<I", 50)
    assert blob.count(size) == 2
    assert codes(check(bytes(blob.replace(size, small)))) == ["malformed"]


def test_encrypted_entry(pki: Pki, check: Check) -> None:
    blob = bytearray(asic_xades(pki["jan"], FILES))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = blob.index(mark, 60 if mark == b"PK\x03\x04" else 0)
        blob[place + offset] |= 1
    assert not check(bytes(blob)).report.valid


def test_written_as_a_stream(pki: Pki, check: Check) -> None:
    """Java's and .NET's writers put sizes behind the data (bit 3)."""

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.out = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            octets = bytes(data)  # type: ignore[call-overload]
            self.out += octets
            return len(octets)

    stored = zipfile.ZipFile(io.BytesIO(asic_xades(pki["jan"], FILES)))
    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for entry in stored.infolist():
            made.writestr(zipfile.ZipInfo(entry.filename, entry.date_time), stored.read(entry), entry.compress_type)
    assert codes(check(bytes(stream.out))) == []
    changed = bytes(stream.out).replace(b"PK\x07\x08", b"PK\x07\x09", 1)
    assert not check(changed).report.valid
