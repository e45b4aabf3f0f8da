"""The trust files and their ages: what `okienko trust status` shows and the metrics say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from asn1crypto import x509

from okienko.plugins.signature.certificates import read_certificates
from okienko.plugins.signature.qualified import read_trusted_list
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.trust import read_crls


@dataclass(frozen=True)
class TrustFile:
    """One certificate, CRL or list."""

    kind: str
    """`anchor`, `intermediate`, `crl` or `trusted_list`."""
    name: str
    state: str
    """`ok`, `soon`, `expired`, `missing` or `refused`."""
    issued: str | None = None
    until: str | None = None
    detail: str = ""


def trust_files(settings: SignatureSettings, now: datetime) -> list[dict[str, Any]]:
    """All of them, as JSON values. Raises MisconfiguredError for a file that cannot be read."""
    found: list[TrustFile] = []
    anchors, intermediates = read_certificates(settings.anchors), read_certificates(settings.intermediates)
    for kind, certificates in (("anchor", anchors), ("intermediate", intermediates)):
        found += [
            _file(kind, c.subject.human_friendly, c.not_valid_before, c.not_valid_after, settings, now)
            for c in certificates
        ]
    crls = read_crls(settings.crl_dir)
    for crl in crls:
        times = crl["tbs_cert_list"]
        until = times["next_update"].native
        found.append(_file("crl", crl.issuer.human_friendly, times["this_update"].native, until, settings, now))
    for certificate in _issuers(anchors, intermediates):
        if not any(crl.issuer == certificate.subject for crl in crls):
            name = certificate.subject.human_friendly
            found.append(TrustFile("crl", name, "missing", detail="signatures under this issuer cannot be checked"))
    if settings.trusted_list:
        found.append(_trusted_list(settings.trusted_list, settings, now))
    return [asdict(file) for file in found]


def _issuers(anchors: list[x509.Certificate], intermediates: list[x509.Certificate]) -> list[x509.Certificate]:
    """Who must publish a CRL: a root when it has issued an authority, and every issuing authority."""
    return [*(a for a in anchors if any(i.issuer == a.subject for i in intermediates)), *intermediates]


def _trusted_list(path: Path, settings: SignatureSettings, now: datetime) -> TrustFile:
    listed = read_trusted_list(path, read_certificates(settings.trusted_list_signers))
    if listed.refused:
        return TrustFile("trusted_list", str(path), "refused", detail="its seal is broken or by another signer")
    if listed.next_update is None:
        return TrustFile("trusted_list", str(path), "expired", detail="the list is closed: it names no next update")
    detail = f"{listed.territory} number {listed.sequence}" + ("" if listed.pinned else "; its signer is not pinned")
    file = _file("trusted_list", str(path), listed.issued, listed.next_update, settings, now)
    return TrustFile(file.kind, file.name, file.state, file.issued, file.until, detail)


def _file(
    kind: str, name: str, issued: datetime | None, until: datetime | None, settings: SignatureSettings, now: datetime
) -> TrustFile:
    state = "ok"
    if until is not None and until < now:
        state = "expired"
    elif until is not None and until < now + timedelta(days=settings.warn_days):
        state = "soon"
    return TrustFile(kind, name, state, _text(issued), _text(until))


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
