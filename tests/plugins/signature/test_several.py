"""Several signatures in one document: one person's count as one, anything else does not count or is for a human."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from lxml import etree
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import MDPPerm
from pyhanko.sign.signers import PdfSigner

from okienko.plugins.signature.problems import MOST_SIGNATURES
from okienko.plugins.signatures import SignatureLevel
from plugins.signature.conftest import Check, codes
from signing.cms import plain_pdf, podpis_zaufany_pdf, sign_cms_by, sign_pdf
from signing.pki import JAN_PESEL, Pki
from signing.xml import (
    APPLICATION,
    ASIC,
    ENVELOPED,
    EXCLUSIVE,
    FILTER2,
    XPATH,
    Data,
    asic_cades,
    asic_xades,
    container,
    detached,
    enveloped,
    sign_xml,
    transform,
    unzip,
)

FILES = {"wniosek.txt": b"wniosek"}


def pdf(pki: Pki, people: list[str]) -> bytes:
    document = plain_pdf()
    for number, who in enumerate(people, 1):
        document = sign_pdf(document, pki[who], field=f"Podpis{number}")
    return document


def xml(pki: Pki, people: list[str]) -> bytes:
    root = etree.fromstring(APPLICATION.encode())
    for number, who in enumerate(people, 1):
        others = transform(XPATH, "not(ancestor-or-self::ds:Signature)")
        sign_xml(pki[who], [Data("", transforms=[others, EXCLUSIVE])], root=root, number=number)
    return etree.tostring(root)


def cms(pki: Pki, people: list[str]) -> bytes:
    return sign_cms_by(b"wniosek", [pki[who] for who in people])


def container_of_xades(pki: Pki, people: list[str]) -> bytes:
    whole = FILES
    for number, who in enumerate(people):
        meta = {n: o for n, o in unzip(asic_xades(pki[who], FILES)).items() if n.startswith("META-INF/")}
        whole = {**whole, **{name.replace("0", str(number)): octets for name, octets in meta.items()}}
    return container(whole)


def container_with_one_file_of_xades(pki: Pki, people: list[str]) -> bytes:
    root = etree.Element(f"{{{ASIC}}}XAdESSignatures", nsmap={"asic": ASIC})
    for number, who in enumerate(people, 1):
        sign_xml(pki[who], [Data(name, octets) for name, octets in FILES.items()], root=root, number=number)
    return container({**FILES, "META-INF/signatures.xml": etree.tostring(root)})


def container_of_cades(pki: Pki, people: list[str]) -> bytes:
    whole = FILES
    for number, who in enumerate(people):
        made = unzip(asic_cades(pki[who], FILES, number=number))
        whole = {**whole, **{n: o for n, o in made.items() if n.startswith("META-INF/")}}
    return container(whole)


Make = Callable[[Pki, list[str]], bytes]
KINDS: list[Make] = [pdf, xml, cms, container_of_xades, container_with_one_file_of_xades, container_of_cades]
ALL = pytest.mark.parametrize("make", KINDS)


@ALL
@pytest.mark.parametrize("people", [["jan", "jan"], ["jan", "jan_rsa", "jan"]])
def test_one_persons_signatures_count_as_one(pki: Pki, check: Check, make: Make, people: list[str]) -> None:
    found = check(make(pki, people), "wniosek")
    assert codes(found) == []
    assert (found.report.level, found.report.coverage) == (SignatureLevel.QUALIFIED, "whole")
    assert found.report.signatory is not None
    assert found.report.signatory.pesel is not None
    assert found.report.signatory.pesel.reveal() == JAN_PESEL
    assert len(found.signed) == 1


@ALL
@pytest.mark.parametrize("people", [["jan", "anna"], ["anna", "jan"], ["jan", "jan_rsa", "anna"]])
def test_different_persons_are_for_a_human(pki: Pki, check: Check, make: Make, people: list[str]) -> None:
    found = check(make(pki, people))
    assert codes(found) == ["different_signatories"]
    assert (found.report.signatory, found.signed) == (None, ())


@ALL
def test_without_a_number_nobody_can_tell(pki: Pki, check: Check, make: Make) -> None:
    found = check(make(pki, ["stranger", "stranger"]))
    assert codes(found) == ["several_signatures"]
    assert (found.report.signatory, found.signed) == (None, ())


@ALL
@pytest.mark.parametrize(
    ("people", "reason"),
    [
        (["jan_revoked", "jan"], "revoked"),
        (["jan", "jan_revoked"], "revoked"),
        (["jan", "jan_evil"], "untrusted"),
        (["jan_expired", "anna"], "expired"),
        (["jan", "jan_unqualified"], "not_qualified"),
        (["jan_short", "jan"], "weak_algorithm"),
    ],
)
def test_one_that_does_not_count_spoils_all(pki: Pki, check: Check, make: Make, people: list[str], reason: str) -> None:
    found = check(make(pki, people))
    if make is cms and reason == "untrusted":
        # The certificates of all stand together there, and Jan's own may not be damaged: an issuer's namesake is.
        reason = "changed"
    assert codes(found) == [reason]
    assert found.signed == ()
    if reason not in ("weak_algorithm", "changed"):
        bad = next(n for n, who in enumerate(people, 1) if who not in ("jan", "anna"))
        # A SET OF is written in the order of its octets: which comes first in a CMS is not ours to say.
        assert make is cms or f"signature {bad} of 2" in found.report.problems[0].text


@pytest.mark.parametrize("make", [xml, cms, container_with_one_file_of_xades])
def test_too_many(pki: Pki, check: Check, make: Make) -> None:
    assert codes(check(make(pki, ["jan"] * MOST_SIGNATURES))) == []
    assert codes(check(make(pki, ["jan"] * (MOST_SIGNATURES + 1)))) == ["several_signatures"]


# --- PDF --------------------------------------------------------------------------------------------------------------


def test_a_qualified_signature_and_podpis_zaufany(pki: Pki, check: Check) -> None:
    """By one person, in either order. The level is that of the last."""
    first = sign_pdf(plain_pdf(), pki["jan"], field="Podpis1")
    found = check(podpis_zaufany_pdf(first, pki["seal"], "JAN WYMYŚLONY", JAN_PESEL))
    assert (codes(found), found.report.level) == ([], SignatureLevel.PODPIS_ZAUFANY)
    sealed = podpis_zaufany_pdf(plain_pdf(), pki["seal"], "JAN WYMYŚLONY", JAN_PESEL)
    found = check(sign_pdf(sealed, pki["jan"], field="Podpis2"))
    assert (codes(found), found.report.level) == ([], SignatureLevel.QUALIFIED)
    assert codes(check(sign_pdf(sealed, pki["anna"], field="Podpis2"))) == ["different_signatories"]


def changed(document: bytes, what: str) -> bytes:
    writer = IncrementalPdfFileWriter(io.BytesIO(document))
    page = writer.root["/Pages"]["/Kids"][0].get_object()
    if what == "content":
        stream = generic.StreamObject(stream_data=b"BT /F1 12 Tf 72 700 Td (zlodziej@zly.invalid) Tj ET")
        page["/Contents"] = generic.ArrayObject([page.raw_get("/Contents"), writer.add_object(stream)])
    else:
        note = {"/Type": generic.pdf_name("/Annot"), "/Subtype": generic.pdf_name("/FreeText"), "/Contents": generic.pdf_string("inny")}  # fmt: skip
        added = writer.add_object(generic.DictionaryObject({generic.pdf_name(k): v for k, v in note.items()}))
        page["/Annots"] = generic.ArrayObject([*page["/Annots"], added])
    writer.update_container(page)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("what", ["content", "annotation"])
def test_a_change_between_two_signatures(pki: Pki, check: Check, what: str) -> None:
    """Though the last signature covers it: what the first one saw was another document."""
    between = changed(sign_pdf(plain_pdf(), pki["jan"], field="Podpis1"), what)
    found = check(sign_pdf(between, pki["jan"], field="Podpis2"))
    assert (codes(found), found.signed) == (["appended"], ())


def form(pki: Pki, *, certified: MDPPerm | None = None) -> tuple[bytes, IncrementalPdfFileWriter]:
    """A PDF with one text field, signed by Jan; and a writer that has filled the field in since."""
    writer = IncrementalPdfFileWriter(io.BytesIO(plain_pdf()))
    page = writer.root["/Pages"]["/Kids"].raw_get(0)
    name = generic.pdf_name
    box = generic.ArrayObject(map(generic.NumberObject, (50, 700, 300, 720)))
    entries = {
        "/Type": name("/Annot"), "/Subtype": name("/Widget"), "/FT": name("/Tx"), "/T": generic.pdf_string("nowy"),
        "/V": generic.pdf_string("jan.nowy@poczta.invalid"), "/Rect": box, "/P": page, "/F": generic.NumberObject(4),
    }  # fmt: skip
    field = writer.add_object(generic.DictionaryObject({name(key): value for key, value in entries.items()}))
    page.get_object()["/Annots"] = generic.ArrayObject([field])
    writer.update_container(page.get_object())
    writer.root["/AcroForm"] = generic.DictionaryObject({name("/Fields"): generic.ArrayObject([field])})
    writer.update_root()
    out = io.BytesIO()
    writer.write(out)
    signed = sign_pdf(out.getvalue(), pki["jan"], field="Podpis1", certify=certified)
    later = IncrementalPdfFileWriter(io.BytesIO(signed))
    filled = later.root["/AcroForm"]["/Fields"][0]
    filled["/V"] = generic.pdf_string("inny@poczta.invalid")
    later.update_container(filled)
    return signed, later


@pytest.mark.parametrize(
    ("certified", "expected"),
    [(None, []), (MDPPerm.FILL_FORMS, []), (MDPPerm.NO_CHANGES, ["appended"])],
)
def test_a_field_filled_in_between_two_signatures(
    pki: Pki, check: Check, certified: MDPPerm | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last signature covers the new value, so it is signed, unless the first one forbade it; not so without a last one."""
    signed, later = form(pki, certified=certified)
    assert codes(check(signed)) == []
    out = io.BytesIO()
    later.write(out)
    assert codes(check(out.getvalue())) == ["appended"]
    # pyHanko itself would not sign against the ban.
    monkeypatch.setattr(PdfSigner, "_enforce_certification_constraints", lambda *_: None)
    found = check(sign_pdf(out.getvalue(), pki["jan"], field="Podpis2"))
    assert codes(found) == expected
    assert bool(found.signed) is not bool(expected)


@pytest.mark.parametrize("what", ["content", "annotation"])
def test_a_change_after_the_last(pki: Pki, check: Check, what: str) -> None:
    assert codes(check(changed(pdf(pki, ["jan", "jan"]), what))) == ["appended"]
    assert codes(check(pdf(pki, ["jan", "jan"]) + b"\n%x")) == ["appended"]


def test_a_changed_octet_of_the_first_revision(pki: Pki, check: Check) -> None:
    assert codes(check(pdf(pki, ["jan", "jan"]).replace(b"(Wniosek)", b"(wniosek)"))) == ["changed"]


# --- XML --------------------------------------------------------------------------------------------------------------


def test_signatures_that_do_not_sign_the_same(pki: Pki, check: Check) -> None:
    """The second one signs the document with the first one in it."""
    root = etree.fromstring(xml(pki, ["jan"]))
    whole = etree.tostring(root, method="c14n", exclusive=True)
    sign_xml(pki["jan"], [Data("", whole, [ENVELOPED, EXCLUSIVE])], root=root, number=2)
    found = check(etree.tostring(root))
    assert (codes(found), found.signed) == (["several_signatures"], ())


def test_a_second_signature_inside_what_the_first_one_covers(pki: Pki, check: Check) -> None:
    root = etree.fromstring(enveloped(pki["jan"]))
    sign_xml(pki["jan"], [Data("", transforms=[ENVELOPED, EXCLUSIVE])], root=root, number=2)
    assert codes(check(etree.tostring(root))) == ["changed"]


def test_a_signature_in_a_signature(pki: Pki, check: Check) -> None:
    """A countersignature, or something that hides there."""
    inner = sign_xml(pki["jan"], [Data("a", b"a")], number=2)
    item = etree.Element("{http://www.w3.org/2000/09/xmldsig#}Object")
    item.append(inner)
    outer = sign_xml(pki["jan"], [Data("a", b"a")], objects=[item])
    assert codes(check(etree.tostring(outer), detached=b"a")) == ["several_signatures"]


def test_an_expression_that_means_the_first_of_several(pki: Pki, check: Check) -> None:
    root = etree.fromstring(APPLICATION.encode())
    for number in (1, 2):
        first = transform(FILTER2, "/descendant::ds:Signature[1]")
        sign_xml(pki["jan"], [Data("", transforms=[first, EXCLUSIVE])], root=root, number=number)
    assert codes(check(etree.tostring(root))) == ["forbidden_transform"]


def test_something_unsigned_beside_two_signatures(pki: Pki, check: Check) -> None:
    root = etree.fromstring(xml(pki, ["jan", "jan"]))
    etree.SubElement(root, "Dopisek").text = "zlodziej@zly.invalid"
    assert codes(check(etree.tostring(root))) == ["changed"]


# --- containers -------------------------------------------------------------------------------------------------------


def test_a_file_that_only_one_of_two_signs(pki: Pki, check: Check) -> None:
    more = {**FILES, "dopisek.txt": b"dopisek"}
    both = unzip(asic_xades(pki["jan"], more))
    both["META-INF/signatures1.xml"] = unzip(asic_xades(pki["jan"], FILES))["META-INF/signatures0.xml"]
    found = check(container({name: octets for name, octets in both.items() if name != "mimetype"}))
    assert codes(found) == ["partial_coverage"]
    assert found.signed == ()


def test_an_object_inside_the_signature_is_not_a_file_of_the_container(pki: Pki, check: Check) -> None:
    """Objects are numbered `object-1`; a file of that name beside them is signed by nobody."""
    item = etree.Element("{http://www.w3.org/2000/09/xmldsig#}Object", Id="o")
    item.text = "x"
    root = etree.Element(f"{{{ASIC}}}XAdESSignatures", nsmap={"asic": ASIC})
    octets = b'<ds:Object xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="o">x</ds:Object>'
    sign_xml(pki["jan"], [Data("#o", octets, [EXCLUSIVE])], root=root, objects=[item])
    found = check(container({"object-1": b"zlodziej", "META-INF/signatures.xml": etree.tostring(root)}))
    assert codes(found) == ["partial_coverage"]
    assert found.signed == ()


def test_a_manifest_too_few_or_twice(pki: Pki, check: Check) -> None:
    whole = unzip(container_of_cades(pki, ["jan", "jan"]))
    assert codes(check(container({n: o for n, o in whole.items() if n not in ("mimetype", "META-INF/ASiCManifest1.xml")}))) == ["malformed"]  # fmt: skip
    doubled = {**whole, "META-INF/ASiCManifest7.xml": whole["META-INF/ASiCManifest1.xml"]}
    assert codes(check(container({n: o for n, o in doubled.items() if n != "mimetype"}))) == ["malformed"]


def test_a_detached_signature_by_two(pki: Pki, check: Check) -> None:
    two = sign_cms_by(b"plik", [pki["jan"], pki["jan_rsa"]], attached=False)
    assert codes(check(two)) == ["content_missing"]
    assert codes(check(two, detached=b"plik")) == []
    assert codes(check(two, detached=b"inny")) == ["changed"]
    assert len(check(detached(pki["jan"], {"plik": b"plik"})).missing) == 1
