"""The documents of one mail: a detached signature finds its file by the digest, whatever the two are called."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from okienko.core import documents
from okienko.core.verifying import Checked, Verifying
from okienko.plugins.signatures import (
    Application,
    MissingFile,
    SignatureFormat,
    SignatureReport,
    Verification,
)
from okienko.schemas import Attachment
from signing.cms import plain_pdf, sign_cms, sign_pdf
from signing.pki import Pki, make_pki
from signing.xml import APPLICATION, detached

PDF = plain_pdf(("Imie: Jan", "Nazwisko: Wymyslony", "Dotychczasowy adres: a@poczta.invalid", "Nowy adres: b@poczta.invalid"))  # fmt: skip
File = tuple[str, bytes]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(Path(tmp_path_factory.mktemp("pki")))


@pytest.fixture
async def verifying(pki: Pki, tmp_path: Path) -> AsyncIterator[Verifying]:
    made = Verifying(pki.environ(), tmp_path)
    yield made
    await made.close()


class Mail:
    """Attachments, and how often each was read."""

    def __init__(self, files: Sequence[File]) -> None:
        self.files = files
        self.reads: Counter[int] = Counter()
        self.attachments = [
            Attachment(index=n, filename=name, content_type="application/pdf", size=len(octets), sha256=hashlib.sha256(octets).hexdigest())
            for n, (name, octets) in enumerate(files)
        ]  # fmt: skip

    async def read(self, attachment: Attachment) -> bytes:
        self.reads[attachment.index] += 1
        return self.files[attachment.index][1]


async def look(verifying: Any, files: Sequence[File]) -> Checked:
    mail = Mail(files)
    found = await documents.first_that_counts(mail.attachments, mail.read, verifying, lambda: datetime.now(UTC))
    assert found is not None
    return found


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", ["wniosek.pdf.p7s", "wniosek.sig", "zupelnie inaczej.p7m"])
async def test_a_cms_signature_and_its_file(pki: Pki, verifying: Verifying, name: str, order: int) -> None:
    files = [("wniosek.pdf", PDF), (name, sign_cms(PDF, pki["jan"])), ("inny.pdf", PDF + b"\n")][::order]
    found = await look(verifying, files)
    assert found.verification.report.valid
    assert [f.content for f in found.verification.signed] == [PDF]
    assert (found.application.given_name, found.application.new_login) == ("Jan", "b@poczta.invalid")


async def test_an_xml_signature_and_its_file(pki: Pki, verifying: Verifying) -> None:
    """The name in the reference is not the attachment's."""
    files = [("podpis.xades", detached(pki["jan"], {"wniosek.xml": APPLICATION.encode()})), ("skan(1).xml", APPLICATION.encode())]  # fmt: skip
    found = await look(verifying, files)
    assert found.verification.report.valid
    assert found.application.new_login == "jan.nowy@poczta.invalid"


async def test_a_namesake_with_other_octets_is_not_taken(pki: Pki, verifying: Verifying) -> None:
    found = await look(verifying, [("wniosek.pdf", PDF + b"\n"), ("wniosek.pdf.p7s", sign_cms(PDF, pki["jan"]))])
    assert [p.code for p in found.verification.report.problems] == ["content_missing"]
    assert (found.verification.signed, found.application) == ((), Application())


async def test_only_the_signed_file_is_read_as_data(pki: Pki, verifying: Verifying) -> None:
    """Another file of the mail, which nobody signed, says something else."""
    forged = APPLICATION.replace("jan.nowy", "zlodziej").encode()
    files = [("wniosek.xml", forged), ("wniosek.xml.p7s", sign_cms(APPLICATION.encode(), pki["jan"])), ("w", APPLICATION.encode())]  # fmt: skip
    found = await look(verifying, files)
    assert found.application.new_login == "jan.nowy@poczta.invalid"


async def test_a_bad_signature_over_the_right_file(pki: Pki, verifying: Verifying) -> None:
    found = await look(verifying, [("a.pdf", PDF), ("a.p7s", sign_cms(PDF, pki["jan_revoked"]))])
    assert [p.code for p in found.verification.report.problems] == ["revoked"]


async def test_the_first_that_counts(pki: Pki, verifying: Verifying) -> None:
    signed = sign_pdf(PDF, pki["anna"])
    files = [("a.pdf", PDF), ("a.p7s", sign_cms(PDF, pki["jan_revoked"])), ("b.pdf", signed), ("c.p7s", sign_cms(PDF, pki["jan"]))]  # fmt: skip
    found = await look(verifying, files)
    assert found.verification.signed[0].content == signed


class Asking:
    """Every document is a signature over a file that is not there, or over the last attachment."""

    def __init__(self, missing: tuple[MissingFile, ...]) -> None:
        self.missing = missing
        self.given: list[bytes | None] = []

    async def verify(self, document: bytes, filename: str, at: datetime, *, detached: bytes | None = None) -> Checked:
        self.given.append(detached)
        report = SignatureReport(valid=False, format=SignatureFormat.CADES)
        return Checked(Verification(report, missing=() if detached else self.missing), Application())


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_many_signatures_hash_each_file_once(algorithm: str) -> None:
    files = [(f"{n}", b"%d" % n) for n in range(documents.MOST + 5)]
    mail = Mail(files)
    asking = Asking((MissingFile(algorithm, b"\0" * 32),))
    await documents.first_that_counts(mail.attachments, mail.read, asking, lambda: datetime.now(UTC))  # type: ignore[arg-type]
    assert len(asking.given) == documents.MOST
    assert set(mail.reads) == set(range(documents.MOST))
    assert set(mail.reads.values()) == {1 if algorithm == "sha256" else 2}


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ((MissingFile("sha512", hashlib.sha512(b"plik").digest()),), b"plik"),
        ((MissingFile("md5", hashlib.md5(b"plik").digest()),), None),  # noqa: S324  not taken, that is the test
        ((MissingFile("sha256", hashlib.sha256(b"plik").digest()), MissingFile("sha256", b"x" * 32)), None),
        # A document is not the file of its own signature.
        ((MissingFile("sha256", hashlib.sha256(b"podpis").digest()),), None),
    ],
)
async def test_what_is_paired(missing: tuple[MissingFile, ...], found: bytes | None) -> None:
    mail, asking = Mail([("podpis.p7s", b"podpis"), ("plik", b"plik")]), Asking(missing)
    await documents.first_that_counts(mail.attachments[:1], mail.read, asking, lambda: datetime.now(UTC))  # type: ignore[arg-type]
    assert asking.given == [None]
    asking.given.clear()
    await documents.first_that_counts(mail.attachments, mail.read, asking, lambda: datetime.now(UTC))  # type: ignore[arg-type]
    assert asking.given[:2] == [None, found]


async def test_nothing_to_look_at() -> None:
    mail, asking = Mail([("pusty", b"")]), Asking(())
    assert await documents.first_that_counts(mail.attachments, mail.read, asking, lambda: datetime.now(UTC)) is None  # type: ignore[arg-type]
    assert asking.given == []
