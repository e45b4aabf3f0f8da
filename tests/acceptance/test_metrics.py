"""Prometheus' own tool reads /metrics."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from acceptance.service import installation

HOW = "promtool is missing: apt-get install prometheus"


@pytest.mark.needs_promtool
def test_promtool_accepts_the_metrics() -> None:
    if shutil.which("promtool") is None:
        if os.environ.get("OKIENKO_TEST_REQUIRE_PEERS") == "1":
            pytest.fail(HOW)
        pytest.skip(HOW)
    with installation() as place:
        place.run("demo", "--once")
        with place.serving():
            place.until(lambda: place.metric("okienko_mail_balance") == 0)
            status, text = place.get("/metrics")
    assert status == 200
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
