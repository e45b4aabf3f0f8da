"""Each case becomes one ticket in a CSD that fails half of its requests while workers are killed: the small form of the big run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = int(os.environ.get("OKIENKO_TEST_ONCE_CASES", "120"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_case_becomes_one_ticket_whatever_fails() -> None:
    command = [sys.executable, "-m", "bench.exactly_once", "--cases", str(CASES), "--every", "3", "--seed", "3"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    counts = {what.strip(): int(n) for what, n in re.findall(r"^(\S.*?) {2,}(\d+)$", run.stdout, re.MULTILINE)}
    assert counts["tickets in the CSD"] == counts["answers with the CSD's number"] == CASES
    assert (counts["doubles"], counts["missing"], counts["wrong number or time"]) == (0, 0, 0)
    # Otherwise the run would prove nothing.
    assert counts["workers killed"] >= 3
    happened = {
        (path, what): int(n) for path, what, n in re.findall(r"^  /(\w+) (\D+?) +(\d+) ", run.stdout, re.MULTILINE)
    }
    assert {what for path, what in happened if path == "tickets"} >= {"ok", "silent", "busy", "broken"}
    assert happened["tickets", "silent"] >= CASES // 20
