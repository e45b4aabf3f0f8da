"""CAdES (ETSI EN 319 122): `.p7m` with the content inside, `.p7s` beside its file."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from asn1crypto import cms
from asn1crypto import core as asn1

from okienko.plugins.signature.cms import HASHES, check_cms, load_signed_data
from okienko.plugins.signature.formats import cms_bytes
from okienko.plugins.signature.intact import Intact
from okienko.plugins.signature.problems import Code, Refused
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signatures import MissingFile, SignedFile


def open_cades(document: bytes, filename: str, settings: SignatureSettings, *, detached: bytes | None = None) -> Intact:
    """Check a CMS signature. `detached` is the signed file where the signature does not hold it. Raises Refused."""
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
    signature = check_cms(signed_data, lambda name: hashlib.new(name, content).digest(), settings.pinned_seals)
    return Intact(
        certificate=signature.certificate,
        embedded=signature.embedded,
        files=(SignedFile(PurePosixPath(filename).stem or filename, "application/octet-stream", content),),
        coverage="whole",
        signed_at=signature.signing_time,
    )


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
