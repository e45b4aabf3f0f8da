"""The built-in verifier of signed applications: PAdES, XAdES, CAdES and ASiC-E, qualified and podpis zaufany."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signatures import SignatureVerifier


@hookimpl
def okienko_signature_verifiers(ctx: PluginContext) -> Sequence[SignatureVerifier]:
    """One verifier, `signature`. Its libraries are imported when the first document comes, in the worker process."""
    from okienko.plugins.signature.verifier import DocumentVerifier

    return [DocumentVerifier(ctx.settings(SignatureSettings), ctx.now)]
