"""The built-in verifier passes the checks that plugin authors get."""

from __future__ import annotations

import pytest

from okienko.plugins.signature.verifier import DocumentVerifier
from okienko.plugins.signatures import SignatureVerifier
from okienko.plugins.testing.conformance import SignatureConformance
from signing.pki import Pki
from signing.xml import enveloped


class TestBuiltIn(SignatureConformance):
    @pytest.fixture
    def backend(self, verifier: DocumentVerifier) -> SignatureVerifier:
        return verifier

    @pytest.fixture
    def signed(self, pki: Pki) -> bytes:
        return enveloped(pki["jan"])
