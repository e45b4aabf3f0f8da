"""The verifier: format, signature, trust and person, put together into one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from okienko.plugins.context import utc_now
from okienko.plugins.signature.formats import detect
from okienko.plugins.signature.problems import WARNINGS, Code, Refused, problem
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.several import combine
from okienko.plugins.signatures import (
    Application,
    MissingFile,
    SignatureFormat,
    SignatureLevel,
    SignatureProblem,
    SignatureReport,
    SignedFile,
    Verification,
)

if TYPE_CHECKING:
    # Imported when the first document comes: they are 60 MB of a process's memory.
    from okienko.plugins.signature.intact import Intact
    from okienko.plugins.signature.trust import TrustStore

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class DocumentVerifier:
    """Checks documents by the settings' trust files, which are read again when they change."""

    settings: SignatureSettings
    now: Callable[[], datetime] = utc_now
    name: str = "signature"
    _loaded: tuple[_Stamp, TrustStore] | None = field(default=None, repr=False)

    def verify(self, document: bytes, filename: str, *, at: datetime, detached: bytes | None = None) -> Verification:
        """See `SignatureVerifier.verify`. Raises MisconfiguredError when a trust file cannot be read."""
        store = self.trust()
        family = SignatureFormat.NONE
        missing: tuple[MissingFile, ...] = ()
        try:
            self._refuse_large(document, detached or b"")
            family = detect(document)
            signatures = self._open(family, document, filename, detached)
            return combine([self._judge(family, intact, store, at) for intact in signatures])
        except Refused as refused:
            found = refused.problem
            # A container must hold all that it signs.
            missing = refused.missing if family is not SignatureFormat.ASIC_E else ()
        except (RecursionError, MemoryError):
            found = problem(Code.TOO_COMPLEX)
        except Exception:  # whatever a parser raises for a stranger's octets is a finding, not a failure
            found = problem(Code.UNREADABLE)
        if found.code == Code.NOT_SIGNED:
            family = SignatureFormat.NONE
        return Verification(SignatureReport(valid=False, format=family, problems=(found,)), missing=missing)

    def read_application(self, signed: tuple[SignedFile, ...]) -> Application:
        """See `SignatureVerifier.read_application`."""
        from okienko.plugins.signature.application import read_application

        return read_application(signed, self.settings)

    def trust_files(self) -> list[dict[str, Any]]:
        """The trust files and their ages, see `status`. Raises MisconfiguredError."""
        from okienko.plugins.signature.status import trust_files

        return trust_files(self.settings, self.now())

    def trust(self) -> TrustStore:
        """The trust files, read again when one of them changed. Raises MisconfiguredError."""
        from okienko.plugins.signature.trust import TrustStore

        stamp = _stamp(self.settings)
        if self._loaded is None or self._loaded[0] != stamp:
            self._loaded = (stamp, TrustStore.load(self.settings))
        return self._loaded[1]

    def _refuse_large(self, *contents: bytes) -> None:
        if max(map(len, contents)) > self.settings.max_size:
            raise Refused(Code.TOO_LARGE)

    def _open(
        self, family: SignatureFormat, document: bytes, filename: str, detached: bytes | None
    ) -> Sequence[Intact]:
        match family:
            case SignatureFormat.PADES:
                from okienko.plugins.signature.pades import open_pades

                return open_pades(document, filename, self.settings)
            case SignatureFormat.CADES:
                from okienko.plugins.signature.cades import open_cades

                return open_cades(document, filename, self.settings, detached=detached)
            case SignatureFormat.XADES:
                from okienko.plugins.signature.xades import open_xades

                resolve = None if detached is None else lambda _: detached
                return open_xades(document, filename, self.settings, resolve=resolve)
            case SignatureFormat.ASIC_E:
                from okienko.plugins.signature.asice import open_asice

                return open_asice(document, self.settings)
            case _:
                raise Refused(Code.NOT_SIGNED)

    def _judge(self, family: SignatureFormat, intact: Intact, store: TrustStore, at: datetime) -> Verification:
        """What the signature is worth: trust, level, person (docs/signatures.md says why)."""
        from okienko.plugins.signature.nonull import spki_sha256
        from okienko.plugins.signature.person import from_certificate

        verdict = store.judge(intact.certificate, intact.embedded, at)
        # A chain that nobody trusts could name anyone, at any level.
        trusted = not any(p.code in _NO_TRUST for p in verdict.problems)
        problems: list[SignatureProblem] = [*intact.problems, *verdict.problems]
        if trusted:
            store.refuse_damaged(intact.embedded)
        sealed = spki_sha256(intact.certificate.public_key.dump()) in self.settings.pinned_seals
        if sealed:
            level = SignatureLevel.PODPIS_ZAUFANY
            signatory = intact.statement.signatory if intact.statement else None
        else:
            signatory = from_certificate(intact.certificate)
            qualified = verdict.qualified_signature and signatory is not None
            level = SignatureLevel.QUALIFIED if qualified else SignatureLevel.ADVANCED
            if not qualified:
                why = verdict.why_not or "its certificate names no natural person"
                problems.append(problem(Code.NOT_QUALIFIED, why))
            problems += verdict.warnings
        if signatory is None:
            problems.append(problem(Code.PERSON_UNKNOWN))
        report = SignatureReport(
            valid=all(p.code in WARNINGS for p in problems),
            format=family,
            level=level if trusted else None,
            signatory=signatory if trusted else None,
            signed_at=intact.signed_at,
            coverage=intact.coverage,
            problems=tuple(problems),
        )
        return Verification(report, intact.files)


_NO_TRUST = frozenset({Code.UNTRUSTED, Code.NOT_CONFIGURED, Code.CERTIFICATE_REFUSED})


def _stamp(settings: SignatureSettings) -> _Stamp:
    paths: list[Path] = [*settings.anchors, *settings.intermediates, *settings.trusted_list_signers]
    paths += [settings.trusted_list] if settings.trusted_list else []
    if settings.crl_dir and settings.crl_dir.is_dir():
        paths += sorted(settings.crl_dir.iterdir())
    stamp = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            # Loading says what is wrong with it.
            stamp.append((str(path), 0, 0))
        else:
            stamp.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamp)
