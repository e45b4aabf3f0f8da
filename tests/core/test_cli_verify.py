"""`okienko verify` and `okienko trust`, as scripts use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from signing.cms import plain_pdf, podpis_zaufany_pdf, sign_cms, sign_pdf
from signing.pki import JAN_PESEL, NOW, Pki, crl, make_pki
from signing.trustedlist import trusted_list
from signing.xml import detached, enveloped

PROGRAM = Path(sys.executable).with_name("okienko")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(Path(tmp_path_factory.mktemp("pki")))


def run(*arguments: object, home: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OKIENKO_")}
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False,
        env=clean | {"OKIENKO_HOME": str(home)} | (environ or {}),
    )  # fmt: skip


def options(pki: Pki) -> list[object]:
    files = ["--trust", pki.folder / "root.pem", "--intermediate", pki.folder / "ca.pem", "--crl", pki.folder / "crl"]
    return [*files, "--pin-seal", pki["seal"].pin]


def verify(pki: Pki, tmp_path: Path, name: str, document: bytes, *more: object) -> tuple[int, dict[str, Any]]:
    (tmp_path / name).write_bytes(document)
    done = run("verify", tmp_path / name, *options(pki), *more, "--json", home=tmp_path)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_the_contract(pki: Pki, tmp_path: Path) -> None:
    code, found = verify(pki, tmp_path, "a.pdf", sign_pdf(plain_pdf(), pki["jan"]))
    assert code == 0
    assert found.pop("signed_at") is not None
    assert found == {
        "valid": True,
        "format": "pades",
        "level": "qualified",
        "signatory": {
            "given_names": "Jan", "family_name": "Wymyślony", "pesel_masked": "*********" + JAN_PESEL[-2:], "birth_year": 2244,
        },
        "coverage": "whole",
        "problems": [],
    }  # fmt: skip


def test_podpis_zaufany(pki: Pki, tmp_path: Path) -> None:
    code, found = verify(
        pki, tmp_path, "a.pdf", podpis_zaufany_pdf(plain_pdf(), pki["seal"], "JAN WYMYŚLONY", JAN_PESEL)
    )
    assert (code, found["valid"], found["level"]) == (0, True, "podpis_zaufany")


def test_reasons_and_exit_codes(pki: Pki, tmp_path: Path) -> None:
    code, found = verify(pki, tmp_path, "a.xml", enveloped(pki["jan_revoked"]))
    assert (code, found["valid"], [p["code"] for p in found["problems"]]) == (1, False, ["revoked"])
    code, found = verify(pki, tmp_path, "b.txt", b"nothing")
    assert code == 1
    assert found["format"] == "none"
    assert found["level"] is None
    assert found["signatory"] is None
    code, found = verify(pki, tmp_path, "c.xml", enveloped(pki["jan"]), "--at", "2019-01-01T00:00:00Z")
    assert [p["code"] for p in found["problems"]] == ["not_yet_valid"]


def test_a_detached_signature_finds_its_file(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "wniosek.txt").write_bytes(b"wniosek")
    (tmp_path / "wniosek.p7m").write_bytes(b"another signature")
    for name, document in (
        ("wniosek.p7s", sign_cms(b"wniosek", pki["jan"])),
        ("wniosek.txt.p7s", sign_cms(b"wniosek", pki["jan"])),
        ("podpis.xml", detached(pki["jan"], {"wniosek.txt": b"wniosek"})),
    ):
        code, _ = verify(pki, tmp_path, name, document)
        assert code == 0, name
        (tmp_path / name).unlink()
    code, found = verify(pki, tmp_path, "inny.p7s", sign_cms(b"wniosek", pki["jan"]))
    assert [p["code"] for p in found["problems"]] == ["content_missing"]
    code, _ = verify(pki, tmp_path, "inny.p7s", sign_cms(b"wniosek", pki["jan"]), "--content", tmp_path / "wniosek.txt")
    assert code == 0


def test_of_several_files_beside_it_the_digest_tells(pki: Pki, tmp_path: Path) -> None:
    for name in ("wniosek.txt", "wniosek.pdf", "wniosek.odt"):
        (tmp_path / name).write_bytes(name.encode())
    code, _ = verify(pki, tmp_path, "wniosek.p7s", sign_cms(b"wniosek.pdf", pki["jan"]))
    assert code == 0
    code, found = verify(pki, tmp_path, "wniosek.p7s", sign_cms(b"wniosek.doc", pki["jan"]))
    assert (code, [p["code"] for p in found["problems"]]) == (1, ["content_missing"])


def test_a_trusted_list(pki: Pki, tmp_path: Path) -> None:
    path = tmp_path / "list.xml"
    path.write_bytes(trusted_list(pki["list_signer"], [pki["other_ca"]]))
    code, found = verify(pki, tmp_path, "a.xml", enveloped(pki["jan"]), "--trusted-list", path)
    assert (code, found["level"]) == (1, "advanced")


def test_bad_use(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"<a/>")
    (tmp_path / "no.pem").write_bytes(b"x")
    assert run("verify", tmp_path / "a.xml", "--trust", tmp_path / "no.pem", home=tmp_path).returncode == 2
    for arguments in (["nowhere.pdf"], [tmp_path / "a.xml", "--at", "x"], [tmp_path / "a.xml", "--pin-seal", "x"], []):
        assert run("verify", *arguments, home=tmp_path).returncode == 2


def test_what_people_see_holds_no_number(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(podpis_zaufany_pdf(plain_pdf(), pki["seal"], "JAN WYMYŚLONY", JAN_PESEL))
    done = run("verify", tmp_path / "a.pdf", *options(pki), home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("valid\n")
    assert JAN_PESEL not in done.stdout + done.stderr


def test_trust_status_and_update(pki: Pki, tmp_path: Path) -> None:
    crls, path = tmp_path / "crl", tmp_path / "list.xml"
    environ = pki.environ(
        crl_dir=str(crls), trusted_list=str(path), trusted_list_signers=f'["{pki.folder / "list_signer.pem"}"]'
    )
    (tmp_path / "new.xml").write_bytes(trusted_list(pki["list_signer"], [pki["ca"]]))
    (tmp_path / "ca.crl").write_bytes(crl(pki["ca"]))
    arguments = [
        "--trusted-list",
        tmp_path / "new.xml",
        "--crl",
        tmp_path / "ca.crl",
        "--crl",
        pki.folder / "crl" / "root.crl",
    ]
    done = run("trust", "update", *arguments, home=tmp_path, environ=environ)
    assert (done.returncode, done.stderr) == (0, "")
    done = run("trust", "status", "--json", home=tmp_path, environ=environ)
    assert done.returncode == 0, done.stdout
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert sorted(kinds) == ["anchor", "crl", "crl", "intermediate", "trusted_list"]
    (tmp_path / "evil.crl").write_bytes(crl(pki["evil_ca"], next_update=NOW.replace(year=NOW.year + 1)))
    before = {p.name: p.read_bytes() for p in crls.iterdir()}
    done = run("trust", "update", "--crl", tmp_path / "evil.crl", home=tmp_path, environ=environ)
    assert done.returncode == 1
    assert "not signed by" in done.stderr
    assert before == {p.name: p.read_bytes() for p in crls.iterdir()}
    assert run("trust", "status", home=tmp_path).returncode == 1
