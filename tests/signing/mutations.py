"""Signed documents of every kind, small, and all of their single-octet mutations: none may be valid.

    PYTHONPATH=tests .venv/bin/python -m signing.mutations [--values bits|all] [DOCUMENT …]

tries every octet of each document with each of its eight bits turned (`bits`), or with each of the 255 other values (`all`, half an
hour to hours for a document), and writes a table. It ends with 1 when a mutation was accepted. `make test` turns one bit of
every octet, in the PDF that is signed twice of every fifth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from okienko.plugins.settings import load_settings
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.verifier import DocumentVerifier
from signing.cms import plain_pdf, podpis_zaufany_pdf, sign_cms, sign_cms_by, sign_pdf
from signing.pki import JAN_PESEL, Pki, make_pki
from signing.xml import (
    asic_cades,
    asic_xades,
    detached,
    enveloped,
    enveloped_twice,
    enveloping,
    podpis_zp,
    rezip,
    unzip,
)

ROLE = podpis_zp("Jan", "Wymyślony", JAN_PESEL)
FILES = {"wniosek.txt": b"Wniosek " * 8}
DOCUMENTS: dict[str, Callable[[Pki], bytes]] = {
    "enveloped": lambda pki: enveloped(pki["jan"], chain=True),
    "enveloped twice": lambda pki: enveloped_twice(pki["jan"]),
    "podpis zaufany xml": lambda pki: enveloped(pki["seal"], role=ROLE, null=False),
    "enveloping": lambda pki: enveloping(pki["jan"], b"plik"),
    "detached xml": lambda pki: detached(pki["jan"], {"plik": b"plik"}),
    "p7m": lambda pki: sign_cms(b"plik", pki["jan"], attached=True),
    "p7m by two": lambda pki: sign_cms_by(b"plik", [pki["jan"], pki["jan_rsa"]]),
    "p7s": lambda pki: sign_cms(b"plik", pki["jan_rsa"]),
    "asic xades": lambda pki: rezip(asic_xades(pki["jan"], FILES), {}, packed=False),
    "asic cades": lambda pki: rezip(asic_cades(pki["jan"], FILES), {}, packed=False),
    "asic xades, packed": lambda pki: asic_xades(pki["jan"], FILES),
    "asic cades, packed": lambda pki: asic_cades(pki["jan"], FILES),
    "podpis zaufany pdf": lambda pki: podpis_zaufany_pdf(plain_pdf(), pki["seal"], "JAN WYMYŚLONY", JAN_PESEL),
    "pdf": lambda pki: sign_pdf(plain_pdf(), pki["jan"]),
    "pdf twice": lambda pki: sign_pdf(sign_pdf(plain_pdf(), pki["jan"]), pki["jan"], field="Signature2"),
}
DETACHED = {"detached xml": b"plik", "p7s": b"plik"}
"""What the detached ones sign."""


@dataclass
class Outcome:
    """What became of the mutations of one document."""

    tried: int = 0
    same: int = 0
    """Accepted in a packed container, because it unpacks to the very same files: deflate says one thing in several ways."""
    survivors: list[tuple[int, int]] = field(default_factory=list)
    """Place and value of the octet of every other mutation that was accepted."""


def one_bit(place: int, octet: int) -> Iterator[int]:
    """Another bit at each place, so that every kind of change meets every part."""
    yield octet ^ 1 << place % 8


def every_bit(place: int, octet: int) -> Iterator[int]:
    """Each of the eight bits."""
    del place
    yield from (octet ^ 1 << bit for bit in range(8))


def every_value(place: int, octet: int) -> Iterator[int]:
    """Each of the 255 other values."""
    del place
    yield from (octet ^ change for change in range(1, 256))


def try_all(
    name: str,
    document: bytes,
    is_valid: Callable[[bytes, bytes | None], bool],
    values: Callable[[int, int], Iterable[int]],
    step: int = 1,
) -> Outcome:
    """Mutate every octet (or every `step`th) of the document that `name` calls, and ask for each mutation whether it is valid."""
    beside = DETACHED.get(name)
    assert is_valid(document, beside), name
    found = Outcome()
    for place in range(0, len(document), step):
        octet = document[place]
        for value in values(place, octet):
            changed = document[:place] + bytes([value]) + document[place + 1 :]
            found.tried += 1
            if not is_valid(changed, beside):
                continue
            if "packed" in name and unzip(changed) == unzip(document):
                found.same += 1
            else:
                found.survivors.append((place, value))
    return found


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(prog="python -m signing.mutations")
    parser.add_argument("documents", nargs="*", metavar="DOCUMENT", help=", ".join(DOCUMENTS))
    parser.add_argument("--values", choices=("bits", "all"), default="bits")
    given = parser.parse_args()
    if unknown := set(given.documents) - set(DOCUMENTS):
        parser.error(f"no such document: {', '.join(sorted(unknown))}")
    accepted = 0
    with tempfile.TemporaryDirectory() as folder:
        pki = make_pki(Path(folder))
        verifier = DocumentVerifier(load_settings(SignatureSettings, pki.environ()))

        def is_valid(document: bytes, beside: bytes | None) -> bool:
            return verifier.verify(document, "wniosek", at=datetime.now(UTC), detached=beside).report.valid

        for name in given.documents or DOCUMENTS:
            document = DOCUMENTS[name](pki)
            found = try_all(name, document, is_valid, every_value if given.values == "all" else every_bit)
            accepted += len(found.survivors)
            rejected = found.tried - found.same - len(found.survivors)
            sys.stdout.write(
                f"{name}: {len(document)} octets, {found.tried} mutations, {rejected} rejected, "
                f"{found.same} with the same files, {len(found.survivors)} accepted\n"
            )
            for place, value in found.survivors:
                around = document[max(0, place - 12) : place + 12]
                sys.stdout.write(f"    octet {place}: {document[place]:#04x} -> {value:#04x} in {around!r}\n")
            sys.stdout.flush()
    return 1 if accepted else 0


if __name__ == "__main__":
    sys.exit(main())
