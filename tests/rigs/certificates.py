"""Throw-away certificates for the servers of tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certificates(folder: Path, *, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> None:
    """Write ca.pem, ca.key, server.pem and server.key; `names` is the server's subjectAltName."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), "-subj", "/CN=okienko test CA",
        "-keyout", "ca.key", "-out", "ca.pem",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"
    )
    (folder / "ext").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", str(days), "-extfile", "ext", "-out", "server.pem",
    )  # fmt: skip
