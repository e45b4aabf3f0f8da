"""The test PKI: root, issuing authority, people, the minister's seal, and CRLs of every kind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def pesel(year: int, month: int, day: int, serial: int) -> str:
    """A number with a right check digit. Years from 2200 make persons who do not exist."""
    coded_month = month + {18: 80, 19: 0, 20: 20, 21: 40, 22: 60}[year // 100]
    digits = f"{year % 100:02}{coded_month:02}{day:02}{serial:04}"
    total = sum(w * int(d) for w, d in zip((1, 3, 7, 9, 1, 3, 7, 9, 1, 3), digits, strict=True))
    return digits + str(-total % 10)


JAN_PESEL = pesel(2244, 5, 14, 135)
ANNA_PESEL = pesel(2202, 7, 8, 362)
JAN = {
    "country": "PL",
    "given": "Jan",
    "family": "Wymyślony",
    "serial": f"PNOPL-{JAN_PESEL}",
    "common": "Jan Wymyślony",
}
ANNA = {
    "country": "PL",
    "given": "Anna",
    "family": "Niebyła",
    "serial": f"PNOPL-{ANNA_PESEL}",
    "common": "Anna Niebyła",
}
SEAL = {
    "country": "PL",
    "organization": "Ministerstwo Zmyślone",
    "organization_id": "VATPL-0000000000",
    "common": "Minister do spraw zmyślonych - pieczęć podpisu zaufanego",
}
_NAMES = {
    "country": NameOID.COUNTRY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organization_id": NameOID.ORGANIZATION_IDENTIFIER,
    "given": NameOID.GIVEN_NAME,
    "family": NameOID.SURNAME,
    "serial": NameOID.SERIAL_NUMBER,
    "common": NameOID.COMMON_NAME,
}


class _Statement(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar[list[Any]] = [("id", core.ObjectIdentifier), ("info", core.Any, {"optional": True})]


class _Statements(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _Statement


class _Oids(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.ObjectIdentifier


class _Countries(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.PrintableString


def qc_statements(
    kind: str | None = "sign", *, compliance: bool = True, device: bool = True, country: str | None = None
) -> x509.UnrecognizedExtension:
    """EN 319 412-5: compliance, QSCD, type (1 signature, 2 seal, 3 web), legislation."""
    statements: list[dict[str, Any]] = []
    if compliance:
        statements.append({"id": "0.4.0.1862.1.1"})
    if device:
        statements.append({"id": "0.4.0.1862.1.4"})
    if kind:
        oid = f"0.4.0.1862.1.6.{('sign', 'seal', 'web').index(kind) + 1}"
        statements.append({"id": "0.4.0.1862.1.6", "info": core.Any(_Oids([oid]))})
    if country:
        statements.append({"id": "0.4.0.1862.1.7", "info": core.Any(_Countries([country]))})
    return x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.5.5.7.1.3"), _Statements(statements).dump())


@dataclass(frozen=True)
class Identity:
    """A key and its certificate."""

    key: Key
    certificate: x509.Certificate
    issuer: x509.Certificate | None = None

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pin(self) -> str:
        spki = self.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(spki).hexdigest()


def authority(names: dict[str, str], issuer: Identity | None = None, depth: int | None = None) -> Identity:
    """A certificate authority, self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(names)
    signer = issuer or Identity(key, None)  # type: ignore[arg-type]
    builder = _builder(
        subject, issuer.certificate.subject if issuer else subject, key, NOW - 3000 * DAY, NOW + 3000 * DAY
    )
    builder = builder.add_extension(x509.BasicConstraints(True, depth), True)
    builder = builder.add_extension(_usage(ca=True), True)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), False)
    certificate = builder.sign(signer.key, hashes.SHA256())
    return Identity(key, certificate, issuer.certificate if issuer else certificate)


def person(
    names: dict[str, str],
    issuer: Identity,
    *,
    statements: x509.UnrecognizedExtension | None = None,
    begins: datetime = NOW - 30 * DAY,
    ends: datetime = NOW + 700 * DAY,
    key: Key | None = None,
    signs: bool = True,
) -> Identity:
    """A certificate for a person or a seal."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(names), issuer.certificate.subject, key, begins, ends)
    builder = builder.add_extension(x509.BasicConstraints(False, None), True)
    builder = builder.add_extension(_usage(ca=False, signs=signs), True)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)
    builder = builder.add_extension(
        x509.CRLDistributionPoints(
            [x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.invalid/ca.crl")], None, None, None)]
        ),
        False,
    )
    if statements is not None:
        builder = builder.add_extension(statements, False)
    return Identity(key, builder.sign(issuer.key, hashes.SHA256()), issuer.certificate)  # type: ignore[arg-type]


def crl(
    issuer: Identity,
    revoked: list[Identity] | None = None,
    *,
    issued: datetime = NOW - timedelta(hours=1),
    next_update: datetime = NOW + 7 * DAY,
) -> bytes:
    """A revocation list in DER."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(issued).next_update(next_update).add_extension(x509.CRLNumber(1), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)
    for identity in revoked or ():
        entry = x509.RevokedCertificateBuilder().serial_number(identity.certificate.serial_number)
        entry = entry.revocation_date(NOW - 5 * DAY)
        builder = builder.add_revoked_certificate(
            entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), False).build()
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]


@dataclass
class Pki:
    """Everything that the tests sign and check with, on disk under `folder`."""

    folder: Path
    people: dict[str, Identity] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Identity:
        return self.people[name]

    def environ(self, **changes: str) -> dict[str, str]:
        """The plugin's variables for this PKI; `changes` by the setting's name."""
        base = {
            "ANCHORS": f'["{self.folder / "root.pem"}"]',
            "INTERMEDIATES": f'["{self.folder / "ca.pem"}"]',
            "CRL_DIR": str(self.folder / "crl"),
            "PINNED_SEALS": f'["{self["seal"].pin}"]',
        } | {name.upper(): value for name, value in changes.items()}
        return {f"OKIENKO_SIGNATURE_{name}": value for name, value in base.items() if value}


def make_pki(folder: Path) -> Pki:
    """Make all of it; a second or two for the RSA keys."""
    pki = Pki(folder)
    root_names = {
        "country": "PL",
        "organization": "Zmyślone Centrum",
        "common": "Zmyślone Narodowe Centrum Certyfikacji",
    }
    ca_names = {"country": "PL", "organization": "Zmyślony QTSP", "common": "Zmyślone Centrum Kwalifikowane"}
    root = authority(root_names)
    ca = authority(ca_names, root, 0)
    evil_root = authority(root_names)
    evil_ca = authority(ca_names, evil_root, 0)
    other_ca = authority(ca_names | {"common": "Zmyślone Centrum Bez CRL"}, root, 0)
    stale_ca = authority(ca_names | {"common": "Zmyślone Centrum Ze Starą CRL"}, root, 0)
    revoked_ca = authority(ca_names | {"common": "Zmyślone Centrum Unieważnione"}, root, 0)
    qualified = qc_statements()
    rsa_key = rsa.generate_private_key(65537, 2048)
    pki.people = {
        "root": root, "ca": ca, "evil_root": evil_root, "evil_ca": evil_ca, "other_ca": other_ca, "stale_ca": stale_ca,
        "revoked_ca": revoked_ca,
        "jan": person(JAN, ca, statements=qualified),
        "jan_rsa": person(JAN, ca, statements=qualified, key=rsa_key),
        "anna": person(ANNA, ca, statements=qualified),
        "anna_rsa": person(ANNA, ca, statements=qualified, key=rsa.generate_private_key(65537, 2048)),
        "jan_evil": person(JAN, evil_ca, statements=qualified),
        "jan_expired": person(JAN, ca, statements=qualified, begins=NOW - 900 * DAY, ends=NOW - 10 * DAY),
        "jan_future": person(JAN, ca, statements=qualified, begins=NOW + 10 * DAY),
        "jan_revoked": person(JAN, ca, statements=qualified),
        "jan_no_crl": person(JAN, other_ca, statements=qualified),
        "jan_stale": person(JAN, stale_ca, statements=qualified),
        "jan_revoked_ca": person(JAN, revoked_ca, statements=qualified),
        "jan_unqualified": person(JAN, ca),
        "jan_no_device": person(JAN, ca, statements=qc_statements(device=False)),
        "jan_foreign_law": person(JAN, ca, statements=qc_statements(country="UA")),
        "jan_wrong_usage": person(JAN, ca, statements=qualified, signs=False),
        "jan_short": person(JAN, ca, statements=qualified, key=rsa.generate_private_key(65537, 1024)),  # noqa: S505  refused, that is the test
        "stranger": person({"country": "CZ", "given": "Josef", "family": "Smyšlený", "serial": "IDCCZ-000", "common": "J S"}, ca, statements=qualified),
        "seal": person(SEAL, ca, statements=qc_statements(None), key=rsa.generate_private_key(65537, 2048)),
        "other_seal": person(SEAL, ca, statements=qc_statements("seal"), key=rsa.generate_private_key(65537, 2048)),
        "list_signer": authority({"country": "PL", "common": "Zmyślony podpis listy"}),
    }  # fmt: skip
    for name, identity in pki.people.items():
        (folder / f"{name}.pem").write_bytes(identity.certificate.public_bytes(serialization.Encoding.PEM))
    crls = folder / "crl"
    crls.mkdir()
    (crls / "root.crl").write_bytes(crl(root, [revoked_ca]))
    (crls / "ca.crl").write_bytes(crl(ca, [pki["jan_revoked"]]))
    (crls / "stale_ca.crl").write_bytes(crl(stale_ca, issued=NOW - 40 * DAY, next_update=NOW - 33 * DAY))
    (crls / "revoked_ca.crl").write_bytes(crl(revoked_ca))
    return pki


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _name(names: dict[str, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(_NAMES[kind], value) for kind, value in names.items()])


def _usage(*, ca: bool, signs: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False, content_commitment=not ca and signs, key_encipherment=not ca and not signs,
        data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
