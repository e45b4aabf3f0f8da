"""Running the real program in tests: a home folder of its own, the bundled PostgreSQL, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from rigs.postgres import binaries

OKIENKO = Path(sys.executable).parent / "okienko"


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Installation:
    """One home folder and what is set for it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.web = free_port()
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("OKIENKO_")}
        self.environ |= {"OKIENKO_HOME": str(home), "OKIENKO_WEB_LISTEN": f"127.0.0.1:{self.web}", **settings}

    def run(self, *arguments: str, check: bool = True, seconds: float = 110) -> subprocess.CompletedProcess[str]:
        """Run `okienko` to its end."""
        return subprocess.run(
            [OKIENKO, *arguments], env=self.environ, check=check, capture_output=True, text=True, timeout=seconds
        )

    def json_lines(self, *arguments: str) -> list[dict]:
        """Run it and read its JSON lines."""
        return [json.loads(line) for line in self.run(*arguments).stdout.splitlines()]

    def get(self, path: str) -> tuple[int, str]:
        """An answer of the web shell."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start `okienko serve` and wait for nothing."""
        with (self.home / "serve.log").open("ab") as log:
            return subprocess.Popen([OKIENKO, "serve"], env=self.environ, stdout=log, stderr=log)

    def start(self) -> subprocess.Popen[bytes]:
        """Start `okienko serve` and wait until it is ready."""
        return self.ready(self.spawn())

    def ready(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Wait until the service answers that it is ready."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise AssertionError((self.home / "serve.log").read_text()[-3000:])
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    if lmtp := self.environ.get("OKIENKO_EMAIL_LMTP_LISTEN"):
                        # The web shell may answer a moment before the listener does.
                        host, _, port = lmtp.rpartition(":")
                        socket.create_connection((host, int(port)), timeout=5).close()
                    return process
            time.sleep(0.02)
        raise AssertionError("okienko did not become ready in 60 s")

    @contextlib.contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """A service while the block runs."""
        process = self.start()
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError("it did not become true in time")
            time.sleep(0.05)

    def sql(self, statement: str) -> str:
        """What the bundled PostgreSQL answers, unaligned; it must run, which it does after a kill -9 of okienko too."""
        return subprocess.run(
            [binaries() / "psql", "-h", self.home / "postgres", "-U", "okienko", "-d", "okienko", "-qtAX", "-c", statement],
            check=True, capture_output=True, text=True, timeout=30,
        ).stdout.strip()  # fmt: skip

    def log(self) -> str:
        """What the service wrote to stderr so far."""
        return (self.home / "serve.log").read_text()

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")


@contextlib.contextmanager
def installation(**settings: str) -> Iterator[Installation]:
    """A fresh home folder, short enough for a Unix socket and open to the system user of the bundled PostgreSQL."""
    home = Path(tempfile.mkdtemp(prefix="okt-", dir="/tmp"))
    home.chmod(0o755)
    place = Installation(home, **settings)
    try:
        yield place
    finally:
        # A kill -9 leaves the database running; the next command takes it up and stops it at its end.
        place.run("db", "status", check=False)
        shutil.rmtree(home, ignore_errors=True)
