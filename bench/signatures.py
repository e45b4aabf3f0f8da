"""Times of checking one signed document, by kind; and what the worker processes cost.

usage: python -m bench.signatures [ROUNDS]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from okienko.core.verifying import Verifying
from okienko.plugins.settings import load_settings
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.verifier import DocumentVerifier
from signing.cms import plain_pdf, podpis_zaufany_pdf, sign_cms, sign_pdf
from signing.pki import JAN_PESEL, Pki, make_pki
from signing.xml import asic_cades, asic_xades, enveloped, enveloping, podpis_zp


def documents(pki: Pki) -> dict[str, bytes]:
    """Each kind once, small, and the large ones that people send."""
    jan, seal = pki["jan_rsa"], pki["seal"]
    small, large = {"wniosek.txt": b"Wniosek " * 100}, os.urandom(5_000_000)
    return {
        "PAdES, qualified": sign_pdf(plain_pdf(), jan),
        "PAdES, podpis zaufany": podpis_zaufany_pdf(plain_pdf(), seal, "JAN WYMYŚLONY", JAN_PESEL),
        "PAdES, 10 MB": sign_pdf(plain_pdf() + b"%" + b"x" * 10_000_000 + b"\n" + plain_pdf()[-30:], jan),
        "XAdES, qualified": enveloped(jan),
        "XAdES, podpis zaufany": enveloped(seal, role=podpis_zp("Jan", "Wymyślony", JAN_PESEL), null=False),
        "XAdES around a file of 5 MB": enveloping(jan, large),
        "CAdES": sign_cms(b"Wniosek " * 100, jan, attached=True),
        "CAdES, 5 MB": sign_cms(large, jan, attached=True),
        "ASiC-E, XAdES": asic_xades(jan, small),
        "ASiC-E, CAdES": asic_cades(jan, small),
    }


def timed(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and worst of the rounds, in milliseconds."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times), max(times)


async def through_worker(pki: Pki, document: bytes, rounds: int) -> None:
    """The first document starts a process; later ones go through its pipe."""
    with tempfile.TemporaryDirectory() as home:
        verifying = Verifying(pki.environ(), Path(home))
        start = time.perf_counter()
        checked = await verifying.verify(document, "a.pdf", datetime.now(UTC))
        assert checked.verification.report.valid
        first = time.perf_counter() - start
        start = time.perf_counter()
        for _ in range(rounds):
            await verifying.verify(document, "a.pdf", datetime.now(UTC))
        later = (time.perf_counter() - start) / rounds * 1000
        pid = verifying._idle[0].process.pid  # noqa: SLF001  its memory is what is measured
        memory = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))  # noqa: ASYNC240
        await verifying.close()
    print(
        f"through a worker: first {first:.2f} s (its start), then {later:.1f} ms each; worker {int(memory.split()[1]) >> 10} MB"
    )


def main() -> None:
    """All kinds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as folder:
        pki = make_pki(Path(folder))
        verifier = DocumentVerifier(load_settings(SignatureSettings, pki.environ()))
        made = documents(pki)
        for name, document in made.items():
            assert verifier.verify(document, "a", at=datetime.now(UTC)).report.valid, name
            middle, worst = timed(lambda d=document: verifier.verify(d, "a", at=datetime.now(UTC)), rounds)  # type: ignore[misc]
            print(f"{name:30} {len(document):>9,} B  median {middle:6.1f} ms  worst {worst:6.1f} ms")
        asyncio.run(through_worker(pki, made["PAdES, qualified"], rounds))


if __name__ == "__main__":
    main()
