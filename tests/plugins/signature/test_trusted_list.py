"""The national trusted list: what it grants, its seal, its age, and its renewal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import respx

from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.signature.status import trust_files
from okienko.plugins.signature.update import fetch, update_crls, update_trusted_list
from okienko.plugins.signature.verifier import DocumentVerifier
from plugins.signature.conftest import codes, verifier_for
from signing.pki import DAY, NOW, Pki, crl
from signing.trustedlist import FOR_WEB, WITHDRAWN, trusted_list
from signing.xml import enveloped, podpis_zp


def listed(pki: Pki, path: Path, raw: bytes, *, pinned: bool = True, **changes: str) -> DocumentVerifier:
    path.write_bytes(raw)
    signers = f'["{pki.folder / "list_signer.pem"}"]' if pinned else ""
    return verifier_for(pki, trusted_list=str(path), trusted_list_signers=signers, **changes)


def ask(verifier: DocumentVerifier, document: bytes) -> list[str]:
    return codes(verifier.verify(document, "a.xml", at=datetime.now(UTC)))


def test_what_the_list_grants(pki: Pki, tmp_path: Path) -> None:
    signer, ca = pki["list_signer"], pki["ca"]
    granted = listed(pki, tmp_path / "a.xml", trusted_list(signer, [ca]))
    assert ask(granted, enveloped(pki["jan"])) == []
    assert ask(granted, enveloped(pki["jan_unqualified"])) == ["not_qualified"]
    assert ask(granted, enveloped(pki["jan_no_device"])) == ["not_qualified"]
    for raw in (
        trusted_list(signer, [pki["other_ca"]]),
        trusted_list(signer, [ca], status=WITHDRAWN),
        trusted_list(signer, [ca], purpose=FOR_WEB),
    ):
        assert ask(listed(pki, tmp_path / "b.xml", raw), enveloped(pki["jan"])) == ["not_qualified"]


def test_its_seal(pki: Pki, tmp_path: Path) -> None:
    good = trusted_list(pki["list_signer"], [pki["ca"]])
    changed = listed(pki, tmp_path / "a.xml", good.replace(b"Invented service", b"Another service"))
    assert ask(changed, enveloped(pki["jan"])) == ["trusted_list_refused", "not_qualified"]
    forged = listed(pki, tmp_path / "b.xml", trusted_list(pki["anna"], [pki["ca"]]))
    assert ask(forged, enveloped(pki["jan"])) == ["trusted_list_refused", "not_qualified"]
    unpinned = listed(pki, tmp_path / "c.xml", good, pinned=False)
    assert ask(unpinned, enveloped(pki["jan"])) == ["trusted_list_signer_not_pinned"]


@pytest.mark.parametrize("next_update", [NOW - DAY, None])
def test_its_age(pki: Pki, tmp_path: Path, next_update: datetime | None) -> None:
    raw = trusted_list(pki["list_signer"], [pki["ca"]], next_update=next_update)
    verifier = listed(pki, tmp_path / "a.xml", raw)
    assert ask(verifier, enveloped(pki["jan"])) == ["trusted_list_stale"]
    (state,) = [f["state"] for f in trust_files(verifier.settings, NOW) if f["kind"] == "trusted_list"]
    assert state == "expired"


def test_podpis_zaufany_needs_no_list(pki: Pki, tmp_path: Path) -> None:
    """Its worth comes from the pinned seal, not from the seal's own qualification."""
    verifier = listed(pki, tmp_path / "a.xml", trusted_list(pki["list_signer"], []))
    document = enveloped(pki["seal"], role=podpis_zp("Jan", "Wymyślony", "44651400000"))
    assert "not_qualified" not in ask(verifier, document)


def test_update_puts_a_newer_list_in_place(pki: Pki, tmp_path: Path) -> None:
    path = tmp_path / "list.xml"
    old = trusted_list(pki["list_signer"], [pki["ca"]], number=7)
    settings = listed(pki, path, old).settings
    new = trusted_list(pki["list_signer"], [pki["ca"]], number=8)
    assert update_trusted_list(settings, new, NOW).changed
    assert path.read_bytes() == new
    assert not update_trusted_list(settings, new, NOW).changed
    for wrong, why in (
        (old, "older"),
        (new.replace(b"Invented", b"Changed!"), "refused"),
        (trusted_list(pki["anna"], [pki["ca"]], number=9), "refused"),
        (trusted_list(pki["list_signer"], [pki["ca"]], number=9, next_update=NOW - DAY), "out of date"),
        (b"<html>moved</html>", "refused"),
    ):
        with pytest.raises(PermanentError, match=why):
            update_trusted_list(settings, wrong, NOW)
        assert path.read_bytes() == new
    assert [p.name for p in tmp_path.iterdir()] == ["list.xml"]


def test_update_needs_a_pinned_signer(pki: Pki, tmp_path: Path) -> None:
    raw = trusted_list(pki["list_signer"], [pki["ca"]])
    with pytest.raises(MisconfiguredError, match="TRUSTED_LIST_SIGNERS"):
        update_trusted_list(listed(pki, tmp_path / "a.xml", raw, pinned=False).settings, raw, NOW)


def test_update_of_crls(pki: Pki, tmp_path: Path) -> None:
    settings = verifier_for(pki, crl_dir=str(tmp_path / "crl")).settings
    newer = crl(pki["ca"], issued=NOW - timedelta(minutes=5))
    (first,) = update_crls(settings, newer, "x", NOW)
    assert first.changed
    (again,) = update_crls(settings, newer, "x", NOW)
    assert not again.changed
    for wrong, why in (
        (crl(pki["ca"], issued=NOW - DAY), "older"),
        (crl(pki["evil_ca"]), "not signed by"),
        (crl(pki["ca"], issued=NOW - 3 * DAY, next_update=NOW - DAY), "out of date"),
    ):
        with pytest.raises(PermanentError, match=why):
            update_crls(settings, wrong, "x", NOW)
    with pytest.raises(MisconfiguredError, match="no readable CRL"):
        update_crls(settings, b"<html>", "x", NOW)
    assert [p.read_bytes() for p in (tmp_path / "crl").iterdir()] == [newer]


@respx.mock
def test_fetch() -> None:
    respx.get("https://list.invalid/pl.xml").respond(200, content=b"abc")
    respx.get("https://list.invalid/gone.xml").respond(404)
    respx.get("https://list.invalid/down.xml").mock(side_effect=httpx.ConnectError("no"))
    assert fetch("https://list.invalid/pl.xml") == b"abc"
    for page in ("gone", "down"):
        with pytest.raises(TransientError, match="the old file stays"):
            fetch(f"https://list.invalid/{page}.xml")
    with pytest.raises(PermanentError, match="cannot read"):
        fetch("/nowhere/pl.xml")
