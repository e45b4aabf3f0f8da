"""The schema of a procedure pack's file. See docs/procedure-pack.md."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.procedure.identical import folded
from okienko.plugins.procedure.repeats import endless_in_endless
from okienko.plugins.toml_lines import line_of
from okienko.schemas import NotificationKind, Procedure
from okienko.schemas.base import Model


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if nested := endless_in_endless(text):
        raise ValueError(
            f"it could run for ever: {nested} repeats without end what does so itself; write {{0,5}} or the like"
        )
    return text


def _is_folded(text: str) -> str:
    if not text or folded(text) != text:
        raise ValueError(f"write it folded (lower case, no diacritics, single spaces): {folded(text)!r}")
    return text


def _has_words(text: str) -> str:
    if not folded(text):
        raise ValueError("it must have at least one word")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
Keyword = Annotated[str, AfterValidator(_is_folded)]
Words = Annotated[str, AfterValidator(_has_words)]


class Bilingual(Model):
    """What people read, in both languages."""

    pl: Words
    en: Words


class Desk(Model):
    """Who we are to people."""

    name: Words = Field(description="Name of the desk, as signed under mails")
    address: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="The mailbox that people write to")
    phone: str = Field(pattern=r"^[0-9][0-9 ]{4,20}$", description="The phone number without the country code (C2)")
    country_code: str = Field(pattern=r"^\+[0-9]{1,3}$", description="The country code, for callers from abroad (C2)")
    hours: Bilingual = Field(description="When the phone is answered (C4)")
    portal: str = Field(pattern=r"^https?://", description="Address of the portal (C1)")
    signing_link: str = Field(pattern=r"^https?://", description="Where one signs an application (B4)")

    @property
    def phone_abroad(self) -> str:
        """The number as it is dialled from abroad (C2)."""
        return f"{self.country_code} {self.phone}"


class Deadlines(Model):
    """Time promises that mails speak of."""

    recovery_hours: int = Field(ge=1, description="Rule T5: hours until the three mails have come")
    complaint_days: int = Field(ge=1, description="Rules S3, T4: days in which a complaint can be made")
    complex_working_days: int = Field(ge=1, description="Rule T2: working days at most for a complex ticket")


class Number(Model):
    """How case numbers look."""

    prefix: str = Field(pattern=r"^[A-Z]{1,8}$")
    digits: int = Field(ge=4, le=18, description="Shorter numbers are filled with zeros to this many digits")
    words: list[Keyword] = Field(default_factory=list, description="Words that may stand between prefix and digits")


class OwnNumber(Model):
    """How okienko's own case numbers look; people are told them while the CSD gives none."""

    prefix: str = Field(default="OK", pattern=r"^[A-Z]{1,8}$")
    digits: int = Field(default=9, ge=6, le=18, description="Filled with zeros to this many digits")


class Meaning(Model):
    """What a message means, told from its folded text (subject and body)."""

    keywords: list[Keyword] = Field(min_length=1, description="Quick test: one of these must be in the text at all")
    all_of: list[Pattern] = Field(default_factory=list, description="Patterns, every one of which must be found")
    none_of: list[Pattern] = Field(default_factory=list, description="Patterns, none of which may be found")


class ServiceRequest(Meaning):
    """One of rule S2's requests."""

    procedure: Procedure


class Recovery(Model):
    """Procedures A and B."""

    subject: Words = Field(description="Rules A1, B1: the subject, identical")
    phrase_password: Words = Field(description="Rule A2: the sentence before the name")
    phrase_password_and_email: Words = Field(description="Rule B2: the sentence before the name")
    activation_subject: Words = Field(description="Rule T5: the title of the third mail, exactly")
    near_ratio: float = Field(default=0.85, gt=0, le=1, description="How alike a folded subject is to be a miss of it")
    speaks_of_email: Pattern = Field(description="Folded text that speaks of a change of address (procedure B)")
    no_application: list[Pattern] = Field(description="Attachments that can be no application (B3): their folded names")
    no_application_types: list[str] = Field(description="The same by media type: beginnings such as image/")


class Names(Model):
    """Words around names and years (A2, A3, B2), folded."""

    given_labels: list[Keyword] = Field(min_length=1)
    family_labels: list[Keyword] = Field(min_length=1)
    skip: list[Keyword] = Field(description="Words that are no names: they may stand before one and they end one")
    particles: list[Keyword] = Field(default_factory=list, description="Small words inside family names")
    born: list[Pattern] = Field(
        min_length=1, description="Patterns of whole folded words that announce a year of birth"
    )
    closing: list[Words] = Field(description="As written, any case: here the signature begins")


REQUIRED_RULES = (
    "C3", *(f"A{n}" for n in range(1, 6)), *(f"B{n}" for n in range(1, 8)), "C", "D", "S1", "S2", "S3", "U1", "P1", "P2", "P3",
)  # fmt: skip
"""Ids that the engine decides or that mails speak of."""


ACCOUNT_PROCEDURES = tuple(procedure for procedure in Procedure if procedure is not Procedure.SELF_SERVICE)
"""Procedures that end in a reset action."""


_CLOSED_PL = (
    "Zgłoszenie zostało rozpatrzone i zamknięte. Jeżeli sprawa nie jest załatwiona, prosimy odpowiedzieć na tę wiadomość: "
    "zgłoszenie zostanie otwarte ponownie."
)
_CLOSED_EN = (
    "The ticket has been dealt with and closed. If the matter is not settled, please reply to this message: the ticket will be "
    "opened again."
)


class PackFile(Model):
    """A whole pack."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    new_word: Words = Field(description="Rule C3: the whole word that a new ticket's subject has")
    reply_prefixes: list[Keyword] = Field(description="Prefixes that mail programs put before a subject")
    desk: Desk
    deadlines: Deadlines
    number: Number
    own_number: OwnNumber = Field(default_factory=OwnNumber)
    recovery: Recovery
    self_service: Meaning = Field(description="Rule C")
    complaint: Meaning = Field(description="Rule S3")
    service_requests: list[ServiceRequest] = Field(description="Rule S2; the first that fits is taken")
    names: Names
    templates: dict[NotificationKind, str] = Field(description="File of each message, in the templates' folder")
    rules: dict[str, Bilingual] = Field(description="Each rule in the words of those who must meet it")
    solutions: dict[Procedure, Bilingual] = Field(
        description="What mail 2 says when okienko itself carried a reset action out, by procedure"
    )
    closed_without_words: Bilingual = Field(
        default_factory=lambda: Bilingual(pl=_CLOSED_PL, en=_CLOSED_EN),
        description="What mail 2 says when the CSD closed the case and said nothing of how it ended",
    )

    @model_validator(mode="after")
    def _complete(self) -> PackFile:
        for part, have, needed in (
            ("rules", set(self.rules), REQUIRED_RULES),
            ("templates", {kind.value for kind in self.templates}, tuple(kind.value for kind in NotificationKind)),
            ("solutions", {p.value for p in self.solutions}, tuple(p.value for p in ACCOUNT_PROCEDURES)),
        ):
            if missing := [name for name in needed if name not in have]:
                raise ValueError(f"{part}: {', '.join(missing)} missing; add {part}.{missing[0]}")
        if unknown := sorted(set(self.rules) - set(REQUIRED_RULES)):
            raise ValueError(f"rules: {', '.join(unknown)} unknown; known are {', '.join(REQUIRED_RULES)}")
        return self


def _said(error: ErrorDetails) -> str:
    """What is wrong, with the nearest known key for one that is not known."""
    if error["type"] != "extra_forbidden":
        return error["msg"]
    models: tuple[type[Model], ...] = (
        PackFile, Desk, Bilingual, Deadlines, Number, Meaning, ServiceRequest, Recovery, Names
    )  # fmt: skip
    known = {name for model in models for name in model.model_fields}
    near = difflib.get_close_matches(str(error["loc"][-1]), sorted(known), 1)
    return "there is no such key" + (f"; is {near[0]} meant?" if near else "")


def read_pack(path: Path) -> PackFile:
    """Read and check a pack's TOML file. Raises MisconfiguredError naming file, line or field, and the cure."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise MisconfiguredError(f"the procedure pack {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise MisconfiguredError(
            f"the procedure pack {path} is not UTF-8 text (octet {error.start}): save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise MisconfiguredError(f"the procedure pack {path} is not valid TOML: {error}") from None
    try:
        return PackFile.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(
            f"line {line_of(text, e['loc'])}, {'.'.join(map(str, e['loc']))}: {_said(e)}" if e["loc"] else e["msg"]
            for e in error.errors(include_url=False, include_input=False)
        )
        raise MisconfiguredError(
            f"the procedure pack {path} is wrong: {problems}. Every field is in docs/procedure-pack.md"
        ) from None
