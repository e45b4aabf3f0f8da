"""Why a TLS connection does not come about: libldap says only "Can't contact LDAP server" for everything."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

_START_TLS = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
"""The whole extended request, message 1 (RFC 4511, 4.14.1)."""
_ACCEPTED = b"\x0a\x01\x00"
"""resultCode success in the answer."""


class Outcome(Enum):
    """How far it came."""

    OK = "ok"
    DOWN = "down"
    UNTRUSTED = "untrusted"
    NO_TLS = "no_tls"


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found."""

    outcome: Outcome
    text: str
    expires: datetime | None = None
    """End of the server certificate's validity."""


def ca_file(ca: Path | None) -> str | None:
    """The file of trusted CAs: the configured one or the system's; None when the system has none."""
    if ca is not None:
        return str(ca)
    paths = ssl.get_default_verify_paths()
    return paths.cafile or (paths.openssl_cafile if Path(paths.openssl_cafile).exists() else None)


def probe(url: str, ca: Path | None, timeout: float) -> Probe:
    """Connect, do StartTLS for ldap://, verify the certificate. Blocks at most a few times `timeout`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "ldaps"
    try:
        context = ssl.create_default_context(cafile=ca_file(ca))
    except (OSError, ssl.SSLError) as error:
        return Probe(Outcome.UNTRUSTED, f"the file of CA certificates cannot be used: {error.strerror or error}")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.ExitStack() as stack:
        try:
            plain = stack.enter_context(
                socket.create_connection((host, parts.port or (636 if secure else 389)), timeout=timeout)
            )
            if not secure:
                plain.sendall(_START_TLS)
                if _ACCEPTED not in plain.recv(4096):
                    return Probe(Outcome.NO_TLS, "the server refuses StartTLS")
            safe = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
        except ssl.SSLCertVerificationError as error:
            return Probe(Outcome.UNTRUSTED, f"its certificate is not accepted: {error.verify_message}")
        except ssl.SSLError as error:
            return Probe(Outcome.NO_TLS, f"no TLS comes about: {error.reason or error}")
        except OSError as error:
            return Probe(Outcome.DOWN, f"not reachable: {error.strerror or error}")
        end = ssl.cert_time_to_seconds(str((safe.getpeercert() or {})["notAfter"]))
        return Probe(Outcome.OK, f"{safe.version()} with a trusted certificate", datetime.fromtimestamp(end, UTC))
