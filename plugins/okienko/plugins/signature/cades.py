"""CAdES (ETSI EN 319 122): `.p7m` with the content inside, `.p7s` beside its file."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from asn1crypto import cms
from asn1crypto import core as asn1

from okienko.plugins.signature.cms import HASHES, check_cms, load_signed_data, one_by_one
from okienko.plugins.signature.formats import cms_bytes
from okienko.plugins.signature.intact import Intact
from okienko.plugins.signature.problems import Code, Refused
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signatures import MissingFile, SignedFile


def open_cades(
    document: bytes, filename: str, settings: SignatureSettings, *, detached: bytes | None = None
) -> list[Intact]:
    """Check the signatures of a CMS. `detached` is the signed file where the signature does not hold it. Raises Refused."""
    octets = cms_bytes(document)
    if octets is None:
        raise Refused(Code.UNREADABLE, "its CMS cannot be read")
    signed_data = load_signed_data(octets)
    try:
        inner = signed_data["encap_content_info"]["content"]
        attached = None if inner is asn1.VOID or inner.native is None else inner.native
    except (ValueError, TypeError, KeyError):
        raise Refused(Code.UNREADABLE, "its CMS cannot be read") from None
    if attached is not None and not isinstance(attached, bytes):
        raise Refused(Code.UNSUPPORTED, "a CMS that does not hold plain data")
    if attached is not None and detached is not None and attached != detached:
        raise Refused(Code.CHANGED, "the signature holds another file than the one beside it")
    content = attached if attached is not None else detached
    if content is None:
        raise Refused(Code.CONTENT_MISSING, missing=_signed_elsewhere(signed_data))
    file = SignedFile(PurePosixPath(filename).stem or filename, "application/octet-stream", content)
    return intact_over(file, signed_data, settings)


def intact_over(file: SignedFile, signed_data: cms.SignedData, settings: SignatureSettings) -> list[Intact]:
    """Every signature of `signed_data` over the file. Raises Refused."""
    found = [
        check_cms(alone, lambda name: hashlib.new(name, file.content).digest(), settings.pinned_seals)
        for alone in one_by_one(signed_data)
    ]
    return [Intact(s.certificate, s.embedded, (file,), "whole", s.signing_time) for s in found]


def _signed_elsewhere(signed_data: cms.SignedData) -> tuple[MissingFile, ...]:
    """The content by the message-digest attribute (RFC 5652, 11.2) of the first signer, if it can be read."""
    try:
        signer = signed_data["signer_infos"][0]
        name = signer["digest_algorithm"]["algorithm"].native
        found = [a["values"][0].native for a in signer["signed_attrs"] if a["type"].native == "message_digest"]
    except (ValueError, TypeError, KeyError, IndexError):
        return ()
    if name not in HASHES or len(found) != 1 or not isinstance(found[0], bytes):
        return ()
    return (MissingFile(name, found[0]),)
