"""A throw-away Request Tracker 5 of Debian's packages: the bundled PostgreSQL, a folder, a free port; gone at the end.

RT's side is set up by the script that docs/csd-rt.md gives to administrators, so that the tests show that it is enough.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from rigs import peers
from rigs.postgres import Postgres, running_postgres

INSTALL = (
    "apt-get install -y --no-install-recommends request-tracker5 rt5-db-postgresql rt5-standalone rt5-clients starman "
    "dbconfig-no-thanks msmtp-mta"
)
SERVER = Path("/usr/share/request-tracker5/libexec/rt-server")
SETUP = Path(__file__).parents[2] / "docs" / "csd-rt-setup.pl"
SEED = Path(__file__).with_name("rt5_seed.pl")
MAPPING = Path(__file__).with_name("rtmapping.toml")
QUEUES = ("Helpdesk", "Konta")

_CONFIG = """
use utf8;
Set($DatabaseType, 'Pg'); Set($DatabaseHost, '{socket}'); Set($DatabaseName, 'rt5');
Set($DatabaseUser, 'rt_user'); Set($DatabasePassword, 'unused');
Set($rtname, 'okienko'); Set($Organization, 'okienko.invalid');
Set($WebDomain, '127.0.0.1'); Set($WebPort, {port}); Set($WebPath, '');
Set($CorrespondAddress, 'rt@okienko.invalid'); Set($CommentAddress, 'rt-comment@okienko.invalid');
Set($OwnerEmail, 'root@okienko.invalid');
Set($Timezone, 'Europe/Warsaw');
Set($BcryptCost, {cost});
Set($MailCommand, 'mbox');
Set($LogToSyslog, undef); Set($LogToSTDERR, 'warning');
Set($OkienkoWebhookURL, '{webhook}'); Set($OkienkoWebhookSecret, '{secret}');
$RT::MasonDataDir = '{folder}/mason'; $RT::MasonSessionDir = '{folder}/session'; $RT::VarPath = '{folder}';
1;
"""


@dataclass
class Rt5:
    """A running RT. `token` is the connector's, `root` may do everything; `mapping` is a file that fits."""

    folder: Path
    port: int
    webhook_port: int
    webhook_secret: str
    workers: int
    postgres: Postgres
    tokens: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The base address of RT, without /REST/2.0."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token of the user that the connector is."""
        return self.tokens["okienko"]

    @property
    def environ(self) -> dict[str, str]:
        """What RT's programs need to find this instance and no other."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OKIENKO_", "PG"))}
        place = {"RT_SITE_CONFIG": f"{self.folder}/RT_SiteConfig.pm", "RT_SITE_CONFIG_DIR": f"{self.folder}/none.d"}
        return kept | place | {"HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def as_user(self, name: str) -> dict[str, str]:
        """The header with which somebody asks: `root`, `okienko`, `zofia` (a clerk), `poor` (may do nothing)."""
        return {"Authorization": f"token {self.tokens[name]}"}

    def start(self) -> None:
        """Start it, again after `stop` or `kill`, and wait until it answers."""
        # rt-server asks for a free port only at its own start: the workers are Starman's.
        command = [str(SERVER), "--server", "Starman", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "web.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--workers", str(self.workers)], env=self.environ, cwd="/", stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **_as_user(),
            )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(httpx.HTTPError):
                httpx.get(f"{self.url}/REST/2.0/rt", headers=self.as_user("root"), timeout=10).raise_for_status()
                return
            time.sleep(0.05)
        pytest.fail(f"RT did not start: {(self.folder / 'web.log').read_text(errors='replace')[-3000:]}")

    def stop(self, *, kill: bool = False) -> None:
        """Stop it, with `kill` as a crash would; what it stored stays."""
        process, self.process = self.process, None
        if process is None:
            return
        # A session of its own: all workers, and nothing else.
        os.killpg(process.pid, 9 if kill else 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()

    def sql(self, statement: str) -> str:
        """What RT's database answers."""
        return self.postgres.sql(statement, "rt5")

    def perl(self, *arguments: str | Path) -> str:
        """The output of one of RT's own programs."""
        done = subprocess.run(
            [*map(str, arguments)], env=self.environ, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, **_as_user(),
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def mails(self) -> list[str]:
        """The mails that RT sent, whole."""
        boxes = [path.read_text(errors="replace") for path in sorted(self.folder.glob("*.mbox"))]
        return [
            mail for box in boxes for mail in re.split(r"^From \S+@localhost  .*$", box, flags=re.MULTILINE) if mail
        ]


def _as_user() -> dict[str, int | list[int]]:
    """Root runs it as nobody, like PostgreSQL."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def rt5(*, workers: int = 4, bcrypt_cost: int = 4) -> Iterator[Rt5]:
    """Start an RT with the queues of QUEUES. `bcrypt_cost`: RT's own is 12, and each request pays it for its token."""
    setup = peers.program("rt-setup-database-5", INSTALL)
    peers.program("starman", INSTALL)
    if not SERVER.exists():
        peers.missing("rt5-standalone", INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="okienko-rt-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    try:
        with running_postgres() as postgres:
            server = Rt5(folder, *ports, secrets.token_hex(24), workers, postgres)
            try:
                _install(server, setup, bcrypt_cost)
                server.start()
                yield server
            finally:
                server.stop(kill=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(server: Rt5, setup: str, cost: int) -> None:
    folder = server.folder
    for name in ("none.d", "mason", "session", "out"):
        (folder / name).mkdir()
    (folder / "RT_SiteConfig.pm").write_text(
        _CONFIG.replace("{socket}", str(server.postgres.socket))
        .replace("{port}", str(server.port))
        .replace("{cost}", str(cost))
        .replace("{webhook}", f"http://127.0.0.1:{server.webhook_port}/csd/rt/webhook")
        .replace("{secret}", server.webhook_secret)
        .replace("{folder}", str(folder))
    )
    (folder / "root.pw").write_text(secrets.token_hex(16))
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        for path in [folder, *folder.iterdir()]:
            os.chown(path, user.pw_uid, user.pw_gid)
    server.perl(
        setup,
        "--action",
        "init",
        "--dba",
        "tester",
        "--dba-password",
        "unused",
        "--root-password-file",
        folder / "root.pw",
    )

    server.perl("perl", _readable(SEED, folder), folder, *QUEUES)
    queues = [word for queue in QUEUES for word in ("--queue", queue)]
    out = folder / "out"
    server.perl(
        "perl", _readable(SETUP, folder), *queues, "--field", "Kanal", "--field", "Numer okienka", "--webhook",
        "--token-file", out / "okienko",
    )  # fmt: skip
    server.tokens = {path.name: path.read_text() for path in out.iterdir()}


def _readable(script: Path, folder: Path) -> Path:
    """A copy where the user that RT runs as can read it."""
    return Path(shutil.copy(script, folder / script.name))
