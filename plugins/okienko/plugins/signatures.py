"""The port of signature verifiers: is this document signed well enough (rule B4), by whom (B5), and what does it say (B3)?

Verifiers are pure and CPU-bound: trust files are read at start, no network is asked. The core runs them in worker processes
with limits. What comes back crosses the process border by `to_wire` and `from_wire`, plain JSON: a Pesel refuses to be
pickled, and a worker that met a hostile document must not be able to send us objects.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from pydantic import Field

from okienko.schemas.base import Model, UtcDatetime
from okienko.schemas.pesel import Pesel


class SignatureFormat(StrEnum):
    """ETSI's families of advanced electronic signatures (EN 319 142, 319 132, 319 122, 319 162)."""

    PADES = "pades"
    XADES = "xades"
    CADES = "cades"
    ASIC_E = "asic-e"
    NONE = "none"


class SignatureLevel(StrEnum):
    """What the signature is worth in law (eIDAS, and the Polish act on podpis zaufany)."""

    QUALIFIED = "qualified"
    PODPIS_ZAUFANY = "podpis_zaufany"
    ADVANCED = "advanced"


class Signatory(Model):
    """The natural person who signed, from the signed certificate or from the minister's sealed statement."""

    given_names: str
    family_name: str
    pesel: Pesel | None = Field(default=None, repr=False)
    birth_year: int | None = None


class SignatureProblem(Model):
    """One reason why a signature does not count, or a warning beside one that does."""

    code: str
    """Of a closed set: `okienko.plugins.signature.problems` lists them."""
    text: str
    """For the clerk and the administrator, in English; never holds a PESEL."""


class SignatureReport(Model):
    """What was found."""

    valid: bool
    """Good enough for B4: qualified, or podpis zaufany by a pinned seal, with everything about it in order."""
    format: SignatureFormat
    level: SignatureLevel | None = None
    signatory: Signatory | None = None
    signed_at: UtcDatetime | None = None
    """Claimed by the signature, or proved by its timestamp."""
    coverage: str = "none"
    """`whole`, `partial` or `none`: how much of the document the signature covers."""
    problems: tuple[SignatureProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedFile:
    """Bytes that the signature covers; only these are ever read as data."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that a detached signature signs and that was not given. Its name would prove nothing; this finds it."""

    algorithm: str
    """As `hashlib` calls it."""
    digest: bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """A report with the bytes it speaks of."""

    report: SignatureReport
    signed: tuple[SignedFile, ...] = ()
    """Empty unless the signature is intact."""
    missing: tuple[MissingFile, ...] = ()
    """What the document's signature is over, when that is not in it and `detached` was not given."""

    def to_wire(self) -> dict[str, Any]:
        """As JSON values, personal number and all: for the pipe between our own processes, never for a log or a store."""
        return {
            "report": _revealed(self.report)
            | {"signatory": self.report.signatory and _revealed(self.report.signatory)},
            "signed": [
                {"name": f.name, "media_type": f.media_type, "content": base64.b64encode(f.content).decode("ascii")}
                for f in self.signed
            ],
            "missing": [{"algorithm": m.algorithm, "digest": m.digest.hex()} for m in self.missing],
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Verification:
        """Back from `to_wire`. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(
            SignatureReport.model_validate(wire["report"]),
            tuple(
                SignedFile(str(f["name"]), str(f["media_type"]), base64.b64decode(f["content"], validate=True))
                for f in wire["signed"]
            ),
            tuple(MissingFile(str(m["algorithm"]), bytes.fromhex(m["digest"])) for m in wire["missing"]),
        )


class Application(Model):
    """What an application for a new emergency password and login says (rule B3). Missing parts are None: a human types them."""

    given_name: str | None = None
    family_name: str | None = None
    old_login: str | None = None
    new_login: str | None = None
    pesel: Pesel | None = Field(default=None, repr=False)

    def to_wire(self) -> dict[str, Any]:
        """As JSON values, personal number and all; see `Verification.to_wire`."""
        return _revealed(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Application:
        """Back from `to_wire`. Raises ValueError for anything else."""
        return cls.model_validate(wire)


def _revealed(model: Model) -> dict[str, Any]:
    values = model.model_dump(mode="json")
    pesel = getattr(model, "pesel", None)
    return values | {"pesel": pesel.reveal()} if isinstance(pesel, Pesel) else values


@runtime_checkable
class SignatureVerifier(Protocol):
    """Checks documents."""

    name: str

    def verify(self, document: bytes, filename: str, *, at: datetime, detached: bytes | None = None) -> Verification:
        """Check one document at the moment `at` (aware UTC).

        `detached` is the signed content when `document` is only its signature. Never raises for what is in the document:
        whatever cannot be read is a report with a problem.
        """
        ...

    def read_application(self, signed: tuple[SignedFile, ...]) -> Application:
        """The application's data out of signed bytes. Never raises for what is in them: what is not found is None."""
        ...
