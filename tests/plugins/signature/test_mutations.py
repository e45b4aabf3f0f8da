"""Every octet counts: a signed document with one octet changed is never valid; and nothing makes the verifier raise.

What cannot be told from the outside is written in docs/signatures.md: octets that mean the same twice over.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from okienko.plugins.signature.verifier import DocumentVerifier
from plugins.signature.conftest import Check
from signing.mutations import DETACHED, DOCUMENTS, one_bit, try_all
from signing.pki import Pki


@pytest.fixture(scope="session")
def documents(pki: Pki) -> dict[str, bytes]:
    return {name: make(pki) for name, make in DOCUMENTS.items()}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_octet(documents: dict[str, bytes], check: Check, name: str) -> None:
    """One bit of every octet. All eight, or all values, by `python -m signing.mutations` (docs/signatures.md)."""

    def is_valid(document: bytes, beside: bytes | None) -> bool:
        return check(document, detached=beside).report.valid

    # The one that takes minutes is sampled, evenly, with another bit at each place.
    step = 5 if name == "pdf twice" else 1
    found = try_all(name, documents[name], is_valid, one_bit, step)
    assert found.tried == -(-len(documents[name]) // step)
    assert [(place, documents[name][max(0, place - 10) : place + 10]) for place, _ in found.survivors] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_length(documents: dict[str, bytes], check: Check, name: str) -> None:
    """Cut off anywhere, or with something behind it."""
    document, beside = documents[name], DETACHED.get(name)
    for length in range(0, len(document), max(1, len(document) // 60)):
        assert not check(document[:length], detached=beside).report.valid
    for tail in (b"\0", b"x", b"\n%x", b"<x/>", document):
        assert not check(document + tail, detached=beside).report.valid


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=150
)
@given(st.data())
def test_it_never_raises(documents: dict[str, bytes], verifier: DocumentVerifier, data: st.DataObject) -> None:
    """Splices of signed documents and noise."""
    whole = documents[data.draw(st.sampled_from(sorted(documents)))]
    other = documents[data.draw(st.sampled_from(sorted(documents)))]
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
    noise = data.draw(st.one_of(st.binary(max_size=64), st.just(other), st.just(other[start:end])))
    changed = whole[:start] + noise + whole[end:]
    found = verifier.verify(changed, data.draw(st.text(max_size=20)), at=datetime.now(UTC), detached=b"plik")
    verifier.read_application(found.signed)
    assert not found.report.valid or changed in documents.values()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(
        [
            b"",
            b"%PDF-1.7\n",
            b"PK\x03\x04",
            b"<?xml version='1.0'?>",
            b"<a>",
            b"0\x80\x06\x09*\x86H\x86\xf7\r\x01\x07\x02",
            b"MII",
        ]
    ),
    st.binary(max_size=500),
)
def test_noise_is_never_valid(verifier: DocumentVerifier, start: bytes, noise: bytes) -> None:
    found = verifier.verify(start + noise, "x", at=datetime.now(UTC))
    assert not found.report.valid
    assert found.report.problems
