"""Trust: from a certificate to a verdict, with files alone. Roots and CRLs by RFC 5280, qualification by eIDAS.

A certificate is held against pinned national roots with a CRL of every issuer (never soft-fail: that means "not checked"),
then its qualification is read from the trusted list, or from its own QcStatements where no list is set up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from asn1crypto import crl as asn1_crl
from asn1crypto import pem, x509
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator import errors as cv
from pyhanko_certvalidator.path import ValidationPath

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.signature.certificates import read_certificates, refuse_damaged
from okienko.plugins.signature.problems import Code, problem
from okienko.plugins.signature.qualified import QcStatement, TrustedList, qc_statement, read_trusted_list
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signatures import SignatureProblem

for _name in ("pyhanko_certvalidator", "pyhanko"):
    # They log tracebacks and the names of subjects; what they find is in the report.
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

_BY_ERROR: tuple[tuple[type[Exception], Code], ...] = (
    (cv.RevokedError, Code.REVOKED),
    (cv.ExpiredError, Code.EXPIRED),
    (cv.NotYetValidError, Code.NOT_YET_VALID),
    (cv.StaleRevinfoError, Code.CRL_STALE),
    (cv.InsufficientRevinfoError, Code.REVOCATION_UNKNOWN),
    (cv.DisallowedAlgorithmError, Code.WEAK_ALGORITHM),
    (cv.PathBuildingError, Code.UNTRUSTED),
    (cv.InvalidCertificateError, Code.CERTIFICATE_REFUSED),
    (cv.PathValidationError, Code.UNTRUSTED),
)
"""What a validator's exception means; the first class that fits, so the special ones come first."""


@dataclass
class TrustVerdict:
    """What is known about a certificate."""

    problems: list[SignatureProblem] = field(default_factory=list)
    """Empty when the certificate leads to a trusted root, is in time and not revoked."""
    warnings: list[SignatureProblem] = field(default_factory=list)
    qualified_signature: bool = False
    """Qualified for electronic signatures of natural persons, the key in a qualified device (QSCD)."""
    why_not: str = ""


@dataclass
class TrustStore:
    """Roots, issuers, CRLs and the trusted list, read once."""

    anchors: list[x509.Certificate]
    intermediates: list[x509.Certificate]
    crls: list[asn1_crl.CertificateList]
    trusted_list: TrustedList | None

    @classmethod
    def load(cls, settings: SignatureSettings) -> TrustStore:
        """Read all files. Raises MisconfiguredError that names the one that cannot be read."""
        intermediates = read_certificates(settings.intermediates)
        return cls(
            anchors=read_certificates(settings.anchors),
            intermediates=intermediates,
            crls=read_crls(settings.crl_dir),
            trusted_list=(
                read_trusted_list(settings.trusted_list, read_certificates(settings.trusted_list_signers))
                if settings.trusted_list
                else None
            ),
        )

    def refuse_damaged(self, embedded: Sequence[x509.Certificate]) -> None:
        """See `certificates.refuse_damaged`: the store's own certificates are known."""
        refuse_damaged(embedded, [*self.anchors, *self.intermediates])

    def judge(self, leaf: x509.Certificate, embedded: Sequence[x509.Certificate], at: datetime) -> TrustVerdict:
        """Hold `leaf` against roots, CRLs and the trusted list at the moment `at`. `embedded` helps to build the path."""
        verdict = TrustVerdict()
        if not self.anchors:
            verdict.problems.append(problem(Code.NOT_CONFIGURED))
            self._qualify(verdict, leaf, None, at)
            return verdict
        path: ValidationPath | None = None
        try:
            path = _run(self._path(leaf, embedded, at))
        except (cv.PathError, cv.ValidationError) as error:
            verdict.problems.append(problem(_code(error, leaf, at)))
        if path is not None and self._revoked_later(path, at):
            verdict.problems.append(problem(Code.REVOKED, "after the moment that is asked about"))
        usage = leaf.key_usage_value
        if usage is not None and not {"non_repudiation", "digital_signature"} & usage.native:
            verdict.problems.append(problem(Code.CERTIFICATE_REFUSED, "its key usage allows no signatures"))
        self._qualify(verdict, leaf, path, at)
        return verdict

    async def _path(self, leaf: x509.Certificate, embedded: Sequence[x509.Certificate], at: datetime) -> ValidationPath:
        context = ValidationContext(
            trust_roots=self.anchors,
            other_certs=[*self.intermediates, *embedded],
            crls=self.crls,
            allow_fetching=False,
            revocation_mode="require",
            moment=at,
            # A check of a past moment may use a younger CRL; `_revoked_later` sees to what happened in between.
            retroactive_revinfo=True,
        )
        validator = CertificateValidator(leaf, intermediate_certs=list(embedded), validation_context=context)
        path: ValidationPath = await validator.async_validate_usage(set())  # type: ignore[no-untyped-call]
        return path

    def _revoked_later(self, path: ValidationPath, at: datetime) -> bool:
        """Whether a CRL that is younger than `at` revokes anyone on the path. When the key was lost is nobody's knowledge."""
        younger = [crl for crl in self.crls if _this_update(crl) > at]
        return any(
            crl.issuer == certificate.issuer
            and any(
                entry["user_certificate"].native == certificate.serial_number
                for entry in crl["tbs_cert_list"]["revoked_certificates"] or ()
            )
            for certificate in path.iter_certs(include_root=False)
            for crl in younger
        )

    def _qualify(
        self, verdict: TrustVerdict, leaf: x509.Certificate, path: ValidationPath | None, at: datetime
    ) -> None:
        if self.trusted_list is None:
            statement = qc_statement(leaf)
        elif path is None:
            statement = QcStatement(qualified=False, why_not="its chain is not in order")
        else:
            if self.trusted_list.refused:
                verdict.problems.append(problem(Code.TRUSTED_LIST_REFUSED))
            elif not self.trusted_list.pinned:
                verdict.warnings.append(problem(Code.TRUSTED_LIST_SIGNER_NOT_PINNED))
            if self.trusted_list.stale(at):
                verdict.problems.append(problem(Code.TRUSTED_LIST_STALE))
            statement = self.trusted_list.qualification(path, at)
        verdict.qualified_signature, verdict.why_not = statement.qualified, statement.why_not


def _run(work: Coroutine[Any, Any, ValidationPath]) -> ValidationPath:
    """The validator's interface is asynchronous; it waits for nothing here. Works inside a running event loop too."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def read_crls(folder: Path | None) -> list[asn1_crl.CertificateList]:
    """All CRLs of the folder. Raises MisconfiguredError that names what cannot be read."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise MisconfiguredError(f"the folder of CRLs {folder} does not exist")
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".crl", ".pem") and p.is_file()]
    return newest_crls([crl for path in files for crl in parse_crls(path.read_bytes(), str(path))])


def newest_crls(crls: list[asn1_crl.CertificateList]) -> list[asn1_crl.CertificateList]:
    """The newest of each issuer, key and scope: an older one beside it does not know of later revocations."""
    newest: dict[tuple[bytes, ...], asn1_crl.CertificateList] = {}
    for crl in crls:
        scope = [
            extension["extn_value"].native
            for wanted in ("authority_key_identifier", "issuing_distribution_point", "delta_crl_indicator")
            for extension in crl["tbs_cert_list"]["crl_extensions"] or ()
            if extension["extn_id"].native == wanted
        ]
        key = (crl.issuer.dump(), repr(scope).encode())
        other = newest.get(key)
        if other is None or _this_update(other) < _this_update(crl):
            newest[key] = crl
    return list(newest.values())


def _this_update(crl: asn1_crl.CertificateList) -> datetime:
    moment: datetime = crl["tbs_cert_list"]["this_update"].native
    return moment


def parse_crls(raw: bytes, name: str) -> list[asn1_crl.CertificateList]:
    """CRLs from PEM or DER; a PEM file may hold other things too. Raises MisconfiguredError that names `name`."""
    try:
        parts = pem.unarmor(raw, multiple=True) if pem.detect(raw) else [("X509 CRL", None, raw)]
        blocks = [der for kind, _, der in parts if kind == "X509 CRL"]
        crls = [asn1_crl.CertificateList.load(der, strict=True) for der in blocks]
        for crl in crls:
            _ = crl["tbs_cert_list"]["this_update"].native
    except (ValueError, TypeError):
        raise MisconfiguredError(f"{name} holds no readable CRL (PEM or DER)") from None
    return crls


def _code(error: Exception, leaf: x509.Certificate, at: datetime) -> Code:
    code = next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Code.UNTRUSTED)
    if code in (Code.REVOCATION_UNKNOWN, Code.CRL_STALE) and leaf.not_valid_after < at:
        # Authorities take expired certificates off their CRLs; the certificate's own end comes first.
        return Code.EXPIRED
    return code
