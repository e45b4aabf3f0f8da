"""ASiC-E and ASiC-S (ETSI EN 319 162-1): every file in the container is signed, by each XAdES or CAdES signature in it."""

from __future__ import annotations

import hmac
import re
from urllib.parse import unquote

from okienko.plugins.signature.cades import intact_over
from okienko.plugins.signature.cms import load_signed_data
from okienko.plugins.signature.formats import ASIC_TYPES
from okienko.plugins.signature.intact import Intact
from okienko.plugins.signature.problems import MOST_SIGNATURES, Code, Refused, problem
from okienko.plugins.signature.safexml import parse_xml
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.strictzip import read_zip
from okienko.plugins.signature.xades import open_xades
from okienko.plugins.signature.xmlalgorithms import DS, digest, strict_base64
from okienko.plugins.signatures import SignedFile

_MIMETYPE = "mimetype"
_XADES = re.compile(r"META-INF/[^/]*signatures[^/]*\.xml")
_MANIFEST = re.compile(r"META-INF/ASiCManifest[^/]*\.xml")
_CMS = re.compile(r"META-INF/[^/]*signature[^/]*\.p7s")
_ODF_MANIFEST = "META-INF/manifest.xml"
"""Lists media types for office programs; signs nothing and is not read."""
_ASIC = "{http://uri.etsi.org/02918/v1.2.1#}"


def is_container(document: bytes) -> bool:
    """Whether a ZIP is an ASiC: its first entry is `mimetype`, stored, with ASiC's media type (A.1)."""
    content = document[38 + int.from_bytes(document[28:30], "little") :][:100]
    return document[30:38] == b"mimetype" and any(content.startswith(kind) for kind in ASIC_TYPES)


def open_asice(document: bytes, settings: SignatureSettings) -> list[Intact]:
    """Check a container. Raises Refused with the reason; a ZIP that is no ASiC is not signed."""
    if not is_container(document):
        raise Refused(Code.NOT_SIGNED, "a ZIP file that is no ASiC container")
    files = read_zip(document, max_unpacked=settings.max_unpacked, max_parts=settings.max_parts)
    if files.get(_MIMETYPE) not in ASIC_TYPES:
        raise Refused(Code.MALFORMED, "its media type")
    payload = {name: c for name, c in files.items() if name != _MIMETYPE and not name.startswith("META-INF/")}
    meta = [name for name in files if name.startswith("META-INF/") and name != _ODF_MANIFEST]
    xades = [name for name in meta if _XADES.fullmatch(name)]
    manifests = [name for name in meta if _MANIFEST.fullmatch(name)]
    blobs = [name for name in meta if _CMS.fullmatch(name)]
    if not xades and not blobs:
        raise Refused(Code.NOT_SIGNED)
    if len(xades) + len(blobs) > MOST_SIGNATURES:
        raise Refused(Code.SEVERAL_SIGNATURES)
    if not payload:
        raise Refused(Code.NOT_SIGNED, "the container is empty")
    found = [pair for name in xades for pair in _by_xades(files[name], payload, settings)]
    if manifests:
        for blob, manifest in _paired(files, manifests, blobs, settings):
            found += _by_manifest(files[blob], files[manifest], payload, settings)
    else:
        found += [pair for blob in blobs for pair in _by_cms(files[blob], payload, settings)]
    strays = set(meta) - {*xades, *manifests, *blobs}
    return [_over(intact, covered, payload, strays) for intact, covered in found]


def _over(intact: Intact, covered: set[str], payload: dict[str, bytes], strays: set[str]) -> Intact:
    if strays or covered != set(payload):
        intact.problems.append(problem(Code.PARTIAL_COVERAGE, "the container holds a file that is not signed"))
    whole = "partial" if intact.problems else "whole"
    signed = tuple(SignedFile(name, "application/octet-stream", payload[name]) for name in payload if name in covered)
    return Intact(
        intact.certificate, intact.embedded, signed, whole, intact.signed_at, intact.statement, intact.problems
    )


_Found = list[tuple[Intact, set[str]]]
"""Signatures with the names of the files that each covers."""


def _paired(
    files: dict[str, bytes], manifests: list[str], blobs: list[str], settings: SignatureSettings
) -> list[tuple[str, str]]:
    """Each CMS signature with the one manifest that names it."""
    pairs = {}
    for manifest in manifests:
        root = parse_xml(files[manifest], max_depth=settings.max_depth)
        reference = root.find(_ASIC + "SigReference")
        blob = unquote(reference.get("URI") or "") if reference is not None else ""
        if root.tag != _ASIC + "ASiCManifest" or blob not in blobs or blob in pairs:
            raise Refused(Code.MALFORMED, "the manifest speaks of another signature")
        pairs[blob] = manifest
    if set(pairs) != set(blobs):
        raise Refused(Code.MALFORMED, "a signature without a manifest")
    return [(blob, pairs[blob]) for blob in blobs]


def _by_xades(xml: bytes, payload: dict[str, bytes], settings: SignatureSettings) -> _Found:
    try:
        found = open_xades(xml, "signatures.xml", settings, resolve=lambda uri: payload.get(_plain(uri)))
    except Refused as refused:
        if refused.code is Code.NOT_SIGNED:
            raise Refused(Code.MALFORMED, "a file for signatures holds none") from None
        raise
    return [(intact, {_plain(name) for name in intact.beside}) for intact in found]


def _by_manifest(blob: bytes, manifest: bytes, payload: dict[str, bytes], settings: SignatureSettings) -> _Found:
    found = _detached(blob, manifest, settings)
    root = parse_xml(manifest, max_depth=settings.max_depth)
    covered = set()
    for entry in root.findall(_ASIC + "DataObjectReference"):
        name = _plain(unquote(entry.get("URI") or ""))
        if name not in payload:
            raise Refused(Code.CONTENT_MISSING, "a signed file is not in the container")
        method = entry.find(DS + "DigestMethod")
        got = digest(None if method is None else method.get("Algorithm"), payload[name])
        if not hmac.compare_digest(got, strict_base64(entry.findtext(DS + "DigestValue") or "")):
            raise Refused(Code.CHANGED)
        covered.add(name)
    return [(intact, covered) for intact in found]


def _by_cms(blob: bytes, payload: dict[str, bytes], settings: SignatureSettings) -> _Found:
    """ASiC-S: the signature is over the one file."""
    if len(payload) != 1:
        raise Refused(Code.MALFORMED, "a simple container with more than one file")
    ((name, content),) = payload.items()
    return [(intact, {name}) for intact in _detached(blob, content, settings)]


def _detached(blob: bytes, content: bytes, settings: SignatureSettings) -> list[Intact]:
    signed_data = load_signed_data(blob)
    if signed_data["encap_content_info"]["content"].native is not None:
        raise Refused(Code.MALFORMED, "the signature holds a content of its own")
    return intact_over(SignedFile("", "application/octet-stream", content), signed_data, settings)


def _plain(name: str) -> str:
    return name.removeprefix("./")
