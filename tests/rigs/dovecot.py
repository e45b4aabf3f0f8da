"""A throw-away Dovecot: a folder, free ports, one user; gone at the end. Runs as root (mail as nobody) or as any user."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from imaplib import IMAP4
from pathlib import Path

import pytest

from rigs.certificates import certificates
from rigs.peers import program

USER, PASSWORD = "okienko", "secret"
INSTALL = "apt-get install -y --no-install-recommends dovecot-imapd dovecot-lmtpd"
_CONF = """
base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/dovecot.log
protocols = imap
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
ssl = yes
ssl_cert = <{d}/server.pem
ssl_key = <{d}/server.key
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {d}/passwd
}}
userdb {{
  driver = passwd-file
  args = {d}/passwd
}}
mail_location = maildir:~/Maildir
namespace inbox {{
  inbox = yes
}}
mail_max_userip_connections = 100
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {imaps}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
protocol imap {{
  imap_capability = {capability}
}}
"""


@dataclass(frozen=True)
class Dovecot:
    """A running server. `imap` is the plain port (STARTTLS offered), `imaps` the one with TLS, `ca` trusts it."""

    imap: int
    imaps: int
    ca: Path
    folder: Path

    def client(self) -> IMAP4:
        """A logged-in connection of the standard library, so that checks do not lean on what is checked."""
        client = IMAP4("127.0.0.1", self.imap, timeout=10)
        client.login(USER, PASSWORD)
        return client

    def append(self, mail: bytes, folder: str = "INBOX") -> None:
        """Put a mail into a folder."""
        with self.client() as client:
            assert client.append(folder, "", "", mail)[0] == "OK"

    def count(self, folder: str) -> int:
        """How many mails lie in a folder; 0 when there is none of that name."""
        with self.client() as client:
            status, data = client.select(folder, readonly=True)
            return int(data[0] or b"0") if status == "OK" else 0


def binary() -> str:
    """The program, or a visible skip; with OKIENKO_TEST_REQUIRE_PEERS=1 its absence is a failure."""
    return program("dovecot", INSTALL)


@contextmanager
def dovecot(capability: str = "") -> Iterator[Dovecot]:
    """Start a server; `capability` replaces what it announces ("" leaves it)."""
    program = binary()
    # Short, because sockets' paths are limited, and readable for Dovecot's own users.
    folder = Path(tempfile.mkdtemp(prefix="okienko-imap-", dir="/tmp"))
    folder.chmod(0o755)
    process: subprocess.Popen[bytes] | None = None
    try:
        imap, imaps = _free_ports()
        server = Dovecot(imap, imaps, folder / "ca.pem", folder)
        _prepare(server, capability)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [program, "-F", "-c", str(folder / "dovecot.conf")], stdout=output, stderr=subprocess.STDOUT
            )
        _wait_for_login(server, process)
        yield server
    finally:
        if process is not None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


def _prepare(server: Dovecot, capability: str) -> None:
    d = server.folder
    root = os.geteuid() == 0
    me = pwd.getpwuid(os.geteuid())
    mail = pwd.getpwnam("nobody") if root else me
    for name in ("run", "state", "mail"):
        (d / name).mkdir()
    if root:
        os.chown(d / "mail", mail.pw_uid, mail.pw_gid)
    (d / "passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}:{mail.pw_uid}:{mail.pw_gid}::{d}/mail/{USER}::\n")
    certificates(d)
    text = _CONF.format(
        d=d, imap=server.imap, imaps=server.imaps, capability=capability,
        internal="dovecot" if root else me.pw_name, login="dovenull" if root else me.pw_name,
        internal_group="dovecot" if root else grp.getgrgid(me.pw_gid).gr_name,
    )  # fmt: skip
    if not capability:
        text = text.replace("  imap_capability = \n", "")
    (d / "dovecot.conf").write_text(text)


def _wait_for_login(server: Dovecot, process: subprocess.Popen[bytes]) -> None:
    """An open port is not enough: authentication comes up later."""
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, IMAP4.error), server.client():
            return
        time.sleep(0.05)
    logs = [
        file.read_text(errors="replace") for file in server.folder.glob("*") if file.name in ("dovecot.log", "output")
    ]
    pytest.fail("Dovecot did not start: " + "\n".join(logs))
