"""Our own DKIM check, with messages signed by dkimpy and keys made for the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import dkim
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from okienko.plugins.senderproof import Method, Proof, SenderProof, SenderProofSettings, SenderVerdict, header_values

MAIL = (
    b"From: Jan <jan@poczta.example>\r\nTo: pomoc@okienko.example\r\nSubject: HASLO AWARYJNE\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nProsze o zmiane hasla.\r\n"
)
COVERED = [b"From", b"To", b"Subject", b"Date"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[bytes, bytes]]:
    """Private key (PEM) and DNS record of so many bits."""
    folder = tmp_path_factory.mktemp("keys")

    def make(bits: int) -> tuple[bytes, bytes]:
        file = folder / f"{bits}.pem"
        if not file.exists():
            subprocess.run(
                ["openssl", "genrsa", "-traditional", "-out", file, str(bits)], check=True, capture_output=True
            )
        public = subprocess.run(["openssl", "rsa", "-in", file, "-pubout"], check=True, capture_output=True).stdout
        body = b"".join(public.splitlines()[1:-1])
        return Path(file).read_bytes(), b"v=DKIM1; k=rsa; p=" + body

    return make


def signed(private: bytes, domain: bytes = b"poczta.example", mail: bytes = MAIL, **more: object) -> bytes:
    options = {"include_headers": COVERED, "canonicalize": (b"relaxed", b"relaxed")} | more
    signature: bytes = dkim.sign(mail, b"s1", domain, private, **options)
    return signature + mail


def judge(raw: bytes, record: bytes | None | Exception, *, on: bool = True, **more: object) -> SenderVerdict:
    asked: list[tuple[str, float]] = []

    def dns(name: str, timeout: float) -> bytes | None:
        asked.append((name, timeout))
        if isinstance(record, Exception):
            raise record
        return record

    options = {"authserv_ids": ["mx.example"], "own_dkim": on, "dkim_timeout": 2.0} | more
    proof = SenderProof(SenderProofSettings(**options), dns)  # type: ignore[arg-type]
    found = proof.judge(("mx.example; spf=none",), header_values(raw, "From"), raw)
    assert all(name.endswith("._domainkey." + name.split("._domainkey.")[1]) and t == 2.0 for name, t in asked)
    if not on:
        assert not asked
    return found


Key = Callable[[int], tuple[bytes, bytes]]


@pytest.mark.parametrize("bits", [1024, 2048])
def test_a_signature_of_the_senders_domain(key: Key, bits: int) -> None:
    private, record = key(bits)
    found = judge(signed(private), record)
    assert (found.proof, found.method, found.domain) == (Proof.PROVED, Method.OWN_DKIM, "poczta.example")
    assert "signature 1 of poczta.example holds" in found.evidence


def test_only_when_switched_on(key: Key) -> None:
    private, record = key(1024)
    assert judge(signed(private), record, on=False).proof is Proof.UNPROVED
    chosen = SenderProofSettings(own_dkim=True)
    assert SenderProof(chosen).judge((), header_values(MAIL, "From"), signed(private)).proof is Proof.UNPROVED


def test_the_servers_refusal_stands(key: Key) -> None:
    private, record = key(1024)
    raw = signed(private)
    proof = SenderProof(SenderProofSettings(authserv_ids=["mx.example"], own_dkim=True), lambda name, timeout: record)
    results = ("mx.example; dmarc=fail header.from=poczta.example",)
    assert proof.judge(results, header_values(raw, "From"), raw).proof is Proof.FAILED


def test_the_second_signature_counts_too(key: Key) -> None:
    private, record = key(1024)
    raw = signed(private, b"lista.example", signed(private))
    found = judge(raw, record)
    assert found.proof is Proof.PROVED
    assert "signature 2" in found.evidence


def test_alignment(key: Key) -> None:
    private, record = key(1024)
    below = signed(private, b"news.poczta.example")
    assert judge(below, record).proof is Proof.PROVED
    assert judge(below, record, alignment="strict").proof is Proof.UNPROVED
    foreign = judge(signed(private, b"evil.example"), record)
    assert foreign.proof is Proof.UNPROVED
    assert "its domain is not the sender's" in foreign.evidence


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "no key in DNS"),
        (b"", "no key in DNS"),
        (b"v=DKIM1; k=rsa; p=", ""),
        (b"v=DKIM1; k=rsa; p=AAAA", ""),
        (b"v=DKIM2; p=AAAA", ""),
        (b"\xff\xfe;;;=", ""),
        (TimeoutError(), "DNS does not answer"),
        (OSError("network"), "DNS does not answer"),
    ],
)
def test_bad_keys(key: Key, record: bytes | None | Exception, words: str) -> None:
    found = judge(signed(key(1024)[0]), record)
    assert found.proof is Proof.UNPROVED
    assert words in found.evidence


def test_a_test_key_signs_nothing(key: Key) -> None:
    private, record = key(1024)
    found = judge(signed(private), record + b"; t=y:s")
    assert found.proof is Proof.UNPROVED
    assert "test" in found.evidence


def test_short_keys(key: Key) -> None:
    private, record = key(768)
    found = judge(signed(private), record)
    assert found.proof is Proof.UNPROVED
    assert "too short" in found.evidence
    private, record = key(1024)
    assert judge(signed(private), record, dkim_min_key=2048).proof is Proof.UNPROVED


def test_part_of_the_body(key: Key) -> None:
    private, record = key(1024)
    raw = signed(private, length=True)
    assert judge(raw + b"I prosze o zmiane adresu na zly@evil.example\r\n", record).proof is Proof.UNPROVED
    found = judge(raw, record)
    assert found.proof is Proof.UNPROVED
    assert "l=" in found.evidence


@pytest.mark.parametrize("missing", [b"Subject"])
def test_too_little_is_covered(key: Key, missing: bytes) -> None:
    private, record = key(1024)
    found = judge(signed(private, include_headers=[h for h in COVERED if h != missing]), record)
    assert found.proof is Proof.UNPROVED
    assert "does not cover" in found.evidence


def test_sha1(key: Key) -> None:
    private, record = key(1024)
    assert "algorithm" in judge(signed(private, signature_algorithm=b"rsa-sha1"), record).evidence


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"Prosze", b"Prosza"),
        lambda raw: raw.replace(b"Subject: HASLO", b"Subject: INNE HASLO"),
        lambda raw: raw.replace(b"<jan@", b"<ewa@"),
        lambda raw: b"From: Zly <zly@evil.example>\r\n" + raw,
        lambda raw: raw.replace(b"\r\n\r\nProsze", b"\r\nFrom: Zly <zly@evil.example>\r\n\r\nProsze"),
        lambda raw: b"Subject: INNE\r\n" + raw,
        lambda raw: raw + b"dopisane\r\n",
        lambda raw: raw.replace(b"d=poczta.example", b"d=evil.example"),
        lambda raw: raw.partition(b"\r\n\r\n")[0],
        lambda raw: raw.replace(b"DKIM-Signature:", b"X:"),
        lambda raw: raw.replace(b"b=", b"b=A", 1),
        lambda raw: b"DKIM-Signature: v=1; a=rsa-sha256\r\n" * 6 + raw,
        lambda raw: raw.replace(b"; s=s1", b"; s=../\xff"),
    ],
)  # fmt: skip
def test_changed(key: Key, change: Callable[[bytes], bytes]) -> None:
    private, record = key(1024)
    raw = change(signed(private))
    assert raw != signed(private)
    assert judge(raw, record).proof is not Proof.PROVED


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 2000), what=st.integers(1, 255))
def test_no_changed_octet_of_what_is_covered_is_proved(key: Key, where: int, what: int) -> None:
    private, record = key(1024)
    raw = bytearray(signed(private, canonicalize=(b"simple", b"simple")))
    start = raw.index(b"From: Jan")
    position = start + where % (len(raw) - start)
    raw[position] ^= what
    assert judge(bytes(raw), record).proof is not Proof.PROVED


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=80))
def test_hostile_signatures_and_keys_raise_nothing(tags: bytes, record: bytes) -> None:
    line = b"DKIM-Signature: v=1; a=rsa-sha256; d=poczta.example; s=s; h=from:subject; " + tags.replace(b"\n", b" ")
    found = judge(line.replace(b"\r", b" ") + b"\r\n" + MAIL, record)
    assert found.proof is not Proof.PROVED


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_hostile_bytes_raise_nothing(raw: bytes) -> None:
    proof = SenderProof(SenderProofSettings(own_dkim=True), lambda name, timeout: None)
    assert proof.judge((), ("jan@poczta.example",), raw).proof is not Proof.PROVED
    assert proof.judge((), ("jan@poczta.example",), b"From: jan@poczta.example\r\n" + raw).proof is not Proof.PROVED
