"""The worker processes: what goes over the pipe, and what happens to a worker that hangs, crashes or eats memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from okienko.core.cli import check
from okienko.core.trustwatch import publish, watch_trust
from okienko.core.verifying import Verifying
from okienko.metrics.catalogue import REGISTRY
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.ports import Severity
from okienko.plugins.signatures import (
    Application,
    Signatory,
    SignatureFormat,
    SignatureLevel,
    SignatureProblem,
    SignatureReport,
    SignedFile,
    Verification,
)
from okienko.schemas.pesel import Pesel
from signing.cms import plain_pdf, podpis_zaufany_pdf, sign_pdf
from signing.pki import JAN_PESEL, NOW, Pki, make_pki
from signing.xml import asic_xades

Make = Callable[..., Verifying]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(Path(tmp_path_factory.mktemp("pki")))


@pytest.fixture
async def make(pki: Pki, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Verifying] = []

    def build(changes: dict[str, str] | None = None, **options: object) -> Verifying:
        made.append(Verifying(pki.environ(**(changes or {})), tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for verifying in made:
        await verifying.close()


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_document_and_its_application(pki: Pki, make: Make) -> None:
    verifying = make()
    files = {"wniosek.txt": "Imię: Jan\nNazwisko: Wymyślony\nNowy login: jan@poczta.invalid".encode()}
    checked = await verifying.verify(asic_xades(pki["jan"], files), "a.asice", now())
    assert checked.verification.report.valid
    assert checked.verification.report.signatory is not None
    assert checked.verification.report.signatory.pesel is not None
    assert checked.verification.report.signatory.pesel.reveal() == JAN_PESEL
    assert [(f.name, f.content) for f in checked.verification.signed] == list(files.items())
    assert (checked.application.given_name, checked.application.new_login) == ("Jan", "jan@poczta.invalid")


async def test_one_worker_is_used_again_and_ends_with_us(pki: Pki, make: Make) -> None:
    verifying = make()
    document = sign_pdf(plain_pdf(), pki["jan"])
    results = await asyncio.gather(*(verifying.verify(document, "a.pdf", now()) for _ in range(5)))
    assert all(r.verification.report.valid for r in results)
    (worker,) = verifying._idle
    await verifying.close()
    assert worker.process.returncode is not None


async def test_no_process_before_the_first_document(make: Make) -> None:
    assert make()._idle == []


async def test_a_hanging_worker_is_killed_and_replaced(pki: Pki, make: Make) -> None:
    verifying = make(time_limit=2.0)
    document = sign_pdf(plain_pdf(), pki["jan"])
    first = await verifying.verify(document, "a.pdf", now())
    assert first.verification.report.valid
    (worker,) = verifying._idle
    os.kill(worker.process.pid, 19)  # SIGSTOP: it neither answers nor ends
    stuck = await verifying.verify(document, "a.pdf", now())
    assert [p.code for p in stuck.verification.report.problems] == ["timed_out"]
    assert worker.process.returncode is not None
    verifying.time_limit = 20.0
    assert (await verifying.verify(document, "a.pdf", now())).verification.report.valid


async def test_a_dying_worker_is_replaced(pki: Pki, make: Make) -> None:
    verifying = make()
    document = sign_pdf(plain_pdf(), pki["jan"])
    await verifying.verify(document, "a.pdf", now())
    verifying._idle[0].process.kill()
    dead = await verifying.verify(document, "a.pdf", now())
    assert [p.code for p in dead.verification.report.problems] == ["crashed"]
    assert (await verifying.verify(document, "a.pdf", now())).verification.report.valid


async def test_memory_has_a_limit(pki: Pki, make: Make) -> None:
    """400 MB of zeros, allowed by size and refused by memory: a report, not an exception."""
    verifying = make({"max_unpacked": "900000000"}, memory_limit=500 << 20)
    bomb = asic_xades(pki["jan"], {"zera": b"\0" * (200 << 20), "zera2": b"\0" * (200 << 20)})
    checked = await verifying.verify(bomb, "a.asice", now())
    assert checked.verification.report.problems[0].code in ("too_complex", "crashed")
    assert (await verifying.verify(sign_pdf(plain_pdf(), pki["jan"]), "a.pdf", now())).verification.report.valid


async def test_a_cancelled_question_leaves_no_answer_behind(pki: Pki, make: Make) -> None:
    verifying = make()
    good, bad = sign_pdf(plain_pdf(), pki["jan"]), sign_pdf(plain_pdf(), pki["jan_revoked"])
    await verifying.verify(good, "a.pdf", now())
    task = asyncio.create_task(verifying.verify(good, "a.pdf", now()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not (await verifying.verify(bad, "b.pdf", now())).verification.report.valid


async def test_wrong_settings_are_said(make: Make) -> None:
    with pytest.raises(MisconfiguredError, match=r"nowhere\.pem"):
        await make({"anchors": '["/nowhere.pem"]'}).verify(b"%PDF-", "a.pdf", now())
    with pytest.raises(MisconfiguredError, match="64 hexadecimal"):
        await make({"pinned_seals": '["x"]'}).verify(b"%PDF-", "a.pdf", now())


async def test_the_worker_gets_only_its_own_variables(pki: Pki, tmp_path: Path) -> None:
    environ = pki.environ() | {"OKIENKO_DATABASE_URL": "postgresql://secret", "OKIENKO_EMAIL_IMAP_PASSWORD": "secret"}
    verifying = Verifying(environ, tmp_path)
    await verifying.verify(b"", "a", now())
    inside = Path(f"/proc/{verifying._idle[0].process.pid}/environ").read_bytes()  # noqa: ASYNC240  a file of the kernel
    await verifying.close()
    assert b"secret" not in inside
    assert b"OKIENKO" not in inside
    assert all(name.startswith("OKIENKO_SIGNATURE_") for name in verifying._own_environ())


async def test_nobodys_number_stands_in_what_is_shown(pki: Pki, make: Make) -> None:
    document = podpis_zaufany_pdf(plain_pdf(), pki["seal"], "JAN WYMYŚLONY", JAN_PESEL)
    checked = await make().verify(document, "a.pdf", now())
    report = checked.verification.report
    assert report.valid
    assert JAN_PESEL not in repr(checked.application) + repr(report) + report.model_dump_json()


async def test_ages_of_trust_files_are_metrics(make: Make) -> None:
    verifying = make()
    task = asyncio.create_task(watch_trust(verifying))
    async with asyncio.timeout(60):
        while REGISTRY.get_sample_value("okienko_trust_next_update_timestamp_seconds", {"kind": "crl"}) is None:  # noqa: ASYNC110  a gauge gives no event
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    issued = REGISTRY.get_sample_value("okienko_trust_issued_timestamp_seconds", {"kind": "crl"})
    assert issued is not None
    assert issued < NOW.timestamp() - 30 * 86400
    assert REGISTRY.get_sample_value("okienko_trust_files_wrong", {"kind": "crl"}) == 1
    assert verifying._idle == []


async def test_check_names_what_is_wrong_with_trust(make: Make, tmp_path: Path) -> None:
    """What `okienko check` says about the trust files."""
    assert [f.severity for f in await check._trust(Verifying({}, tmp_path))] == [Severity.WARNING]
    found = await check._trust(make())
    assert [(f.severity, f.subject) for f in found] == [(Severity.ERROR, "signatures crl")]
    assert "Ze Starą CRL" in found[0].message
    assert [f.severity for f in await check._trust(make({"anchors": '["/nowhere.pem"]'}))] == [Severity.ERROR]


def test_what_crosses_the_border_comes_back_whole() -> None:
    """And it crosses as text: nothing of a worker's making is unpickled here."""
    who = Signatory(given_names="Jan", family_name="Wymyślony", pesel=Pesel(JAN_PESEL), birth_year=2244)
    report = SignatureReport(
        valid=True, format=SignatureFormat.XADES, level=SignatureLevel.QUALIFIED, signatory=who, signed_at=NOW, coverage="whole",
        problems=(SignatureProblem(code="hybrid_pdf", text="x"),),
    )  # fmt: skip
    found = Verification(report, (SignedFile("plik", "application/xml", bytes(range(256))),))
    assert Verification.from_wire(json.loads(json.dumps(found.to_wire()))) == found
    said = Application(given_name="Jan", pesel=Pesel(JAN_PESEL))
    assert Application.from_wire(json.loads(json.dumps(said.to_wire()))) == said
    for broken in ({}, {"report": {}}, {"report": found.to_wire()["report"], "signed": [{"name": 1}]}):
        with pytest.raises((ValueError, KeyError, TypeError)):
            Verification.from_wire(broken)


def test_a_list_that_is_refused_counts_as_wrong() -> None:
    publish([{"kind": "trusted_list", "state": "refused", "name": "x", "issued": None, "until": None}])
    assert REGISTRY.get_sample_value("okienko_trust_files_wrong", {"kind": "trusted_list"}) == 1


def test_the_service_does_not_load_the_libraries(pki: Pki, tmp_path: Path) -> None:
    """A service that checks no document pays nothing for PDF, XML or ASN.1; cryptography it has for its vault."""
    code = """
import os, sys
from pathlib import Path
from okienko.core.cli import app
from okienko.core.service import find_verifying
from okienko.core.settings import load_core_settings
from okienko.plugins.context import PluginContext
from okienko.plugins.manager import Plugins
settings = load_core_settings(os.environ)
plugins = Plugins.load(PluginContext(home=settings.home, environ=os.environ))
assert [s.state for s in plugins.statuses if s.name == "signature"] == ["loaded"]
assert find_verifying(plugins, settings, os.environ).configured
heavy = {"pyhanko", "pyhanko_certvalidator", "lxml", "asn1crypto", "pypdf", "signxml", "aiohttp", "pypdfium2", "PIL"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    environ = {**os.environ, **pki.environ(), "OKIENKO_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
