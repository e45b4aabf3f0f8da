"""Is a certificate qualified for electronic signatures? From a national trusted list (ETSI TS 119 612), or from its own
QcStatements (ETSI EN 319 412-5) where no list is set up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from asn1crypto import x509
from pyhanko.sign.ades import qualified_asn1
from pyhanko_certvalidator.path import ValidationPath

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.signature import xmldsig
from okienko.plugins.signature.problems import Refused
from okienko.plugins.signature.safexml import parse_xml

_TSL = "{http://uri.etsi.org/02231/v2#}"
_EU = re.compile("AT|BE|BG|CY|CZ|DE|DK|EE|EL|ES|EU|FI|FR|GR|HR|HU|IE|IS|IT|LI|LT|LU|LV|MT|NL|NO|PL|PT|RO|SE|SI|SK")
"""Countries whose law is eIDAS: the Union and the European Economic Area; Greece under both of its codes."""


@dataclass(frozen=True)
class QcStatement:
    """Whether a certificate makes qualified signatures, and if not, why."""

    qualified: bool
    why_not: str = ""


@dataclass
class TrustedList:
    """One national trusted list, its seal checked."""

    registry: Any
    next_update: datetime | None
    issued: datetime | None
    territory: str
    sequence: int | None
    pinned: bool
    """Sealed by a certificate that the settings name."""
    refused: bool = False

    def stale(self, at: datetime) -> bool:
        """Whether the list's own NextUpdate has passed (TS 119 612, 5.3.15); a closed list has none and is stale."""
        return not self.refused and (self.next_update is None or self.next_update < at)

    def qualification(self, path: ValidationPath, at: datetime) -> QcStatement:
        """What the list says about the path's end, at the moment `at`."""
        from pyhanko.sign.validation.qualified.assess import QualificationAssessor
        from pyhanko.sign.validation.qualified.tsp import QcCertType

        if self.refused:
            return QcStatement(qualified=False, why_not="the trusted list is refused")
        try:
            status = QualificationAssessor(self.registry).check_entity_cert_qualified(path, moment=at).status
        except (NotImplementedError, ValueError, KeyError):
            return QcStatement(qualified=False, why_not="its QcStatements cannot be read")
        if not status.qualified:
            return QcStatement(qualified=False, why_not="by the trusted list it is not qualified")
        if status.qc_type is not QcCertType.QC_ESIGN:
            return QcStatement(qualified=False, why_not="it is qualified for something else than signatures")
        if not status.qc_key_security.is_qscd:
            return QcStatement(qualified=False, why_not="its key is not in a qualified device (QSCD)")
        return QcStatement(qualified=True)


def qc_statement(certificate: x509.Certificate) -> QcStatement:
    """What the certificate says of itself. A certificate without QcType is for signatures (EN 319 412-5, 4.2.3)."""
    try:
        statements = {
            s["statement_id"].native: s["statement_info"] for s in qualified_asn1.get_qc_statements(certificate)
        }
        types = [t.native for t in statements["qc_type"]] if "qc_type" in statements else ["qct_esign"]
        countries = [str(c.native) for c in statements.get("qc_cc_legislation", ())]
    except (ValueError, TypeError, KeyError):
        return QcStatement(qualified=False, why_not="its QcStatements cannot be read")
    if "qc_compliance" not in statements:
        return QcStatement(qualified=False, why_not="the certificate does not say that it is qualified")
    if types != ["qct_esign"]:
        return QcStatement(qualified=False, why_not="it is qualified for something else than signatures")
    if "qc_sscd" not in statements:
        return QcStatement(qualified=False, why_not="its key is not in a qualified device (QSCD)")
    if countries and not all(_EU.fullmatch(country) for country in countries):
        return QcStatement(qualified=False, why_not="it is qualified by the law of a country outside the Union")
    return QcStatement(qualified=True)


def read_trusted_list(path: Path, signers: Sequence[x509.Certificate]) -> TrustedList:
    """Read and check a list. Raises MisconfiguredError when the file cannot be read at all.

    A list whose seal is broken or by somebody else is returned as refused, so that documents say so. With no `signers` the
    seal must still be intact.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MisconfiguredError(f"cannot read the trusted list {path}: {error.strerror}") from None
    try:
        return parse_trusted_list(raw, signers)
    except Refused:
        return TrustedList(None, None, None, "", None, pinned=False, refused=True)


def parse_trusted_list(raw: bytes, signers: Sequence[x509.Certificate]) -> TrustedList:
    """See `read_trusted_list`; raises Refused with the reason instead. Only the sealed octets are read."""
    from pyhanko.sign.validation.qualified.eutl_parse import trust_list_to_registry_unsafe

    from okienko.plugins.signature.problems import Code

    checked = xmldsig.check(raw, max_depth=100, comments_allowed=True)
    whole = checked.whole_document
    if whole is None:
        raise Refused(Code.PARTIAL_COVERAGE, "the seal does not cover the whole list")
    if signers and checked.certificate.dump() not in {c.dump() for c in signers}:
        raise Refused(Code.TRUSTED_LIST_REFUSED, "sealed by another certificate than the pinned ones")
    root = parse_xml(whole, max_depth=100)
    if root.tag != _TSL + "TrustServiceStatusList":
        raise Refused(Code.TRUSTED_LIST_REFUSED, "it is no trusted list")
    scheme = _TSL + "SchemeInformation"
    try:
        registry, _ = trust_list_to_registry_unsafe(whole.decode("utf-8"))
        sequence = root.findtext(f"{scheme}/{_TSL}TSLSequenceNumber")
        return TrustedList(
            registry,
            next_update=_moment(root.findtext(f"{scheme}/{_TSL}NextUpdate/{_TSL}dateTime")),
            issued=_moment(root.findtext(f"{scheme}/{_TSL}ListIssueDateTime")),
            territory=(root.findtext(f"{scheme}/{_TSL}SchemeTerritory") or "").strip(),
            sequence=int(sequence) if sequence else None,
            pinned=bool(signers),
        )
    except Exception:  # xsdata raises whatever does not fit the schema
        raise Refused(Code.TRUSTED_LIST_REFUSED, "it cannot be read as TS 119 612") from None


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        raise ValueError("a time without zone")
    return moment
