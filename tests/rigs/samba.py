"""A throw-away Samba AD domain controller on a loopback address of its own; needs root for LDAP's ports."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rigs.certificates import certificates
from rigs.peers import missing, need_python_ldap, program

INSTALL = "apt-get install -y --no-install-recommends samba-ad-dc samba-ad-provision ldb-tools"
SUFFIX = "DC=puesc,DC=test"
PEOPLE = f"OU=Konta,{SUFFIX}"
ADMIN, ADMIN_PASSWORD = f"CN=Administrator,CN=Users,{SUFFIX}", "Okienko-Admin-2291!"
OPERATOR, OPERATOR_PASSWORD = "okienko@puesc.test", "Okienko-Operator-2291!"
READER, READER_PASSWORD = "reader@puesc.test", "Okienko-Reader-2291!"
WIDE, WIDE_PASSWORD = "wide@puesc.test", "Okienko-Wide-2291!"
MAX_FAILURES = 3

USERS = "bf967aba-0de6-11d0-a285-00aa003049e2"
RESET_PASSWORD = "00299570-246d-11d0-a768-00aa006e0529"
WRITABLE = {
    "lockoutTime": "28630ebf-41d5-11d1-a9c1-0000f80367c1",
    "mail": "bf967961-0de6-11d0-a285-00aa003049e2",
    "userPrincipalName": "28630ebb-41d5-11d1-a9c1-0000f80367c1",
    "employeeID": "bf967962-0de6-11d0-a285-00aa003049e2",
}
"""The least rights of docs/identity-ad.md; a test compares them."""
_PORTS = (88, 135, 389, 464, 636, 3268, 3269)


@dataclass
class Samba:
    """A running domain controller; `ca` trusts its certificate."""

    address: str
    folder: Path
    binary: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """With TLS."""
        return f"ldaps://{self.address}"

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self.folder / "tls" / "ca.pem"

    @property
    def config(self) -> Path:
        """smb.conf."""
        return self.folder / "etc" / "smb.conf"

    def tool(self, *arguments: str) -> str:
        """Run samba-tool on the database."""
        database = f"--URL={self.folder}/private/sam.ldb"
        return _run("samba-tool", *arguments, f"--configfile={self.config}", database)

    def start(self) -> None:
        """Start it and wait until it answers over TLS."""
        log = self.folder / "output"
        # One process group of its own, so that its children end with it.
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [self.binary, "--foreground", "--no-process-group", f"--configfile={self.config}"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError):
                for port in (389, 636):
                    socket.create_connection((self.address, port), timeout=1).close()
                return
            time.sleep(0.05)
        pytest.fail(f"Samba did not start: {log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """Stop it and its children."""
        process, self.process = self.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            end = time.monotonic() + 15
            # The children end after their parent, and write into the folder until then.
            while time.monotonic() < end:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


@contextmanager
def samba() -> Iterator[Samba]:
    """Provision a domain with accounts for okienko, and start it."""
    need_python_ldap()
    binary = program("samba", INSTALL)
    for name in ("samba-tool", "ldbmodify"):
        program(name, INSTALL)
    if os.geteuid() != 0:
        missing("a domain controller needs the ports below 1024: run this as root")
    folder = Path(tempfile.mkdtemp(prefix="okienko-ad-", dir="/tmp"))
    server = Samba(_free_address(), folder, binary)
    try:
        _provision(server)
        _accounts(server)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_address() -> str:
    """A loopback address on which none of a domain controller's ports is taken: they cannot be chosen."""
    for _ in range(50):
        address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 2}"
        with suppress(OSError), ExitStack() as stack:
            for port in _PORTS:
                stack.enter_context(socket.create_server((address, port)))
            return address
    return missing("no loopback address with free LDAP ports was found")


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
    assert done.returncode == 0, f"{command[:3]}: {done.stdout}{done.stderr}"
    return done.stdout


def _provision(server: Samba) -> None:
    # Without a file of ours provisioning reads the machine's own /etc/samba/smb.conf.
    empty = server.folder / "empty.conf"
    empty.write_text("[global]\n")
    (server.folder / "tls").mkdir()
    certificates(server.folder / "tls", names=f"DNS:dc1.puesc.test,IP:{server.address}")
    (server.folder / "tls" / "server.key").chmod(0o600)
    options = {
        "interfaces": f"{server.address}/8",
        "bind interfaces only": "yes",
        "server services": "ldap, kdc, rpc",
        "dcerpc endpoint servers": "samr lsarpc netlogon",
        "tls keyfile": f"{server.folder}/tls/server.key",
        "tls certfile": f"{server.folder}/tls/server.pem",
        "tls cafile": f"{server.folder}/tls/ca.pem",
        "pid directory": str(server.folder),
        "log level": "0",
    }
    _run(
        "samba-tool", "domain", "provision", f"--targetdir={server.folder}", f"--configfile={empty}",
        "--realm=PUESC.TEST", "--domain=PUESC", "--server-role=dc", "--dns-backend=NONE", "--host-name=dc1",
        f"--host-ip={server.address}", f"--adminpass={ADMIN_PASSWORD}", "--option=vfs objects=acl_xattr xattr_tdb",
        *(f"--option={name}={value}" for name, value in options.items()),
    )  # fmt: skip
    # The default lets an old password in for an hour after the change (docs/identity-ad.md). Given as an option, provisioning
    # drops it from the file that it writes.
    text = server.config.read_text()
    assert "[global]\n" in text
    server.config.write_text(text.replace("[global]\n", "[global]\n\told password allowed period = 0\n", 1))


def _accounts(server: Samba) -> None:
    policy = (
        "--account-lockout-duration=0",
        "--reset-account-lockout-after=0",
        "--min-pwd-age=0",
        "--history-length=3",
    )
    server.tool("domain", "passwordsettings", "set", f"--account-lockout-threshold={MAX_FAILURES}", *policy)
    server.tool("ou", "create", PEOPLE)
    for login, password in ((OPERATOR, OPERATOR_PASSWORD), (READER, READER_PASSWORD), (WIDE, WIDE_PASSWORD)):
        server.tool("user", "create", login.split("@")[0], password)
    for login, branch in ((OPERATOR, PEOPLE), (WIDE, PEOPLE), (WIDE, f"CN=Users,{SUFFIX}")):
        shown = server.tool("user", "show", login.split("@")[0], "--attributes=objectSid")
        sid = next(line.split()[1] for line in shown.splitlines() if line.startswith("objectSid:"))
        rights = [("CR", RESET_PASSWORD), *(("WP", guid) for guid in WRITABLE.values())]
        acl = "".join(f"(OA;CI;{right};{guid};{USERS};{sid})" for right, guid in rights)
        server.tool("dsacl", "set", "--action=allow", f"--objectdn={branch}", f"--sddl={acl}")
