"""Whom a signature is trusted from: every reason of roots, times, revocation and qualification, with its code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.signature.problems import TEXTS, Code
from okienko.plugins.signature.status import trust_files
from okienko.plugins.signatures import SignatureLevel
from plugins.signature.conftest import Check, codes, verifier_for
from signing.cms import plain_pdf, sign_pdf
from signing.pki import DAY, NOW, Pki, crl
from signing.xml import enveloped

REASONS = {
    "jan": [],
    "jan_rsa": [],
    "stranger": [],
    "jan_evil": ["untrusted"],
    "jan_expired": ["expired"],
    "jan_future": ["not_yet_valid"],
    "jan_revoked": ["revoked"],
    "jan_revoked_ca": ["revoked"],
    "jan_no_crl": ["revocation_unknown"],
    "jan_stale": ["crl_stale"],
    "jan_unqualified": ["not_qualified"],
    "jan_no_device": ["not_qualified"],
    "jan_foreign_law": ["not_qualified"],
    "jan_wrong_usage": ["certificate_refused"],
    "jan_short": ["weak_algorithm"],
    "seal": ["person_unknown"],
    "other_seal": ["not_qualified", "person_unknown"],
}


@pytest.mark.parametrize("signer", REASONS)
def test_each_reason_in_a_pdf(pki: Pki, check: Check, signer: str) -> None:
    assert codes(check(sign_pdf(plain_pdf(), pki[signer]))) == REASONS[signer]


@pytest.mark.parametrize("signer", REASONS)
def test_each_reason_in_xml(pki: Pki, check: Check, signer: str) -> None:
    assert codes(check(enveloped(pki[signer], chain=True))) == REASONS[signer]


def test_untrusted_names_nobody(pki: Pki, check: Check) -> None:
    """Anyone can make a certificate with anyone's name."""
    report = check(enveloped(pki["jan_evil"])).report
    assert report.signatory is None
    assert report.level is None


def test_a_revoked_persons_name_is_still_told(pki: Pki, check: Check) -> None:
    report = check(enveloped(pki["jan_revoked"])).report
    assert report.signatory is not None
    assert report.signatory.family_name == "Wymyślony"
    assert report.level is SignatureLevel.QUALIFIED


def test_at_a_past_moment_the_certificate_was_good(pki: Pki, check: Check) -> None:
    assert codes(check(enveloped(pki["jan_expired"]), at=NOW - 40 * DAY)) == []
    assert codes(check(enveloped(pki["jan"]), at=NOW - 40 * DAY)) == ["not_yet_valid"]


def test_a_later_revocation_counts_for_a_past_moment(pki: Pki, check: Check) -> None:
    assert codes(check(enveloped(pki["jan_revoked"]), at=NOW - 10 * DAY)) == ["revoked"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"anchors": ""}, "not_configured"),
        ({"crl_dir": ""}, "revocation_unknown"),
        ({"intermediates": ""}, "untrusted"),
    ],
)
def test_what_is_not_set_up_is_not_trusted(pki: Pki, change: dict[str, str], expected: str) -> None:
    signed = sign_pdf(plain_pdf(), pki["jan"], chain=False)
    found = verifier_for(pki, **change).verify(signed, "a.pdf", at=datetime.now(UTC))
    assert codes(found) == [expected]


def test_the_chain_may_come_with_the_signature(pki: Pki) -> None:
    found = verifier_for(pki, intermediates="").verify(sign_pdf(plain_pdf(), pki["jan"]), "a.pdf", at=datetime.now(UTC))
    assert found.report.valid


def test_new_files_are_seen_and_the_newest_crl_counts(pki: Pki, tmp_path: object) -> None:
    folder = pki.folder / "crl-later"
    folder.mkdir()
    (folder / "root.crl").write_bytes((pki.folder / "crl" / "root.crl").read_bytes())
    (folder / "a.crl").write_bytes(crl(pki["ca"], issued=NOW - timedelta(hours=9)))
    verifier = verifier_for(pki, crl_dir=str(folder))
    signed = enveloped(pki["jan"])
    assert verifier.verify(signed, "a.xml", at=datetime.now(UTC)).report.valid
    (folder / "b.crl").write_bytes(crl(pki["ca"], [pki["jan"]], issued=NOW - timedelta(hours=1)))
    assert codes(verifier.verify(signed, "a.xml", at=datetime.now(UTC))) == ["revoked"]


def test_a_broken_trust_file_is_named(pki: Pki) -> None:
    broken = pki.folder / "broken.pem"
    broken.write_text("nothing")
    with pytest.raises(MisconfiguredError, match=r"broken\.pem"):
        verifier_for(pki, anchors=f'["{broken}"]').verify(b"x", "x", at=datetime.now(UTC))


def test_a_pin_must_be_a_hash(pki: Pki) -> None:
    with pytest.raises(MisconfiguredError, match="64 hexadecimal"):
        verifier_for(pki, pinned_seals='["abc"]')


def test_status_shows_ages_and_what_is_missing(pki: Pki) -> None:
    settings = verifier_for(pki, intermediates=f'["{pki.folder / "ca.pem"}", "{pki.folder / "other_ca.pem"}"]').settings
    states = {
        (f["kind"], f["name"].split(",")[0].removeprefix("Common Name: ")): f["state"]
        for f in trust_files(settings, NOW)
    }
    assert states["crl", "Zmyślone Centrum Kwalifikowane"] == "ok"
    assert states["crl", "Zmyślone Centrum Bez CRL"] == "missing"
    assert states["crl", "Zmyślone Centrum Ze Starą CRL"] == "expired"
    soon = trust_files(settings, NOW + 5 * DAY)
    assert {f["state"] for f in soon if f["kind"] == "crl"} == {"soon", "missing", "expired"}


def test_every_code_has_its_sentence() -> None:
    assert set(TEXTS) == set(Code)
