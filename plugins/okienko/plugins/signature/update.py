"""New trusted lists and CRLs: fetched or read, validated against what is pinned, and only then put in place in one step."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from asn1crypto import crl as asn1_crl
from cryptography import x509 as plain
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.signature.certificates import read_certificates
from okienko.plugins.signature.problems import Refused
from okienko.plugins.signature.qualified import parse_trusted_list, read_trusted_list
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.trust import parse_crls

_MOST = 64 << 20


@dataclass(frozen=True)
class Updated:
    """One file that was put in place, or was there already."""

    path: Path
    what: str
    changed: bool


def fetch(source: str, *, timeout: float = 60.0) -> bytes:
    """The octets behind a path or an http(s) address; TLS is verified. Raises TransientError or PermanentError.

    Plain http is fine for CRLs, which carry their issuer's signature, and for lists, which carry their seal.
    """
    if not source.startswith(("https://", "http://")):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise PermanentError(f"cannot read {source}: {error.strerror}") from None
    parts: list[bytes] = []
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=3) as client,
            client.stream("GET", source) as response,
        ):
            response.raise_for_status()
            for part in response.iter_bytes():
                parts.append(part)
                if sum(map(len, parts)) > _MOST:
                    raise PermanentError(f"{source} is larger than {_MOST >> 20} MiB")
    except httpx.HTTPStatusError as error:
        raise TransientError(f"{source} answered {error.response.status_code}; the old file stays") from None
    except httpx.HTTPError as error:
        raise TransientError(f"{source} cannot be fetched ({type(error).__name__}); the old file stays") from None
    return b"".join(parts)


def update_trusted_list(settings: SignatureSettings, raw: bytes, now: datetime) -> Updated:
    """Put a newer list in place. Raises PermanentError for one that is refused, stale or older than ours."""
    path = settings.trusted_list
    if path is None or not settings.trusted_list_signers:
        raise MisconfiguredError(
            "set OKIENKO_SIGNATURE_TRUSTED_LIST and OKIENKO_SIGNATURE_TRUSTED_LIST_SIGNERS: "
            "a list whose signer nobody pinned is never put in place"
        )
    signers = read_certificates(settings.trusted_list_signers)
    try:
        new = parse_trusted_list(raw, signers)
    except Refused as refused:
        raise PermanentError(f"the new trusted list is refused: {refused.problem.text}") from None
    if new.stale(now):
        raise PermanentError("the new trusted list is out of date itself: its next update has passed")
    if path.exists():
        if path.read_bytes() == raw:
            return Updated(path, f"trusted list {new.territory} number {new.sequence}", changed=False)
        old = read_trusted_list(path, signers)
        if not old.refused and (new.sequence or 0) < (old.sequence or 0):
            raise PermanentError(
                f"the new trusted list (number {new.sequence}) is older than ours (number {old.sequence})"
            )
        if not old.refused and new.territory != old.territory:
            raise PermanentError(f"the new trusted list is of {new.territory}, ours of {old.territory}")
    replace_file(path, raw)
    return Updated(path, f"trusted list {new.territory} number {new.sequence}", changed=True)


def update_crls(settings: SignatureSettings, raw: bytes, name: str, now: datetime) -> list[Updated]:
    """Put newer CRLs in place. Raises PermanentError for one that is forged, stale or older than ours."""
    folder = settings.crl_dir
    if folder is None:
        raise MisconfiguredError("set OKIENKO_SIGNATURE_CRL_DIR: the folder that CRLs are kept in")
    folder.mkdir(parents=True, exist_ok=True)
    issuers = [
        plain.load_der_x509_certificate(c.dump())
        for c in read_certificates([*settings.anchors, *settings.intermediates])
    ]
    found = parse_crls(raw, name)
    if not found:
        raise PermanentError(f"{name} holds no CRL")
    return [_update_crl(folder, crl, issuers, now) for crl in found]


def _update_crl(
    folder: Path, crl: asn1_crl.CertificateList, issuers: Sequence[plain.Certificate], now: datetime
) -> Updated:
    der = crl.dump()
    parsed = plain.load_der_x509_crl(der)
    issuer = next((c for c in issuers if c.subject == parsed.issuer and _signed_by(parsed, c)), None)
    who = crl.issuer.human_friendly
    if issuer is None:
        raise PermanentError(f"the CRL of {who} is not signed by a certificate in the settings")
    if parsed.next_update_utc is None or parsed.next_update_utc < now:
        raise PermanentError(f"the CRL of {who} is out of date itself")
    # One file for each issuer and key, so that a newer one takes the place of the older.
    spki = issuer.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    path = folder / f"{hashlib.sha256(crl.issuer.dump() + spki).hexdigest()[:16]}.crl"
    if path.exists():
        if path.read_bytes() == der:
            return Updated(path, f"CRL of {who}", changed=False)
        old = parse_crls(path.read_bytes(), str(path))
        if old and old[0]["tbs_cert_list"]["this_update"].native > parsed.last_update_utc:
            raise PermanentError(f"the CRL of {who} is older than ours")
    replace_file(path, der)
    return Updated(path, f"CRL of {who}", changed=True)


def _signed_by(crl: plain.CertificateRevocationList, issuer: plain.Certificate) -> bool:
    key = issuer.public_key()
    return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and crl.is_signature_valid(key)


def replace_file(path: Path, content: bytes) -> None:
    """Write beside and rename: a reader sees the old file or the new one. Raises PermanentError when that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".new", delete=False) as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).chmod(0o644)
        Path(new.name).replace(path)
    except OSError as error:
        raise PermanentError(f"cannot write {path}: {error.strerror}") from None
