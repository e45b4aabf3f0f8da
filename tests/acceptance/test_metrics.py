"""Prometheus' own tool reads /metrics."""

from __future__ import annotations

import subprocess

import pytest

from acceptance.service import installation
from rigs import peers


@pytest.mark.needs_promtool
def test_promtool_accepts_the_metrics() -> None:
    promtool = peers.program("promtool", "apt-get install prometheus")
    with installation() as place:
        place.run("demo", "--once")
        with place.serving():
            place.until(lambda: place.metric("okienko_mail_balance") == 0)
            status, text = place.get("/metrics")
    assert status == 200
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
