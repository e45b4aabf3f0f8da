"""Several signatures in one document: one, if every one of them is valid, by the same person, and over the same octets."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.plugins.signature.problems import WARNINGS, Code, problem
from okienko.plugins.signatures import SignatureProblem, SignatureReport, Verification


def combine(found: Sequence[Verification]) -> Verification:
    """One verification for all signatures of a document, in their order; `found` is not empty.

    A signature that does not count makes the whole not count, with its reasons: who added it wanted something by it. Of
    different persons, and where it cannot be told, a human decides whose application it is. What is said of a valid whole is
    what the last signature says.
    """
    if len(found) == 1:
        return found[0]
    for number, verification in enumerate(found, 1):
        if not verification.report.valid:
            where = f"signature {number} of {len(found)}"
            reasons = tuple(
                SignatureProblem(code=p.code, text=f"{p.text} ({where})")
                for p in verification.report.problems
                if p.code not in WARNINGS
            )
            return Verification(verification.report.model_copy(update={"problems": reasons}))
    last = found[-1].report
    numbers = [v.report.signatory.pesel if v.report.signatory else None for v in found]
    known = {number for number in numbers if number is not None}
    if len(known) > 1:
        return _for_a_human(last, problem(Code.DIFFERENT_SIGNATORIES))
    if None in numbers:
        return _for_a_human(
            last, problem(Code.SEVERAL_SIGNATURES, "without a PESEL, one person cannot be told from two")
        )
    if any(_octets(v) != _octets(found[0]) for v in found):
        return _for_a_human(last, problem(Code.SEVERAL_SIGNATURES, "they do not sign the same"))
    warnings = tuple(dict.fromkeys((p.code, p.text) for v in found for p in v.report.problems))
    report = last.model_copy(update={"problems": tuple(SignatureProblem(code=c, text=t) for c, t in warnings)})
    return Verification(report, found[-1].signed)


def _octets(verification: Verification) -> list[bytes]:
    return sorted(file.content for file in verification.signed)


def _for_a_human(report: SignatureReport, why: SignatureProblem) -> Verification:
    """Nobody is named then: whose application it is, is the question."""
    return Verification(report.model_copy(update={"valid": False, "signatory": None, "problems": (why,)}))
