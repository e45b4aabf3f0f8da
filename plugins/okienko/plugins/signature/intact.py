"""What a format's module hands over: a signature that verifies under a certificate, and what it covers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from asn1crypto import x509

from okienko.plugins.signature.podpis_zaufany import Statement
from okienko.plugins.signatures import SignatureProblem, SignedFile


@dataclass(frozen=True)
class Intact:
    """Nothing in it was changed; whether it is worth anything is not decided yet."""

    certificate: x509.Certificate
    embedded: tuple[x509.Certificate, ...]
    files: tuple[SignedFile, ...]
    """Signed octets only."""
    coverage: str
    signed_at: datetime | None
    statement: Statement | None = None
    """The minister's statement who signed; counts only under a pinned seal."""
    problems: list[SignatureProblem] = field(default_factory=list)
    beside: tuple[str, ...] = ()
    """Names of the files outside the document that the signature covers."""


def aware(moment: datetime | None) -> datetime | None:
    """A claimed time in UTC; None for one without zone, which could mean anything."""
    return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
