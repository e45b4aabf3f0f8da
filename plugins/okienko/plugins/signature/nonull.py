"""RSA PKCS#1 v1.5 signatures whose DigestInfo lacks the NULL parameter, accepted for pinned keys only.

The seal behind podpis zaufany signs `30 2f 30 0b 06 09 … 04 20 hash` where RFC 8017 (A.2.4) wants `30 31 30 0d 06 09 … 05 00
04 20 hash`. OpenSSL and everything upon it refuse that on purpose (openssl#17130, pyca/cryptography#5947). Nothing is parsed
here: the block recovered from the signature must equal this one encoding, byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PREFIXES = {
    "sha256": bytes.fromhex("302f300b0609608648016503040201" + "0420"),
    "sha384": bytes.fromhex("303f300b0609608648016503040202" + "0430"),
    "sha512": bytes.fromhex("304f300b0609608648016503040203" + "0440"),
}
"""DigestInfo without NULL, up to the hash (RFC 8017, A.2.4; RFC 5754, 2)."""


def spki_sha256(spki: bytes) -> str:
    """The pin of a public key: SHA-256 of its DER SubjectPublicKeyInfo, in hexadecimal."""
    return hashlib.sha256(spki).hexdigest()


UNPINNED = "its RSA encoding lacks the NULL, which is accepted from pinned seals only"
"""Said where a signature fails for that alone: perhaps the minister has a new seal, see docs/signatures.md."""


def verifies_without_null(spki: bytes, signature: bytes, digest: bytes, hash_name: str, pins: Collection[str]) -> bool:
    """Whether `signature` is the encoding without NULL of `digest`, by a key whose hash is in `pins`."""
    if spki_sha256(spki) not in pins or hash_name not in PREFIXES:
        return False
    key = serialization.load_der_public_key(spki)
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        block = key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
    except (InvalidSignature, ValueError):
        return False
    return hmac.compare_digest(block, PREFIXES[hash_name] + digest)
