"""Every reason why a signature does not count: a closed set of codes, each with its sentence for clerk and administrator."""

from __future__ import annotations

from enum import StrEnum

from okienko.plugins.signatures import MissingFile, SignatureProblem


class Code(StrEnum):
    """What is wrong. Scripts and rules may rely on these words."""

    NOT_SIGNED = "not_signed"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_COMPLEX = "too_complex"
    UNSUPPORTED = "unsupported"
    CONTENT_MISSING = "content_missing"
    SEVERAL_SIGNATURES = "several_signatures"
    DIFFERENT_SIGNATORIES = "different_signatories"

    CHANGED = "changed"
    SIGNATURE_INVALID = "signature_invalid"
    APPENDED = "appended"
    PARTIAL_COVERAGE = "partial_coverage"
    WRAPPING = "wrapping"
    MALFORMED = "malformed"
    FORBIDDEN_TRANSFORM = "forbidden_transform"
    WEAK_ALGORITHM = "weak_algorithm"

    UNTRUSTED = "untrusted"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"
    CRL_STALE = "crl_stale"
    CERTIFICATE_REFUSED = "certificate_refused"
    NOT_QUALIFIED = "not_qualified"
    PERSON_UNKNOWN = "person_unknown"
    WRONG_PERSON = "wrong_person"

    NOT_CONFIGURED = "not_configured"
    TRUSTED_LIST_STALE = "trusted_list_stale"
    TRUSTED_LIST_REFUSED = "trusted_list_refused"
    TRUSTED_LIST_SIGNER_NOT_PINNED = "trusted_list_signer_not_pinned"

    HYBRID_PDF = "hybrid_pdf"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"


WARNINGS = frozenset({Code.HYBRID_PDF, Code.TRUSTED_LIST_SIGNER_NOT_PINNED})
"""Codes that are said beside a signature that may well be valid."""

TEXTS: dict[Code, str] = {
    Code.NOT_SIGNED: "the document carries no signature",
    Code.UNREADABLE: "the document or its signature cannot be read",
    Code.TOO_LARGE: "the document is larger than the limit",
    Code.TOO_COMPLEX: "the document is nested deeper, unpacks to more or holds more parts than the limit",
    Code.UNSUPPORTED: "this kind of signature or document is not checked by okienko",
    Code.CONTENT_MISSING: "the signature is detached: the file that it signs is needed beside it",
    Code.SEVERAL_SIGNATURES: "the document carries several signatures: a person has to look",
    Code.DIFFERENT_SIGNATORIES: "different persons signed the document: a person has to look whose application it is",
    Code.CHANGED: "the document was changed after it was signed",
    Code.SIGNATURE_INVALID: "the signature does not verify under its certificate",
    Code.APPENDED: "something was added to the document after it was signed",
    Code.PARTIAL_COVERAGE: "the signature covers a part of the document only",
    Code.WRAPPING: "what is signed is not what the document shows (signature wrapping)",
    Code.MALFORMED: "the signature is not in a form that one can be sure about",
    Code.FORBIDDEN_TRANSFORM: "the signature uses a transformation that is not on the list of allowed ones",
    Code.WEAK_ALGORITHM: "the signature uses an algorithm or a key that is too weak",
    Code.UNTRUSTED: "the certificate does not lead to a trusted root",
    Code.EXPIRED: "a certificate of the chain had expired",
    Code.NOT_YET_VALID: "a certificate of the chain was not valid yet",
    Code.REVOKED: "a certificate of the chain is revoked",
    Code.REVOCATION_UNKNOWN: "whether the certificate is revoked cannot be told: its issuer's CRL is missing",
    Code.CRL_STALE: "whether the certificate is revoked cannot be told: its issuer's CRL is out of date",
    Code.CERTIFICATE_REFUSED: "the certificate chain breaks a rule of RFC 5280, or is not meant for signatures",
    Code.NOT_QUALIFIED: "the signature is neither qualified nor a podpis zaufany by a pinned seal",
    Code.PERSON_UNKNOWN: "the signature does not say in the known form which person signed",
    Code.WRONG_PERSON: "the signatory is not the applicant",
    Code.NOT_CONFIGURED: "no trust anchor is set up, so nothing can be trusted: see docs/signatures.md",
    Code.TRUSTED_LIST_STALE: "the trusted list is out of date: run `okienko trust update`",
    Code.TRUSTED_LIST_REFUSED: "the trusted list cannot be read, or its seal is not by a pinned signer",
    Code.TRUSTED_LIST_SIGNER_NOT_PINNED: "the trusted list is intact, but nobody pinned who may sign it",
    Code.HYBRID_PDF: "the PDF is a hybrid-reference file: different viewers may show different contents",
    Code.TIMED_OUT: "the check took longer than the limit",
    Code.CRASHED: "the check ended unexpectedly, or needed more memory than the limit",
}


def problem(code: Code, detail: str = "") -> SignatureProblem:
    """The problem with its sentence. `detail` must hold nothing that came from the document as text."""
    return SignatureProblem(code=code.value, text=f"{TEXTS[code]} ({detail})" if detail else TEXTS[code])


MOST_SIGNATURES = 10
"""Of one document; more are for a person."""


class Refused(Exception):  # noqa: N818  it is a finding about a document, not an error of ours
    """Ends the check of one document. Never leaves this package."""

    def __init__(self, code: Code, detail: str = "", *, missing: tuple[MissingFile, ...] = ()) -> None:
        super().__init__(code.value)
        self.code = code
        self.missing = missing
        self.problem = problem(code, detail)
