"""XML signatures: the shapes that are accepted, wrapping, and the roles of podpis zaufany."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from lxml import etree

from okienko.plugins.signatures import MissingFile, SignatureFormat, SignatureLevel
from plugins.signature.conftest import Check, codes
from signing.pki import JAN_PESEL, Pki
from signing.xml import (
    APPLICATION,
    BASE64,
    DS,
    ENVELOPED,
    EXCLUSIVE,
    FILTER2,
    INCLUSIVE,
    XPATH,
    Data,
    beside,
    detached,
    enveloped,
    enveloping,
    ep_signature,
    podpis_zp,
    sign_xml,
    transform,
)

NS = "{http://okienko.invalid/wniosek}"
ROLES = {
    "PodpisZP": podpis_zp("Jan", "Wymyślony", JAN_PESEL),
    "EPSignature": ep_signature("Jan", "Wymyślony", JAN_PESEL),
}
SHAPES: dict[str, dict[str, Any]] = {
    "enveloped": {},
    "inclusive": {"c14n": INCLUSIVE},
    "enveloped only": {"transforms": [ENVELOPED], "c14n": INCLUSIVE},
    "xpath": {"transforms": [transform(XPATH, "not(ancestor-or-self::ds:Signature)"), EXCLUSIVE]},
    "filter2": {"transforms": [transform(FILTER2, "/descendant::ds:Signature"), EXCLUSIVE]},
    "with chain": {"chain": True},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signer", ["jan", "jan_rsa"])
def test_enveloped(pki: Pki, check: Check, shape: str, signer: str) -> None:
    found = check(enveloped(pki[signer], **copy.deepcopy(SHAPES[shape])), "wniosek.xml")
    assert codes(found) == []
    assert (found.report.format, found.report.level) == (SignatureFormat.XADES, SignatureLevel.QUALIFIED)
    assert found.report.coverage == "whole"
    assert found.signed[0].content.decode() == APPLICATION
    assert found.report.signed_at is not None


def test_the_root_by_its_id(pki: Pki, check: Check) -> None:
    signed = enveloped(pki["jan"], APPLICATION.replace("<Wniosek ", '<Wniosek Id="w" '), uri="#w")
    assert codes(check(signed)) == []


def test_what_stands_around_the_root(pki: Pki, check: Check) -> None:
    """A style sheet decides what a person sees; named as the document, the root is signed together with it."""
    sheet = '<?xml-stylesheet href="x.xsl" type="text/xsl"?>'
    by_id = enveloped(pki["jan"], APPLICATION.replace("<Wniosek ", '<Wniosek Id="w" '), uri="#w")
    assert codes(check(by_id.replace(b"<Wniosek ", sheet.encode() + b"<Wniosek "))) == ["partial_coverage"]
    assert codes(check(enveloped(pki["jan"]).replace(b"<Wniosek ", sheet.encode() + b"<Wniosek "))) == ["changed"]


async def test_inside_an_event_loop(pki: Pki, check: Check) -> None:
    assert codes(check(enveloped(pki["jan"]))) == []


def test_enveloping(pki: Pki, check: Check) -> None:
    found = check(enveloping(pki["jan"], b"%PDF-1.4 udawany"))
    assert codes(found) == []
    assert [f.content for f in found.signed] == [b"%PDF-1.4 udawany"]


def test_detached(pki: Pki, check: Check) -> None:
    signed = detached(pki["jan"], {"wniosek.pdf": b"%PDF udawany"})
    found = check(signed, detached=b"%PDF udawany")
    assert codes(found) == []
    assert [(f.name, f.content) for f in found.signed] == [("wniosek.pdf", b"%PDF udawany")]
    assert codes(check(signed, detached=b"inny")) == ["changed"]
    found = check(signed)
    assert codes(found) == ["content_missing"]
    assert found.missing == (MissingFile("sha256", hashlib.sha256(b"%PDF udawany").digest()),)


def test_what_is_missing_is_named_by_its_octets_only(pki: Pki, check: Check) -> None:
    """Of several files each; of a file that is transformed before it is digested nothing, as no file has that digest."""
    assert len(check(detached(pki["jan"], {"a": b"a", "b": b"b"})).missing) == 2
    transformed = etree.tostring(sign_xml(pki["jan"], [Data("a.xml", b"<a></a>", [EXCLUSIVE])]))
    assert codes(check(transformed, detached=b"<a/>")) == []
    assert (codes(check(transformed)), check(transformed).missing) == (["content_missing"], ())


@pytest.mark.parametrize("transforms", [[EXCLUSIVE], [ENVELOPED, EXCLUSIVE]])
def test_beside_its_data_in_one_wrapper(pki: Pki, check: Check, transforms: list[str]) -> None:
    """Signxml writes the second form: a signature is taken out of something that holds none."""
    found = check(beside(pki["jan"], transforms=transforms))
    assert codes(found) == []
    assert b"jan.nowy@poczta.invalid" in found.signed[0].content


@pytest.mark.parametrize("shape", ROLES)
@pytest.mark.parametrize("null", [True, False])
def test_podpis_zaufany(pki: Pki, check: Check, shape: str, null: bool) -> None:
    report = check(enveloped(pki["seal"], role=ROLES[shape], null=null)).report
    assert (report.valid, report.level) == (True, SignatureLevel.PODPIS_ZAUFANY)
    assert report.signatory is not None
    assert (report.signatory.given_names, report.signatory.family_name) == ("Jan", "Wymyślony")
    assert report.signatory.pesel is not None
    assert report.signatory.pesel.reveal() == JAN_PESEL


def test_podpis_zaufany_around_a_file(pki: Pki, check: Check) -> None:
    found = check(enveloping(pki["seal"], b"wniosek", role=ROLES["PodpisZP"]))
    assert codes(found) == []
    assert found.signed[0].content == b"wniosek"


def test_a_role_under_another_certificate_is_ignored(pki: Pki, check: Check) -> None:
    report = check(enveloped(pki["anna"], role=ROLES["PodpisZP"])).report
    assert report.level is SignatureLevel.QUALIFIED
    assert report.signatory is not None
    assert report.signatory.family_name == "Niebyła"


@pytest.mark.parametrize(
    "role",
    [
        None,
        podpis_zp("Jan", "Wymyślony", "44444444444"),
        podpis_zp("", "Wymyślony", JAN_PESEL),
        ROLES["PodpisZP"].replace("<os:PESEL>", f"<os:PESEL>{JAN_PESEL}</os:PESEL><os:PESEL>"),
        "<Cokolwiek/>",
    ],
)
def test_a_role_in_another_form_names_nobody(pki: Pki, check: Check, role: str | None) -> None:
    assert codes(check(enveloped(pki["seal"], role=role))) == ["person_unknown"]


def test_a_changed_role(pki: Pki, check: Check) -> None:
    signed = enveloped(pki["seal"], role=ROLES["PodpisZP"])
    assert codes(check(signed.replace(b"<os:Imie>Jan", b"<os:Imie>Jon"))) == ["changed"]


def test_no_null_only_for_pinned_keys(pki: Pki, check: Check) -> None:
    found = check(enveloped(pki["other_seal"], role=ROLES["PodpisZP"], null=False))
    assert codes(found) == ["signature_invalid"]
    assert "pinned seals only" in found.report.problems[0].text


def test_wrapping_the_original_hidden(pki: Pki, check: Check) -> None:
    """A forged element stands where a reader looks; the signed one is kept somewhere else so that its digest agrees."""
    root = etree.fromstring(beside(pki["jan"]))
    original = root.find(NS + "Wniosek")
    forged = etree.fromstring(
        etree.tostring(original).replace(b"jan.nowy", b"zlodziej").replace(b'Id="w1"', b'Id="w2"')
    )
    root.remove(original)
    root.insert(0, forged)
    etree.SubElement(root, "Ukryte").append(original)
    found = check(etree.tostring(root))
    assert codes(found) == ["wrapping"]
    assert found.signed == ()


def test_wrapping_the_original_in_an_object(pki: Pki, check: Check) -> None:
    root = etree.fromstring(beside(pki["jan"]))
    original = root.find(NS + "Wniosek")
    forged = etree.fromstring(
        etree.tostring(original).replace(b"jan.nowy", b"zlodziej").replace(b'Id="w1"', b'Id="w2"')
    )
    root.remove(original)
    root.insert(0, forged)
    etree.SubElement(root.find(f"{{{DS}}}Signature"), f"{{{DS}}}Object").append(original)
    found = check(etree.tostring(root))
    assert not found.report.valid
    assert all(b"zlodziej" not in f.content for f in found.signed)


def test_wrapping_one_id_twice(pki: Pki, check: Check) -> None:
    root = etree.fromstring(beside(pki["jan"]))
    root.insert(0, etree.fromstring(etree.tostring(root.find(NS + "Wniosek")).replace(b"jan.nowy", b"zlodziej")))
    assert codes(check(etree.tostring(root))) == ["wrapping"]


def test_something_unsigned_beside(pki: Pki, check: Check) -> None:
    root = etree.fromstring(beside(pki["jan"]))
    etree.SubElement(root, "Dopisek").text = "zlodziej@zly.invalid"
    found = check(etree.tostring(root))
    assert codes(found) == ["partial_coverage"]
    assert all(b"zlodziej" not in f.content for f in found.signed)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x.replace(b"jan.nowy", b"zlodziej"), "changed"),
        (lambda x: x.replace(b"jan.nowy", b"zlodziej<!---->"), "partial_coverage"),
        (lambda x: x.replace(b"</Imie>", b"<!-- x --></Imie>"), "partial_coverage"),
        (lambda x: x + b"<!-- x -->", "partial_coverage"),
        (lambda x: x.replace(b"?>\n", b'?>\n<!DOCTYPE a [<!ENTITY x "y">]>'), "unreadable"),
        (lambda x: x.replace(b"<Imie>", b"<Imie> "), "changed"),
        (lambda x: x.replace(b"UTF-8", b"UTF-7"), "unreadable"),
        (lambda x: x.replace(b"</ds:SignedInfo>", b"</ds:SignedInfo>x"), "malformed"),
        (lambda x: x.replace(b"<ds:KeyInfo>", b'<ds:KeyInfo x="1">'), "malformed"),
        (lambda x: x.replace(b"<ds:KeyInfo>", b"<ds:KeyInfo><?x y?>"), "malformed"),
        (lambda x: x.replace(b'Target="#S1"', b'Target="#S2"'), "malformed"),
        (lambda x: x.replace(b"ecdsa-sha256", b"ecdsa-sha1"), "weak_algorithm"),
        (lambda x: x.replace(b"xml-exc-c14n#", b"xml-exc-x14n#", 1), "forbidden_transform"),
        (lambda x: x.replace(b"</ds:X509Certificate>", b"=</ds:X509Certificate>"), "malformed"),
        (lambda x: x[:-20], "unreadable"),
    ],
)
def test_changes(pki: Pki, check: Check, change: Any, expected: str) -> None:
    signed = enveloped(pki["jan"])
    changed = change(signed)
    assert changed != signed
    assert codes(check(changed)) == [expected]


@pytest.mark.parametrize(
    "transforms",
    [
        [ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116"],
        [transform(XPATH, "not(ancestor-or-self::ds:Signature or ancestor-or-self::Dopisek)"), EXCLUSIVE],
        [transform(XPATH, "true()"), EXCLUSIVE],
        [transform(FILTER2, "/descendant::Imie"), EXCLUSIVE],
        [ENVELOPED, ENVELOPED],
        [ENVELOPED, BASE64],
        [ENVELOPED, "http://www.w3.org/2006/12/xmlenc#decrypt"],
    ],
)
def test_transformations_off_the_list(pki: Pki, check: Check, transforms: list[Any]) -> None:
    assert codes(check(enveloped(pki["jan"], transforms=transforms))) == ["forbidden_transform"]


def test_plain_xml_signature_without_xades(pki: Pki, check: Check) -> None:
    assert codes(check(enveloped(pki["jan"], properties=False))) == ["unsupported"]


def test_only_its_own_properties_signed(pki: Pki, check: Check) -> None:
    found = check(etree.tostring(sign_xml(pki["jan"], [])))
    assert codes(found) == ["partial_coverage"]
    assert found.signed == ()


def test_another_certificate_with_the_same_key(pki: Pki, check: Check) -> None:
    """The signed digest of the certificate ties the signature to one certificate, not to a key."""
    import base64

    from signing.pki import ANNA, person, qc_statements

    stolen = person(ANNA, pki["ca"], statements=qc_statements(), key=pki["jan"].key)
    signed = enveloped(pki["jan"]).replace(base64.b64encode(pki["jan"].der), base64.b64encode(stolen.der))
    assert codes(check(signed)) == ["changed"]


def test_unsigned_xml(check: Check) -> None:
    found = check(APPLICATION.encode())
    assert codes(found) == ["not_signed"]
    assert found.report.format is SignatureFormat.NONE


def test_deep_xml(check: Check) -> None:
    assert codes(check(b"<a>" * 3000 + b"</a>" * 3000)) in (["too_complex"], ["unreadable"])


def test_billion_laughs(check: Check) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><a>&e11;</a>'.encode()
    assert codes(check(bomb)) == ["unreadable"]
