"""TLS to a directory server by Python's ssl, with libldap at the near end.

Debian's libldap does TLS by GnuTLS and waits without end for a server that is silent during the handshake, whatever its
time-out options say; and all it tells about a bad certificate is "Can't contact LDAP server". So the connection is made
here, with time limits and reasons, and libldap gets a local socket on which it speaks plain LDAP.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

_START_TLS = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
"""The whole extended request, message 1 (RFC 4511, 4.14.1)."""
_ACCEPTED = b"\x0a\x01\x00"
"""resultCode success in the answer."""
_CHUNK = 65536
_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class Trouble(Enum):
    """What kept TLS from coming about."""

    DOWN = "down"
    UNTRUSTED = "untrusted"
    NO_TLS = "no_tls"


class TunnelError(Exception):
    """There is no safe connection; the text says why."""

    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(text)
        self.trouble = trouble


def connect(url: str, ca: Path | None, timeout: float) -> ssl.SSLSocket:
    """A verified TLS connection, by StartTLS for ldap://. Each step ends within `timeout`. Raises TunnelError."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "ldaps"
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except OSError as error:
        reason = f"the file of CA certificates cannot be used: {error.strerror or error}"
        raise TunnelError(Trouble.UNTRUSTED, reason) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.ExitStack() as stack:
        try:
            address = (host, parts.port or (636 if secure else 389))
            plain = stack.enter_context(socket.create_connection(address, timeout=timeout))
            if not secure:
                plain.sendall(_START_TLS)
                if not (answer := plain.recv(4096)):
                    raise ConnectionResetError("hung up")
                if _ACCEPTED not in answer:
                    raise TunnelError(Trouble.NO_TLS, "the server refuses StartTLS")
            safe = context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise TunnelError(Trouble.UNTRUSTED, f"its certificate is not accepted: {error.verify_message}") from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # A server that is being stopped does so: no sign that it has no TLS.
            raise TunnelError(Trouble.DOWN, "not reachable: it hung up during the TLS handshake") from None
        except ssl.SSLError as error:
            raise TunnelError(Trouble.NO_TLS, f"no TLS comes about: {error.reason or error}") from None
        except OSError as error:
            raise TunnelError(Trouble.DOWN, f"not reachable: {error.strerror or error}") from None
        stack.pop_all()
    safe.settimeout(timeout)
    return safe


def certificate_end(safe: ssl.SSLSocket) -> datetime:
    """When the server certificate's validity ends."""
    end = ssl.cert_time_to_seconds(str((safe.getpeercert() or {})["notAfter"]))
    return datetime.fromtimestamp(end, UTC)


def tunnel(safe: ssl.SSLSocket, timeout: float) -> int:
    """The file descriptor of a local socket whose octets go through the connection, until either end is closed."""
    near, far = socket.socketpair()
    threading.Thread(target=_pump, args=(safe, near, timeout), name="okienko-directory-tls", daemon=True).start()
    return far.detach()


def _pump(safe: ssl.SSLSocket, near: socket.socket, timeout: float) -> None:
    # Not blocking, for a TLS record may be readable that holds no data (a session ticket).
    safe.setblocking(False)
    near.setblocking(False)
    with safe, near, contextlib.suppress(OSError):
        while True:
            readable, _, _ = select.select([safe, near], [], [])
            if near in readable:
                if not (data := near.recv(_CHUNK)):
                    return
                _send(safe, data, timeout)
            # Octets that OpenSSL has decrypted already do not make the socket readable.
            while safe in readable or safe.pending():
                readable = []
                try:
                    data = safe.recv(_CHUNK)
                except _LATER:
                    break
                if not data:
                    return
                _send(near, data, timeout)


def _send(to: socket.socket, data: bytes, timeout: float) -> None:
    end, rest = time.monotonic() + timeout, memoryview(data)
    while rest:
        try:
            rest = rest[to.send(rest) :]
        except _LATER as wait:
            reading = [to] if isinstance(wait, ssl.SSLWantReadError) else []
            if not any(select.select(reading, [] if reading else [to], [], max(0.0, end - time.monotonic()))):
                raise TimeoutError("the other end takes nothing") from None
