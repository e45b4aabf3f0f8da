"""PAdES (ETSI EN 319 142): a signature that covers the file from its first to its last octet, and perhaps earlier ones."""

from __future__ import annotations

import io
from typing import Any

from pyhanko.pdf_utils.generic import IndirectObject
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import DEFAULT_DIFF_POLICY, DiffResult, ModificationLevel, SuspiciousModification
from pyhanko.sign.general import CMSExtractionError
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import SignatureCoverageLevel

from okienko.plugins.signature.cms import check_cms, encoded_length, load_signed_data
from okienko.plugins.signature.intact import Intact, aware
from okienko.plugins.signature.podpis_zaufany import from_reason
from okienko.plugins.signature.problems import MOST_SIGNATURES, Code, Refused, problem
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signatures import SignatureProblem, SignedFile

_SUB_FILTERS = ("/ETSI.CAdES.detached", "/adbe.pkcs7.detached")


def open_pades(document: bytes, filename: str, settings: SignatureSettings) -> list[Intact]:
    """Check the signatures of a PDF, in their order. Raises Refused with the reason."""
    try:
        # Not strict: the real podpis zaufany is put on hybrid-reference files that Word writes.
        reader = PdfFileReader(io.BytesIO(document), strict=False)
        *earlier, last = _signatures(reader)
        # The last one first: it covers everything, and a digest is cheaper than to hold revisions against each other.
        covering = _check(document, filename, settings, reader, last, last=True)
        opened = [_check(document, filename, settings, reader, embedded, last=False) for embedded in earlier]
        for embedded in earlier:
            _refuse_other_changes(embedded)
        return [*opened, covering]
    except Refused:
        raise
    except (SignatureValidationError, SuspiciousModification, CMSExtractionError):
        raise Refused(Code.MALFORMED, "its signature cannot be read") from None
    except (PdfError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError):
        raise Refused(Code.UNREADABLE, "it is not a readable PDF") from None


def _signatures(reader: PdfFileReader) -> list[EmbeddedPdfSignature]:
    """At least one, in the order in which they were put on."""
    if reader.encrypted:
        raise Refused(Code.UNSUPPORTED, "an encrypted PDF")
    if not reader.embedded_signatures:
        raise Refused(Code.NOT_SIGNED)
    regular: list[EmbeddedPdfSignature] = list(reader.embedded_regular_signatures)
    if not regular:
        raise Refused(Code.NOT_SIGNED, "it carries a timestamp only")
    if len(regular) == 1:
        return regular
    if len(regular) > MOST_SIGNATURES:
        raise Refused(Code.SEVERAL_SIGNATURES)
    if len(regular) < len(reader.embedded_signatures):
        raise Refused(Code.SEVERAL_SIGNATURES, "with a timestamp between them")
    if reader.xrefs.hybrid_xrefs_present:
        raise Refused(Code.SEVERAL_SIGNATURES, "in a hybrid-reference file, whose changes cannot be told for sure")
    return sorted(regular, key=lambda embedded: int(embedded.byte_range[2]) + int(embedded.byte_range[3]))


def _refuse_other_changes(embedded: Any) -> None:
    """After an earlier signature only signatures may have come, and values of form fields, which the last one covers."""
    embedded.compute_integrity_info(diff_policy=DEFAULT_DIFF_POLICY)
    if embedded.coverage is not SignatureCoverageLevel.ENTIRE_REVISION:
        raise Refused(Code.PARTIAL_COVERAGE)
    changes = embedded.diff_result
    if not isinstance(changes, DiffResult) or changes.modification_level > ModificationLevel.FORM_FILLING:
        raise Refused(Code.APPENDED)
    allowed = embedded.docmdp_level
    if allowed is not None and changes.modification_level.value > allowed.value:
        raise Refused(Code.APPENDED, "though an earlier signature forbids it")


def _check(
    document: bytes,
    filename: str,
    settings: SignatureSettings,
    reader: PdfFileReader,
    embedded: EmbeddedPdfSignature,
    *,
    last: bool,
) -> Intact:
    entry = embedded.sig_object
    if str(entry.get("/SubFilter", "")) not in _SUB_FILTERS:
        raise Refused(Code.UNSUPPORTED, "a PDF signature that is not CMS-based")
    first, end, problems = _range(document, embedded)
    octets = _contents(document[first:end], bytes(embedded.pkcs7_content))
    _refuse_elsewhere(document, first, reader, embedded)
    signature = check_cms(load_signed_data(octets), embedded.compute_digest, settings.pinned_seals)
    covered = end + int(embedded.byte_range[3])
    if last and covered < len(document):
        problems.append(problem(Code.APPENDED))
    elif last and not problems and embedded.evaluate_signature_coverage() is not SignatureCoverageLevel.ENTIRE_FILE:
        problems.append(problem(Code.PARTIAL_COVERAGE))
    warnings = [problem(Code.HYBRID_PDF)] if reader.xrefs.hybrid_xrefs_present else []
    whole = not problems
    return Intact(
        certificate=signature.certificate,
        embedded=signature.embedded,
        # Of several, the last one covers the file, and only signatures came since the others.
        files=(SignedFile(filename, "application/pdf", document),) if whole else (),
        coverage="whole" if whole else "partial",
        signed_at=signature.signing_time or aware(embedded.self_reported_timestamp),
        statement=from_reason(_text(entry, "/Reason"), _text(entry, "/Name")),
        problems=[*problems, *warnings],
    )


def _range(document: bytes, embedded: EmbeddedPdfSignature) -> tuple[int, int, list[SignatureProblem]]:
    """Where the hole of the /ByteRange begins and ends (ISO 32000-2, 12.8.1), and what is wrong with it."""
    numbers = [int(number) for number in embedded.byte_range]
    if len(numbers) != 4 or any(number < 0 for number in numbers):
        raise Refused(Code.MALFORMED, "its ByteRange is broken")
    start, length, end, rest = numbers
    if length > end or end + rest > len(document):
        raise Refused(Code.MALFORMED, "its ByteRange leads out of the file")
    problems = [problem(Code.PARTIAL_COVERAGE)] if start else []
    return start + length, end, problems


def _refuse_elsewhere(document: bytes, first: int, reader: PdfFileReader, embedded: EmbeddedPdfSignature) -> None:
    """The dictionary that is read (/Reason, /Name) must be the very one that the hole is in.

    Who prepares a PDF for the minister's seal can put a dictionary of their own into it, and tables that lead there.
    """
    reference = embedded.sig_field.raw_get("/V")
    place = reader.xrefs[reference.reference] if isinstance(reference, IndirectObject) else None
    if not isinstance(place, int) or not 0 <= place < first or b"endobj" in document[place:first]:
        raise Refused(Code.WRAPPING, "the signature's dictionary stands in another place than the signature")


def _contents(hole: bytes, parsed: bytes) -> bytes:
    """The CMS in the hole, without its padding. Nothing else may stand in the hole, as nothing covers it."""
    if hole[:1] != b"<" or hole[-1:] != b">":
        raise Refused(Code.PARTIAL_COVERAGE, "its ByteRange leaves out more than the signature")
    digits = hole[1:-1]
    if not (set(digits) <= set(b"0123456789abcdef") or set(digits) <= set(b"0123456789ABCDEF")) or len(digits) % 2:
        raise Refused(Code.MALFORMED, "the hole of its ByteRange holds more than hexadecimal digits")
    octets = bytes.fromhex(digits.decode("ascii"))
    if octets != parsed:
        raise Refused(Code.WRAPPING, "the signature stands in another place than its ByteRange leaves out")
    try:
        length = encoded_length(octets)
    except (ValueError, IndexError):
        raise Refused(Code.UNREADABLE, "its CMS cannot be read") from None
    if any(octets[length:]):
        raise Refused(Code.MALFORMED, "something stands behind the signature in its padding")
    return octets[:length]


def _text(entry: Any, key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) else None
