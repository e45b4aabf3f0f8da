"""A throw-away OpenLDAP with password policy: a folder, free ports, an operator with the least rights; gone at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rigs.certificates import certificates
from rigs.peers import need_python_ldap, program

INSTALL = "apt-get install -y --no-install-recommends slapd ldap-utils"
SUFFIX = "dc=puesc,dc=test"
PEOPLE = f"ou=people,{SUFFIX}"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{SUFFIX}", "okienko-admin-pw"
OPERATOR, OPERATOR_PASSWORD = f"cn=okienko,ou=services,{SUFFIX}", "okienko-operator-pw"
READER, READER_PASSWORD = f"cn=reader,ou=services,{SUFFIX}", "okienko-reader-pw"
MAX_FAILURES = 3

_CONFIG = """
dn: cn=config
objectClass: olcGlobal
cn: config
olcTLSCertificateFile: {d}/server.pem
olcTLSCertificateKeyFile: {d}/server.key
olcPidFile: {d}/slapd.pid
olcLogLevel: none

dn: cn=module{{0}},cn=config
objectClass: olcModuleList
cn: module{{0}}
olcModulePath: {modules}
olcModuleLoad: back_mdb.la
{overlay_modules}

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif

dn: cn=puesc,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: puesc
olcAttributeTypes: ( 1.3.6.1.4.1.55555.1.1 NAME 'pesel' DESC 'PESEL' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15{{11}} SINGLE-VALUE )
olcObjectClasses: ( 1.3.6.1.4.1.55555.2.1 NAME 'puescAccount' SUP top AUXILIARY MAY ( pesel ) )

dn: olcDatabase={{-1}}frontend,cn=config
objectClass: olcDatabaseConfig
objectClass: olcFrontendConfig
olcDatabase: {{-1}}frontend
olcPasswordHash: {{SSHA}}

dn: olcDatabase={{1}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{1}}mdb
olcDbDirectory: {d}/db
olcDbMaxSize: 104857600
olcDbNoSync: TRUE
olcSuffix: dc=puesc,dc=test
olcRootDN: cn=admin,dc=puesc,dc=test
olcRootPW: {admin_password}
olcDbIndex: objectClass,mail,pesel,entryUUID eq
{access}
{overlays}
"""
ACCESS = """
olcAccess: {0}to attrs=userPassword
  by self =xw
  by dn.exact="cn=okienko,ou=services,dc=puesc,dc=test" =w
  by anonymous auth
  by * none
olcAccess: {1}to attrs=mail,pwdReset,pwdAccountLockedTime
  by dn.exact="cn=okienko,ou=services,dc=puesc,dc=test" write
  by dn.exact="cn=reader,ou=services,dc=puesc,dc=test" read
  by self read
  by * none
olcAccess: {2}to attrs=pesel
  by dn.exact="cn=okienko,ou=services,dc=puesc,dc=test" =zrscd
  by dn.exact="cn=reader,ou=services,dc=puesc,dc=test" read
  by self read
  by * none
olcAccess: {3}to *
  by dn.exact="cn=okienko,ou=services,dc=puesc,dc=test" read
  by dn.exact="cn=reader,ou=services,dc=puesc,dc=test" read
  by self read
  by * none
"""
"""The least rights of docs/identity-ldap.md; a test compares them."""
_POLICY_MODULES = "olcModuleLoad: ppolicy.la\nolcModuleLoad: unique.la"
_OVERLAYS = """
dn: olcOverlay={{0}}ppolicy,olcDatabase={{1}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcPPolicyConfig
olcOverlay: {{0}}ppolicy
olcPPolicyDefault: cn=default,ou=policies,dc=puesc,dc=test
olcPPolicyHashCleartext: TRUE
olcPPolicyUseLockout: TRUE
{unique}
"""
_UNIQUE = """
dn: olcOverlay={1}unique,olcDatabase={1}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcUniqueConfig
olcOverlay: {1}unique
olcUniqueURI: ldap:///ou=people,dc=puesc,dc=test?mail?sub
"""
_DATA = """
dn: dc=puesc,dc=test
objectClass: dcObject
objectClass: organization
o: PUESC test
dc: puesc

dn: ou=people,dc=puesc,dc=test
objectClass: organizationalUnit
ou: people

dn: ou=services,dc=puesc,dc=test
objectClass: organizationalUnit
ou: services

dn: ou=policies,dc=puesc,dc=test
objectClass: organizationalUnit
ou: policies

dn: cn=okienko,ou=services,dc=puesc,dc=test
objectClass: simpleSecurityObject
objectClass: organizationalRole
cn: okienko
userPassword: {operator}
{exempt}

dn: cn=reader,ou=services,dc=puesc,dc=test
objectClass: simpleSecurityObject
objectClass: organizationalRole
cn: reader
userPassword: {reader}
{exempt}
"""
_POLICIES = f"""
dn: cn=default,ou=policies,dc=puesc,dc=test
objectClass: device
objectClass: pwdPolicy
cn: default
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: {MAX_FAILURES}
pwdLockoutDuration: 0
pwdMustChange: TRUE
pwdAllowUserChange: TRUE
pwdMinLength: 8
pwdInHistory: 3
pwdCheckQuality: 2

dn: cn=services,ou=policies,dc=puesc,dc=test
objectClass: device
objectClass: pwdPolicy
cn: services
pwdAttribute: userPassword
pwdLockout: FALSE
"""


@dataclass
class Slapd:
    """A running server. `ldap` offers StartTLS, `ldaps` has TLS from the start, `ca` trusts it."""

    ldap: int
    ldaps: int
    folder: Path
    binary: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self.folder / "ca.pem"

    @property
    def url(self) -> str:
        """With TLS."""
        return f"ldaps://127.0.0.1:{self.ldaps}"

    def start(self) -> None:
        """Start it, again after `stop`, and wait until it answers."""
        with (self.folder / "output").open("ab") as output:
            urls = f"ldap://127.0.0.1:{self.ldap} ldaps://127.0.0.1:{self.ldaps}"
            # -d 0 keeps it in the foreground, so that it is ours to stop.
            command = [self.binary, "-d", "0", "-F", str(self.folder / "conf"), "-h", urls]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.ldaps), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        pytest.fail(f"slapd did not start: {(self.folder / 'output').read_text(errors='replace')}")

    def stop(self) -> None:
        """Stop it; what it stored stays."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def slapd(*, policy: bool = True, unique: bool = True) -> Iterator[Slapd]:
    """Start a server, with the overlays ppolicy and unique or without."""
    need_python_ldap()
    binary, slapadd = program("slapd", INSTALL), program("slapadd", INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="okienko-ldap-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        server = Slapd(one.getsockname()[1], two.getsockname()[1], folder, binary)
    try:
        for name in ("db", "conf"):
            (folder / name).mkdir()
        certificates(folder)
        config = _CONFIG.format(
            d=folder,
            modules="/usr/lib/ldap",
            admin_password=ADMIN_PASSWORD,
            access=(ACCESS if policy else ACCESS.replace(",pwdReset,pwdAccountLockedTime", "")).strip(),
            overlay_modules=_POLICY_MODULES if policy else "",
            overlays=_OVERLAYS.format(unique=_UNIQUE if unique else "") if policy else "",
        )
        exempt = "pwdPolicySubentry: cn=services,ou=policies,dc=puesc,dc=test" if policy else ""
        data = _DATA.format(operator=OPERATOR_PASSWORD, reader=READER_PASSWORD, exempt=exempt)
        for number, text in (("0", config), ("1", data + (_POLICIES if policy else ""))):
            ldif = folder / f"{number}.ldif"
            ldif.write_text(text)
            done = subprocess.run(
                [slapadd, "-n", number, "-F", str(folder / "conf"), "-l", str(ldif)],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
