"""What citizens send: requests by procedure A and B, as a receiving mail server hands them over. All persons are invented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from itertools import count
from uuid import uuid4

from corpus import PHRASE_A, PHRASE_B, SUBJECT
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel
from signing.cms import plain_pdf, podpis_zaufany_pdf, sign_pdf
from signing.pki import Pki, pesel, qc_statements
from signing.pki import person as certified
from signing.xml import enveloped

AUTHSERV = "mx.okienko.invalid"
"""The name of our own receiving server."""
DOMAIN = "poczta.example"
GENITIVE, YEAR = "Jana Próbnego", 1980
_CITIZENS: Iterator[int] = count()
_LETTERS: Iterator[int] = count()


@dataclass(frozen=True)
class Citizen:
    """Jan Próbny, with a PESEL of the 2200s that nobody else in the run has; his account knows the year 1980."""

    pesel: str

    @property
    def person(self) -> Person:
        """As his account has him."""
        return Person(given_name="Jan", family_name="Próbny", pesel=Pesel(self.pesel))


def citizen() -> Citizen:
    """Another Jan Próbny."""
    years, serial = divmod(next(_CITIZENS), 10_000)
    return Citizen(pesel(2200 + years, 3, 7, serial))


def address(who: str = "jan") -> str:
    """An address that nobody had before."""
    return f"{who}.{uuid4().hex[:10]}@{DOMAIN}"


def proved(sender: str) -> str:
    """What our own server writes above a mail that is really from the sender's domain."""
    domain = sender.rpartition("@")[2]
    return f"{AUTHSERV}; dmarc=pass header.from={domain}; dkim=pass header.d={domain}"


def letter(
    sender: str, text: str, *documents: tuple[str, bytes], results: str | None = None, subject: str = SUBJECT
) -> bytes:
    """A mail; `results` is its Authentication-Results field, by default that of a proved sender, "" for none."""
    mail = EmailMessage(policy=SMTP)
    if results is None:
        results = proved(sender)
    if results:
        mail["Authentication-Results"] = results
    mail["From"], mail["To"] = f"Jan <{sender}>", "helpdesk@okienko.invalid"
    mail["Subject"], mail["Message-ID"] = subject, f"<{uuid4().hex}@{DOMAIN}>"
    number = next(_LETTERS)
    mail["Date"] = f"Mon, 23 Nov 2026 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02} +0100"
    mail.set_content(f"{text}\n-- \nnr {number}\n", cte="8bit")
    for name, content in documents:
        kind = name.rpartition(".")[2]
        mail.add_attachment(content, maintype="application", subtype=kind, filename=name)
    return mail.as_bytes()


def letter_a(sender: str, *, who: str = GENITIVE, year: int = YEAR, results: str | None = None) -> bytes:
    """Procedure A."""
    return letter(sender, f"{PHRASE_A} {who}, rok urodzenia {year}\n", results=results)


def letter_service(
    sender: str, subject: str, text: str, *documents: tuple[str, bytes], results: str | None = None
) -> bytes:
    """A service request (S2)."""
    return letter(sender, f"{text}\n", *documents, results=results, subject=subject)


def letter_b(
    sender: str, document: bytes, name: str = "wniosek.pdf", *, results: str | None = None, year: int = YEAR
) -> bytes:
    """Procedure B."""
    text = f"{PHRASE_B} {GENITIVE}, rok urodzenia {year}\n"
    return letter(sender, text, (name, document), results=results)


class Notary:
    """Signs applications with the test PKI, as qualified certificates and the minister's seal do."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki

    def _certificate(self, who: Citizen, given: str, family: str) -> object:
        names = {"country": "PL", "given": given, "family": family, "serial": f"PNOPL-{who.pesel}", "common": f"{given} {family}"}  # fmt: skip
        return certified(names, self._pki["ca"], statements=qc_statements())

    def pdf(self, who: Citizen, old: str, new: str, *, given: str = "Jan", family: str = "Próbny") -> bytes:
        """PAdES, qualified: the application of Jan Próbny, signed by the named person with the citizen's number."""
        return sign_pdf(plain_pdf(_lines(old, new)), self._certificate(who, given, family))  # type: ignore[arg-type]

    def scan(self, who: Citizen, pdf: bytes, *, given: str = "Jan", family: str = "Próbny") -> bytes:
        """PAdES, qualified: a PDF as it is, signed by the named person with the citizen's number."""
        return sign_pdf(pdf, self._certificate(who, given, family))  # type: ignore[arg-type]

    def trusted_pdf(self, who: Citizen, old: str, new: str) -> bytes:
        """PAdES, podpis zaufany: the person stands in clear in /Reason."""
        lines = (*_lines(old, new), f"PESEL: {who.pesel}")
        return podpis_zaufany_pdf(plain_pdf(lines), self._pki["seal"], "JAN PRÓBNY", who.pesel)

    def statement(self, who: Citizen, new: str, *, given: str = "Jan", family: str = "Próbny") -> bytes:
        """PAdES, qualified: an application for the release of the citizen's number, naming the login that is to be."""
        lines = ("Wniosek o zwolnienie numeru PESEL", "Imie: Jan", f"Nowy adres e-mail: {new}")
        return sign_pdf(plain_pdf(lines), self._certificate(who, given, family))  # type: ignore[arg-type]

    def xml(self, who: Citizen, old: str, new: str) -> bytes:
        """XAdES, qualified."""
        text = (
            '<Wniosek xmlns="http://okienko.invalid/wniosek"><Imie>Jan</Imie><Nazwisko>Próbny</Nazwisko>'
            f"<UtraconyAdres>{old}</UtraconyAdres><NowyAdres>{new}</NowyAdres></Wniosek>"
        )
        return enveloped(self._certificate(who, "Jan", "Próbny"), text)  # type: ignore[arg-type]


def _lines(old: str, new: str) -> tuple[str, ...]:
    return ("Wniosek", "Imie: Jan", "Nazwisko: Próbny", f"Utracony adres e-mail: {old}", f"Nowy adres e-mail: {new}")
