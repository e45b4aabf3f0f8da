"""One PKI for all tests of signatures, and a verifier that trusts it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from okienko.plugins.settings import load_settings
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.verifier import DocumentVerifier
from okienko.plugins.signatures import Verification
from signing.pki import Pki, make_pki

Check = Callable[..., Verification]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Made once a session; its persons cannot exist."""
    return make_pki(Path(tmp_path_factory.mktemp("pki")))


def verifier_for(pki: Pki, **changes: str) -> DocumentVerifier:
    """A verifier with this PKI's settings, `changes` by the setting's name."""
    return DocumentVerifier(load_settings(SignatureSettings, pki.environ(**changes)))


@pytest.fixture(scope="session")
def verifier(pki: Pki) -> DocumentVerifier:
    return verifier_for(pki)


@pytest.fixture(scope="session")
def check(verifier: DocumentVerifier) -> Check:
    """Check a document now."""

    def run(document: bytes, filename: str = "wniosek", **options: object) -> Verification:
        return verifier.verify(document, filename, **{"at": datetime.now(UTC), **options})  # type: ignore[arg-type]

    return run


def codes(found: Verification) -> list[str]:
    """The codes of a report, in order."""
    found_codes = [p.code for p in found.report.problems]
    assert found.report.valid == (set(found_codes) <= {"hybrid_pdf", "trusted_list_signer_not_pinned"})
    return found_codes
