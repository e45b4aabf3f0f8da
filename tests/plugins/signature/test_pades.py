"""PDF signatures: what covers the file, what was added, and podpis zaufany."""

from __future__ import annotations

import io

import pytest
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader

from okienko.plugins.signature.pades import _refuse_elsewhere
from okienko.plugins.signature.problems import Code, Refused
from okienko.plugins.signatures import SignatureFormat, SignatureLevel
from plugins.signature.conftest import Check, codes, verifier_for
from signing.cms import REASON, plain_pdf, podpis_zaufany_pdf, sign_pdf
from signing.pki import JAN_PESEL, NOW, Pki

NAME = "JAN WYMYŚLONY"


@pytest.fixture(scope="session")
def signed(pki: Pki) -> bytes:
    return sign_pdf(plain_pdf(), pki["jan"])


def test_qualified(check: Check, signed: bytes) -> None:
    found = check(signed, "wniosek.pdf")
    report = found.report
    assert (report.valid, report.format, report.level) == (True, SignatureFormat.PADES, SignatureLevel.QUALIFIED)
    assert report.coverage == "whole"
    assert report.signatory is not None
    assert report.signatory.pesel is not None
    assert report.signatory.pesel.reveal() == JAN_PESEL
    assert report.signatory.birth_year == 2244
    assert report.signed_at is not None
    assert [(f.name, f.content) for f in found.signed] == [("wniosek.pdf", signed)]


def test_unsigned(check: Check) -> None:
    found = check(plain_pdf())
    assert codes(found) == ["not_signed"]
    assert found.report.format is SignatureFormat.NONE


def test_changed_text(check: Check, signed: bytes) -> None:
    found = check(signed.replace(b"(Wniosek)", b"(wniosek)"))
    assert codes(found) == ["changed"]
    assert found.signed == ()


def test_bytes_behind_the_end(check: Check, signed: bytes) -> None:
    found = check(signed + b"\n% dodane\n")
    assert codes(found) == ["appended"]
    assert found.report.coverage == "partial"
    assert found.signed == ()


@pytest.mark.parametrize("what", ["content", "annotation", "title"])
def test_a_later_revision(check: Check, signed: bytes, what: str) -> None:
    writer = IncrementalPdfFileWriter(io.BytesIO(signed))
    page = writer.root["/Pages"]["/Kids"][0].get_object()
    if what == "content":
        new = writer.add_object(
            generic.StreamObject(stream_data=b"BT /F1 12 Tf 72 700 Td (zlodziej@zly.invalid) Tj ET")
        )
        page["/Contents"] = generic.ArrayObject([page.raw_get("/Contents"), new])
        writer.update_container(page)
    elif what == "annotation":
        note = {
            "/Type": generic.pdf_name("/Annot"),
            "/Subtype": generic.pdf_name("/FreeText"),
            "/Contents": generic.pdf_string("inny"),
        }
        page["/Annots"] = generic.ArrayObject(
            [writer.add_object(generic.DictionaryObject({generic.pdf_name(k): v for k, v in note.items()}))]
        )
        writer.update_container(page)
    else:
        writer.set_info(generic.DictionaryObject({generic.pdf_name("/Title"): generic.pdf_string("x")}))
    out = io.BytesIO()
    writer.write(out)
    assert codes(check(out.getvalue())) == ["appended"]


def test_a_hole_that_leaves_out_more_than_the_signature(check: Check, signed: bytes) -> None:
    """The ByteRange itself is signed, so a wider hole breaks the digest too; the hole is looked at first."""
    start = signed.index(b"/ByteRange")
    numbers = signed[signed.index(b"[", start) + 1 : signed.index(b"]", start)].split()
    wider = b" ".join([numbers[0], b"%d" % (int(numbers[1]) - 10), *numbers[2:]])
    text = b" ".join(numbers)
    changed = (
        signed.replace(text, wider.ljust(len(text)))
        if text in signed
        else signed.replace(numbers[1] + b" ", b"%d " % (int(numbers[1]) - 10), 1)
    )
    assert changed != signed
    assert codes(check(changed)) == ["partial_coverage"]


@pytest.mark.parametrize("hole", ["case", "padding", "space"])
def test_nothing_hides_in_the_hole(check: Check, signed: bytes, hole: str) -> None:
    start, end = signed.index(b"<30"), signed.index(b"0>", signed.index(b"<30"))
    if hole == "case":
        place = next(i for i in range(start + 100, end) if signed[i : i + 1] in b"abcdefABCDEF")
        changed = signed[:place] + signed[place : place + 1].swapcase() + signed[place + 1 :]
    else:
        changed = signed[: end - 1] + (b"7" if hole == "padding" else b" ") + signed[end:]
    assert codes(check(changed)) == ["malformed"]


@pytest.mark.parametrize("null", [False, True])
def test_podpis_zaufany(pki: Pki, check: Check, null: bool) -> None:
    """The real seal leaves the NULL out; one that writes it, as a renewed seal may, is accepted as well."""
    report = check(podpis_zaufany_pdf(plain_pdf(), pki["seal"], NAME, JAN_PESEL, null=null)).report
    assert report.valid
    assert report.level is SignatureLevel.PODPIS_ZAUFANY
    assert report.signatory is not None
    assert (report.signatory.given_names, report.signatory.family_name) == ("JAN", "WYMYŚLONY")
    assert report.signatory.pesel is not None
    assert report.signatory.pesel.reveal() == JAN_PESEL


def test_podpis_zaufany_changed(pki: Pki, check: Check) -> None:
    signed = podpis_zaufany_pdf(plain_pdf(), pki["seal"], NAME, JAN_PESEL)
    assert codes(check(signed.replace(b"(Wniosek)", b"(wniosek)"))) == ["changed"]


def test_no_null_only_for_pinned_keys(pki: Pki, check: Check) -> None:
    found = check(podpis_zaufany_pdf(plain_pdf(), pki["other_seal"], NAME, JAN_PESEL))
    assert codes(found) == ["signature_invalid"]
    assert "pinned seals only" in found.report.problems[0].text


def test_the_ministers_words_under_another_certificate_are_ignored(pki: Pki, check: Check) -> None:
    reason = REASON.format(name=NAME, pesel=JAN_PESEL, login="jan")
    report = check(sign_pdf(plain_pdf(), pki["anna"], name=NAME, reason=reason)).report
    assert report.level is SignatureLevel.QUALIFIED
    assert report.signatory is not None
    assert report.signatory.family_name == "Niebyła"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (NAME, None),
        (None, REASON.format(name=NAME, pesel=JAN_PESEL, login="jan")),
        ("ANNA NIEBYŁA", REASON.format(name=NAME, pesel=JAN_PESEL, login="jan")),
        (NAME, REASON.format(name=NAME, pesel="0" * 10 + "1", login="jan")),
        (NAME, "Przeczytałem. " + REASON.format(name=NAME, pesel=JAN_PESEL, login="jan")),
        (NAME, REASON.format(name=NAME, pesel=JAN_PESEL, login="jan") + ", PESEL: 1"),
    ],
)
def test_a_statement_in_another_form_names_nobody(pki: Pki, check: Check, name: str | None, reason: str | None) -> None:
    found = check(sign_pdf(plain_pdf(), pki["seal"], name=name, reason=reason, null=False))
    assert codes(found) == ["person_unknown"]
    assert found.report.signatory is None


def test_a_seal_out_of_date(pki: Pki, check: Check) -> None:
    """A pin does not replace trust: chain, time and revocation hold for the seal as for anyone."""
    signed = podpis_zaufany_pdf(plain_pdf(), pki["seal"], NAME, JAN_PESEL)
    assert codes(check(signed, at=NOW.replace(year=NOW.year + 3))) == ["expired"]
    assert "untrusted" in codes(
        verifier_for(pki, anchors=f'["{pki.folder / "evil_root.pem"}"]').verify(signed, "a", at=NOW)
    )


def test_hybrid_reference_file_is_accepted_and_said(pki: Pki, check: Check) -> None:
    """Word writes such files, and the real podpis zaufany was put on one."""
    found = check(sign_pdf(hybrid_pdf(), pki["jan"]))
    assert codes(found) == ["hybrid_pdf"]
    assert found.report.valid


def test_the_dictionary_is_the_one_around_the_signature(signed: bytes) -> None:
    """A /Reason from an object that merely claims to be the signature would name anyone."""
    reader = PdfFileReader(io.BytesIO(signed), strict=False)
    embedded = reader.embedded_regular_signatures[0]
    hole = signed.index(b"<3082")
    _refuse_elsewhere(signed, hole, reader, embedded)
    for elsewhere in (10, len(signed)):
        with pytest.raises(Refused) as refused:
            _refuse_elsewhere(signed, elsewhere, reader, embedded)
        assert refused.value.code is Code.WRAPPING


def test_ber_of_indefinite_length(pki: Pki, check: Check) -> None:
    """The real podpis zaufany comes like that."""
    signed = podpis_zaufany_pdf(plain_pdf(), pki["seal"], NAME, JAN_PESEL)
    start = signed.index(b"<3082") + 1
    end = signed.index(b">", start)
    octets = indefinite(bytes.fromhex(signed[start:end].decode()), 3)
    changed = signed[:start] + octets.hex().encode().ljust(end - start, b"0") + signed[end:]
    assert changed[start : start + 4] == b"3080"
    assert codes(check(changed)) == []
    more = octets[:-2] + b"\x05\x00\x00\x00"
    assert codes(check(signed[:start] + more.hex().encode().ljust(end - start, b"0") + signed[end:])) == ["malformed"]


def indefinite(octets: bytes, levels: int) -> bytes:
    """The value and its last part, `levels` deep, with indefinite lengths (X.690, 8.1.3.6)."""
    header = 2 + (octets[1] & 0x7F if octets[1] & 0x80 else 0)
    length = int.from_bytes(octets[2:header], "big") if header > 2 else octets[1]
    inner = octets[header : header + length]
    if levels > 1:
        # ContentInfo: the OID (11 octets), then [0] with the SignedData in it.
        skip = 11 if levels == 3 else 0
        inner = inner[:skip] + indefinite(inner[skip:], levels - 1)
    return octets[:1] + b"\x80" + inner + b"\0\0"


def hybrid_pdf() -> bytes:
    """A classic table whose trailer points at a cross-reference stream as well (ISO 32000-1, 7.5.8.4)."""
    plain = plain_pdf()
    body, _, _ = plain.rpartition(b"xref\n0 6\n")
    stream_at = len(body)
    rows = b"\x01" + stream_at.to_bytes(3, "big") + b"\x00"
    stream = (
        b"6 0 obj\n<</Type/XRef/Size 7/W[1 3 1]/Index[6 1]/Root 1 0 R/Length %d>>\nstream\n%s\nendstream\nendobj\n"
        % (len(rows), rows)
    )
    table_at = stream_at + len(stream)
    table = plain[plain.rindex(b"xref\n0 6\n") : plain.rindex(b"trailer")]
    trailer = b"trailer\n<</Size 7/Root 1 0 R/XRefStm %d>>\nstartxref\n%d\n%%%%EOF\n" % (stream_at, table_at)
    return body + stream + table + trailer


def test_encrypted_pdf_is_not_checked(check: Check) -> None:
    from pyhanko.pdf_utils.writer import copy_into_new_writer

    writer = copy_into_new_writer(PdfFileReader(io.BytesIO(plain_pdf())))
    writer.encrypt("haslo")
    out = io.BytesIO()
    writer.write(out)
    assert codes(check(out.getvalue())) == ["unsupported"]
