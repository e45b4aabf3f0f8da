"""The real program under measurement: `okienko serve` as a process of its own, with a home folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

OKIENKO = Path(sys.executable).parent / "okienko"


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Program:
    """One home folder; processes come and go on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.web, self.lmtp = free_port(), free_port()
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("OKIENKO_")} | {
            "OKIENKO_HOME": str(home),
            "OKIENKO_WEB_LISTEN": f"127.0.0.1:{self.web}",
            "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{self.lmtp}",
            "OKIENKO_LOG_LEVEL": "WARNING",
        }

    @contextlib.contextmanager
    def serving(self, role: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
        """A ready process of that role, and the seconds from its start to ready."""
        started = time.perf_counter()
        process = subprocess.Popen([str(OKIENKO), "serve", "--role", role], env=self.environ)
        try:
            while not self._ready():
                assert process.poll() is None, "okienko ended before it was ready"
                time.sleep(0.01)
            yield process, time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(60)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, start: str) -> float:
        """The sum of all samples whose line starts so."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


@contextlib.contextmanager
def program() -> Iterator[Program]:
    """A fresh installation, thrown away at the end."""
    home = Path(tempfile.mkdtemp(prefix="okb-", dir="/tmp"))
    home.chmod(0o755)
    try:
        yield Program(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def memory(pid: int) -> float:
    """Resident memory of one process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no memory figure for process {pid}")
