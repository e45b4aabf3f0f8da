"""The CSD kit finds what it is there to find: each faulty backend fails the check that names its fault, and not everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from plugins.faulty_csds import FAULTY

TESTS = Path(__file__).resolve().parents[1]
SUITE = """
import pytest
from okienko.plugins.testing import FixedClock
from okienko.plugins.testing.conformance import CsdConformance
from plugins.csd_hands import Hands
from plugins.faulty_csds import FAULTY

class Suite(CsdConformance):
    @pytest.fixture
    def clock(self): return FixedClock()
    @pytest.fixture
    def backend(self, clock): return self.faulty(now=clock)
    @pytest.fixture
    def csd_workshop(self, backend, clock): return Hands(backend, clock)

for faulty in FAULTY:
    globals()[f"Test{faulty.__name__}"] = type(f"Test{faulty.__name__}", (Suite,), {"faulty": faulty})
"""


def test_each_planted_fault_is_found(tmp_path: Path) -> None:
    assert len(FAULTY) > 40
    (tmp_path / "test_faulty.py").write_text(SUITE, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = strict\n", encoding="utf-8")
    chosen = [f"test_faulty.py::Test{f.__name__}::{name}" for f in FAULTY for name in ("test_port", f.found_by)]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider", *chosen]
    environ = os.environ | {"PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=110, check=False)
    passed = set(re.findall(r"^PASSED test_faulty\.py::Test(\w+)::test_port", done.stdout, re.MULTILINE))
    assert passed == {f.__name__ for f in FAULTY}, f"a fault breaks everything:\n{done.stdout[-3000:]}"
    failed = set(re.findall(r"^FAILED test_faulty\.py::Test(\w+::[\w\[\]]+)", done.stdout, re.MULTILINE))
    assert [f.__name__ for f in FAULTY if f"{f.__name__}::{f.found_by}" not in failed] == []
    table = done.stdout.partition("CSD capabilities")[2]
    assert re.search(r"memory \(TestBelievesEveryWebhook\).*FAILED", table)
