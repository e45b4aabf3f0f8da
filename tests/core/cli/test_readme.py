"""The README's five minutes, run as they stand: only the environment, the ports and the first command's noise are ours."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from acceptance.service import OKIENKO, free_port, installation

README = Path(__file__).resolve().parents[3] / "README.md"


def test_the_five_minutes_are_true() -> None:
    part = README.read_text(encoding="utf-8").partition("## Five minutes")[2]
    script = re.search(r"```sh\n(.*?)```", part, re.DOTALL)[1]
    with installation() as place:
        for ours, theirs in (
            ("make run ", "okienko demo --once "),
            (". .venv/bin/activate", ""),
            ("localhost:8080", f"localhost:{place.web}"),
            ("127.0.0.1:2424", f"127.0.0.1:{free_port()}"),
            ("/tmp/pytanie.eml", str(place.home / "pytanie.eml")),  # noqa: S108  the README's, which we replace
        ):
            assert ours in script
            script = script.replace(ours, theirs)
        path = f"{OKIENKO.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{script}\nwait || true"], env=place.environ | {"PATH": path},
            capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("BAD", "Traceback"):
        assert said not in done.stdout + done.stderr
    for said in (
        "closed; mails sent",
        "recovery / emergency_password",
        '"outcome": "cased"',
        "okienko_mail_balance 0.0",
    ):
        assert said in done.stdout
