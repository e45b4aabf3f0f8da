"""Checks of the port SignatureVerifier."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from okienko.plugins.signatures import Application, SignatureFormat, SignatureVerifier, SignedFile, Verification

NOISE = (
    b"",
    b"Wniosek",
    b"%PDF-1.7\n%%EOF\n",
    b"PK\x03\x04" + b"\0" * 40,
    b"<?xml version='1.0'?><a xmlns:ds='http://www.w3.org/2000/09/xmldsig#'><ds:Signature/></a>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    b"<a>" * 5000,
    bytes.fromhex("3080060a2a864886f70d010702a080"),
    bytes(range(256)) * 64,
)
"""Documents that nobody signed, each the beginning of something."""


class SignatureConformance:
    """Subclass it as `Test…` with fixtures `backend` (the verifier) and `signed` (a document that it finds valid now)."""

    @pytest.fixture
    def backend(self) -> SignatureVerifier:
        """The object to check."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def signed(self) -> bytes:
        """A document with a valid signature."""
        raise NotImplementedError("override the fixture `signed`")

    def test_port(self, backend: SignatureVerifier) -> None:
        """It has every member of the port, and a name."""
        assert isinstance(backend, SignatureVerifier)
        assert backend.name

    @pytest.mark.parametrize("document", NOISE)
    def test_noise_is_reported_not_raised(self, backend: SignatureVerifier, document: bytes) -> None:
        """Whatever a document holds, there is a report with a reason, and no octets are called signed."""
        for detached in (None, b"", b"x"):
            found = backend.verify(document, "plik", at=datetime.now(UTC), detached=detached)
            assert not found.report.valid
            assert found.report.problems
            assert found.signed == ()

    def test_valid(self, backend: SignatureVerifier, signed: bytes) -> None:
        """The sample is valid, says who signed and hands over what was signed; twice the same."""
        at = datetime.now(UTC)
        found = backend.verify(signed, "plik", at=at)
        assert found.report.valid
        assert found.report.format is not SignatureFormat.NONE
        assert found.report.level is not None
        assert found.report.signatory is not None
        assert found.report.coverage == "whole"
        assert found.signed
        assert backend.verify(signed, "plik", at=at) == found

    def test_it_crosses_the_process_border(self, backend: SignatureVerifier, signed: bytes) -> None:
        """The result is whole after JSON."""
        found = backend.verify(signed, "plik", at=datetime.now(UTC))
        assert Verification.from_wire(json.loads(json.dumps(found.to_wire()))) == found

    def test_the_moment_counts(self, backend: SignatureVerifier, signed: bytes) -> None:
        """Certificates run out: in a hundred years the sample is not valid."""
        assert not backend.verify(signed, "plik", at=datetime.now(UTC) + timedelta(days=36_500)).report.valid

    def test_changed_octets(self, backend: SignatureVerifier, signed: bytes) -> None:
        """A valid report never comes with other signed octets than the sample's."""
        at = datetime.now(UTC)
        expected = [f.content for f in backend.verify(signed, "plik", at=at).signed]
        for place in range(0, len(signed), max(1, len(signed) // 50)):
            changed = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
            found = backend.verify(changed, "plik", at=at)
            assert not found.report.valid or [f.content for f in found.signed] == expected

    def test_applications_are_read_from_anything(self, backend: SignatureVerifier) -> None:
        """What cannot be read says nothing; it does not raise."""
        for document in NOISE:
            assert backend.read_application((SignedFile("plik", "application/pdf", document),)) == Application()
        assert backend.read_application(()) == Application()
