"""One CMS signature (RFC 5652, ETSI EN 319 122): its form, its certificate, its arithmetic. Trust comes later."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asn1crypto import cms, parser, x509
from asn1crypto import core as asn1
from cryptography.exceptions import InvalidSignature
from pyhanko.sign.general import CMSExtractionError, CMSStructuralError, SignedDataCerts
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.generic_cms import (
    extract_certs_for_validation,
    extract_self_reported_ts,
    validate_sig_integrity,
)
from pyhanko_certvalidator.sig_validate import (
    DEFAULT_VALIDATION_CONTEXT,
    DefaultSignatureValidator,
    SignatureValidationContext,
    SignatureValidator,
)

from okienko.plugins.signature.certificates import load_certificate
from okienko.plugins.signature.intact import aware
from okienko.plugins.signature.nonull import UNPINNED, spki_sha256, verifies_without_null
from okienko.plugins.signature.problems import MOST_SIGNATURES, Code, Refused

HASHES = ("sha256", "sha384", "sha512")
_SCHEMES = ("rsassa_pkcs1v15", "rsassa_pss", "ecdsa")
_MIN_RSA_BITS = 2048


class PinnedNoNull(SignatureValidator):
    """pyHanko's validator, and for pinned keys the encoding without NULL as well (see `nonull`)."""

    def __init__(self, pins: Collection[str]) -> None:
        self._pins = pins
        self.would_need_pin = False
        self._standard = DefaultSignatureValidator()

    def validate_signature(
        self,
        signature: bytes,
        signed_data: bytes,
        public_key_info: Any,
        signature_algorithm: Any,
        context: SignatureValidationContext = DEFAULT_VALIDATION_CONTEXT,
    ) -> None:
        """See SignatureValidator. Raises InvalidSignature."""
        import hashlib

        try:
            self._standard.validate_signature(signature, signed_data, public_key_info, signature_algorithm, context)
        except InvalidSignature:
            name = _hash_of(signature_algorithm) or context.contextual_md_algorithm or ""
            if name not in HASHES or signature_algorithm.signature_algo != "rsassa_pkcs1v15":
                raise
            digest = signed_data if context.prehashed else hashlib.new(name, signed_data).digest()
            spki = public_key_info.dump()
            if not verifies_without_null(spki, signature, digest, name, self._pins):
                self.would_need_pin = verifies_without_null(spki, signature, digest, name, {spki_sha256(spki)})
                raise


@dataclass(frozen=True)
class CmsSignature:
    """A signature that verifies."""

    certificate: x509.Certificate
    embedded: tuple[x509.Certificate, ...]
    signing_time: datetime | None


def load_signed_data(octets: bytes) -> cms.SignedData:
    """The SignedData in exactly these octets. Raises Refused for anything else and for anything after it."""
    try:
        # asn1crypto does not look at the outermost tag.
        info = cms.ContentInfo.load(octets if octets[:1] == b"\x30" else b"", strict=True)
        # Nor does it mind what stands behind the last part of a sequence.
        if not _has_parts(info.contents, 2):
            raise Refused(Code.MALFORMED, "its CMS holds more than a signature")
        if info["content_type"].native != "signed_data":
            raise Refused(Code.UNSUPPORTED, "a CMS that is not SignedData")
        return info["content"]
    except (ValueError, TypeError, KeyError):
        raise Refused(Code.UNREADABLE, "its CMS cannot be read") from None


def encoded_length(octets: bytes, start: int = 0) -> int:
    """Where the BER value that begins at `start` ends. Raises ValueError when it is cut off."""
    _, end = parser._parse(octets, len(octets), start)  # noqa: SLF001  the public one does not tell the length
    return int(end)


def _has_parts(octets: bytes, count: int) -> bool:
    """Whether the octets are exactly so many BER values."""
    place = 0
    for _ in range(count):
        place = encoded_length(octets, place)
    return place == len(octets)


def one_by_one(signed_data: cms.SignedData) -> list[cms.SignedData]:
    """For each signer a SignedData with this one only, for `check_cms`. Raises Refused for too many of them."""
    try:
        signers = list(signed_data["signer_infos"])
        if len(signers) <= 1:
            return [signed_data]
        if len(signers) > MOST_SIGNATURES:
            raise Refused(Code.SEVERAL_SIGNATURES)
        used = [signer["digest_algorithm"]["algorithm"].native for signer in signers]
        named = [algorithm["algorithm"].native for algorithm in signed_data["digest_algorithms"]]
        if sorted(named) != sorted(set(used)):
            raise Refused(Code.MALFORMED, "its digest algorithms do not fit together")
        return [_alone(signed_data, signer) for signer in signers]
    except (ValueError, TypeError, KeyError):
        raise Refused(Code.MALFORMED, "its CMS is broken") from None


def _alone(signed_data: cms.SignedData, signer: cms.SignerInfo) -> cms.SignedData:
    alone = signed_data.copy()
    name = signer["digest_algorithm"]["algorithm"].native
    alone["signer_infos"] = cms.SignerInfos([signer])
    algorithms = [a for a in signed_data["digest_algorithms"] if a["algorithm"].native == name]
    alone["digest_algorithms"] = cms.DigestAlgorithms(algorithms)
    return alone


def check_cms(signed_data: cms.SignedData, digest_of: Callable[[str], bytes], pins: Collection[str]) -> CmsSignature:
    """Verify the one signature of `signed_data` over content whose digest `digest_of` computes. Raises Refused."""
    try:
        signers = signed_data["signer_infos"]
        if len(signers) == 0:
            raise Refused(Code.NOT_SIGNED)
        if len(signers) > 1:
            raise Refused(Code.SEVERAL_SIGNATURES)
        signer = signers[0]
        certificates = extract_certs_for_validation(signed_data)
        _refuse_loose_form(signed_data, signer, certificates.signer_cert)
        for certificate in (certificates.signer_cert, *certificates.other_certs):
            load_certificate(certificate.dump())
        _refuse_weak(signer, certificates.signer_cert)
        validator = PinnedNoNull(pins)
        intact, valid = validate_sig_integrity(
            signer, certificates.signer_cert, signed_data["encap_content_info"]["content_type"].native,
            digest_of(signer["digest_algorithm"]["algorithm"].native), sig_validator=validator,
        )  # fmt: skip
        if not intact:
            raise Refused(Code.CHANGED)
        if not valid:
            raise Refused(Code.SIGNATURE_INVALID, UNPINNED if validator.would_need_pin else "")
        return _signature(signer, certificates)
    except (SignatureValidationError, CMSStructuralError):
        raise Refused(Code.CHANGED, "its signed attributes do not belong to it") from None
    except CMSExtractionError:
        raise Refused(Code.MALFORMED, "the parts of its CMS do not fit together") from None
    except (ValueError, TypeError, KeyError, NotImplementedError, InvalidSignature, OverflowError):
        raise Refused(Code.MALFORMED, "its CMS is broken") from None


def _signature(signer: cms.SignerInfo, certificates: SignedDataCerts) -> CmsSignature:
    return CmsSignature(
        certificates.signer_cert, tuple(certificates.other_certs), aware(extract_self_reported_ts(signer))
    )


def _refuse_loose_form(signed_data: cms.SignedData, signer: cms.SignerInfo, certificate: x509.Certificate) -> None:
    """What no signature protects must be what RFC 5652 demands, so that no octet of it is free."""
    attributes = signer["signed_attrs"]
    if attributes is asn1.VOID or not len(attributes):
        raise Refused(Code.UNSUPPORTED, "a CMS signature without signed attributes")
    kinds = [attribute["type"].native for attribute in attributes]
    if len(set(kinds)) != len(kinds):
        raise Refused(Code.MALFORMED, "a signed attribute stands twice")
    if not {"signing_certificate", "signing_certificate_v2"} & set(kinds):
        raise Refused(Code.UNSUPPORTED, "a CMS signature that does not name its certificate (no AdES)")
    by_issuer = signer["sid"].name == "issuer_and_serial_number"
    if signer["version"].native != ("v1" if by_issuer else "v3"):
        raise Refused(Code.MALFORMED, "a wrong version (RFC 5652, 5.3)")
    if by_issuer and signer["sid"].chosen["issuer"].dump() != certificate.issuer.dump():
        raise Refused(Code.MALFORMED, "it names the issuer otherwise than the certificate does")
    plain = signed_data["encap_content_info"]["content_type"].native == "data" and by_issuer
    if signed_data["version"].native not in (("v1",) if plain else ("v3", "v4", "v5")):
        raise Refused(Code.MALFORMED, "a wrong version (RFC 5652, 5.1)")
    algorithms = [a["algorithm"].native for a in signed_data["digest_algorithms"]]
    if algorithms != [signer["digest_algorithm"]["algorithm"].native]:
        raise Refused(Code.MALFORMED, "its digest algorithms do not fit together")
    for algorithm in (*signed_data["digest_algorithms"], signer["digest_algorithm"]):
        _refuse_parameters(algorithm)
    if signer["signature_algorithm"].signature_algo != "rsassa_pss":
        _refuse_parameters(signer["signature_algorithm"])


def _refuse_parameters(algorithm: Any) -> None:
    parameters = algorithm["parameters"]
    if parameters is not asn1.VOID and parameters.dump() not in (b"", b"\x05\x00"):
        raise Refused(Code.MALFORMED, "parameters where none belong")


def _refuse_weak(signer: cms.SignerInfo, certificate: x509.Certificate) -> None:
    algorithm = signer["signature_algorithm"]
    name = signer["digest_algorithm"]["algorithm"].native
    if name not in HASHES or algorithm.signature_algo not in _SCHEMES or _hash_of(algorithm) not in (None, name):
        raise Refused(Code.WEAK_ALGORITHM)
    key = certificate.public_key
    if key.algorithm in ("rsa", "rsassa_pss") and key.bit_size < _MIN_RSA_BITS:
        raise Refused(Code.WEAK_ALGORITHM, f"an RSA key below {_MIN_RSA_BITS} bits")


def _hash_of(algorithm: Any) -> str | None:
    """The hash that the signature algorithm names itself; None for plain rsaEncryption, which leaves it to the context."""
    try:
        name: str = algorithm.hash_algo
    except ValueError:
        return None
    return name
