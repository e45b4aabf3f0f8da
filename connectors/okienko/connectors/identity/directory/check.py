"""`okienko check` of a directory, step by step: library, TLS, sign-in, base, schema, and what the connector adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from okienko.connectors.identity.directory.connection import Connection
from okienko.connectors.identity.directory.faults import NO_SUCH_OBJECT, DirectoryError, to_error
from okienko.connectors.identity.directory.features import Features, read_features
from okienko.connectors.identity.directory.library import CURE, load
from okienko.connectors.identity.directory.settings import DirectorySettings
from okienko.connectors.identity.directory.tunnel import Trouble, TunnelError, certificate_end, connect
from okienko.plugins.errors import OkienkoError
from okienko.plugins.ports import Finding, Severity

_SOON = timedelta(days=30)
_CURES = {
    Trouble.DOWN: "see that the server runs, and that name, port and firewall let okienko through",
    Trouble.UNTRUSTED: "put the CA's certificate into the file of the setting ca; use the name in the certificate",
    Trouble.NO_TLS: "turn TLS 1.2 or newer on at the server (ldaps://, or StartTLS for ldap://)",
}
OwnChecks = Callable[[Connection, Features], list[Finding]]


def check_directory(
    name: str, settings: DirectorySettings, now: datetime, attributes: Sequence[str], own: OwnChecks
) -> list[Finding]:
    """Every finding, as far as it goes: what stands on a failed step is not tried. Blocking; never raises okienko's errors."""
    subject = f"identity {name}"
    try:
        library = load()
    except OkienkoError as error:
        return [Finding(f"{subject} library", Severity.ERROR, str(error), CURE)]
    findings = [_server(subject, url, settings, now) for url in settings.urls]
    if all(finding.severity is Severity.ERROR for finding in findings):
        return findings
    try:
        connection = Connection(library, settings)
    except OkienkoError as error:
        cure = "compare bind_dn and bind_password with the directory; the account must not be locked or expired"
        return [*findings, Finding(f"{subject} sign-in", Severity.ERROR, str(error), cure)]
    findings.append(Finding(f"{subject} sign-in", Severity.OK, "the operator account is signed in"))
    try:
        findings += _base(subject, connection, settings)
        if findings[-1].severity is not Severity.ERROR:
            features = read_features(connection)
            findings.append(_schema(subject, settings, features, attributes))
            findings += own(connection, features)
    except DirectoryError as fault:
        findings.append(
            Finding(f"{subject} operations", Severity.ERROR, str(to_error(fault, "checking")), "see the server's log")
        )
    finally:
        connection.close()
    return findings


def _server(subject: str, url: str, settings: DirectorySettings, now: datetime) -> Finding:
    what = f"{subject} {url}"
    if url.startswith("ldap://") and not settings.starttls:
        return Finding(what, Severity.WARNING, "without TLS, on this machine only", "use ldaps:// where it can be had")
    try:
        with connect(url, settings.ca, settings.timeout) as safe:
            end, version = certificate_end(safe), safe.version()
    except TunnelError as error:
        return Finding(what, Severity.ERROR, str(error), _CURES[error.trouble])
    if end - now < _SOON:
        message = f"its certificate ends on {end:%Y-%m-%d}"
        return Finding(what, Severity.WARNING, message, "renew the directory server's certificate")
    return Finding(what, Severity.OK, f"{version} with a trusted certificate")


def _base(subject: str, connection: Connection, settings: DirectorySettings) -> list[Finding]:
    what, base = f"{subject} base", settings.base or ""
    try:
        there = bool(connection.search(base, "base", "(objectClass=*)", ["1.1"]))
    except DirectoryError as fault:
        if fault.result != NO_SUCH_OBJECT:
            raise
        there = False
    if not there:
        cure = "correct the setting base, or let the operator account read it"
        return [Finding(what, Severity.ERROR, f"{base} does not exist or is hidden", cure)]
    return [Finding(what, Severity.OK, f"{base} is readable")]


def _schema(subject: str, settings: DirectorySettings, features: Features, attributes: Sequence[str]) -> Finding:
    what = f"{subject} schema"
    if not features.attributes:
        cure = "let the operator account read the subschema entry"
        return Finding(what, Severity.WARNING, "the schema cannot be read, so misspelt attributes are not found", cure)
    missing = sorted({name for name in attributes if features.lacks(name)})
    if missing:
        cure = "correct the ..._attribute settings; pwd... attributes come with the overlay ppolicy"
        return Finding(what, Severity.ERROR, f"the schema has no {', '.join(missing)}", cure)
    return Finding(what, Severity.OK, f"knows {', '.join(sorted(settings.login_attributes))} and all others in use")
