"""The schema of a procedure pack's file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from okienko.plugins.errors import MisconfiguredError
from okienko.schemas import Procedure
from okienko.schemas.base import Model


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Desk(Model):
    """Who we are to people."""

    name: str = Field(description="Name of the desk, as signed under mails")
    address: str = Field(description="The mailbox that people write to")
    phone: str = Field(description="The phone number, as people dial it")
    portal: str = Field(description="Address of the portal")
    recovery_link: str = Field(description="Where one signs an application with podpis zaufany")
    hours_registered: int = Field(default=24, ge=1, description="Rule T5: hours until the three mails have come")


class Number(Model):
    """How case numbers look."""

    prefix: str = Field(pattern=r"^[A-Z]{1,8}$")
    digits: int = Field(ge=4, le=18)


class Recovery(Model):
    """Procedures A, B and C."""

    subject: str = Field(description="Rules A1, B1: the subject, identical")
    phrase_password: str = Field(description="Rule A2")
    phrase_password_and_email: str = Field(description="Rule B2")
    near_ratio: float = Field(
        default=0.85, gt=0, le=1, description="How alike a folded subject must be to count as a miss of it"
    )
    speaks_of_email: Pattern = Field(description="Folded text that speaks of a change of address (procedure B)")
    self_service: list[Pattern] = Field(description="Folded patterns, all of which say that procedure C is meant")
    self_service_not: list[Pattern] = Field(default_factory=list, description="Folded patterns that say it is not")
    application_types: list[str] = Field(description="File suffixes that an application (B3) may have")


class ServiceRequest(Model):
    """One of rule S2's requests, recognised when every pattern is found in the folded text."""

    procedure: Procedure
    all_of: list[Pattern]
    none_of: list[Pattern] = Field(default_factory=list)


class RuleText(Model):
    """A rule in the words of those who must meet it."""

    pl: str
    en: str


class PackFile(Model):
    """A whole pack."""

    name: str
    desk: Desk
    number: Number
    new_word: str = Field(description="Rule C3: the whole word that a new ticket's subject has")
    recovery: Recovery
    complaint: list[Pattern] = Field(description="Folded patterns, any of which makes a complaint (S3)")
    service_requests: list[ServiceRequest]
    rules: dict[str, RuleText]


REQUIRED_RULES = ("C3", "A1", "A2", "A3", "A4", "A5", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "C", "S2", "S3")


def read_pack(path: Path) -> PackFile:
    """Read and check a pack's TOML file. Raises MisconfiguredError naming the file, the field and what is wrong."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MisconfiguredError(f"the procedure pack {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MisconfiguredError(f"the procedure pack {path} is not valid TOML: {error}") from None
    try:
        pack = PackFile.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise MisconfiguredError(f"the procedure pack {path} is wrong: {problems}") from None
    if missing := [rule for rule in REQUIRED_RULES if rule not in pack.rules]:
        raise MisconfiguredError(
            f"the procedure pack {path} lacks texts of the rules {', '.join(missing)}: add [rules.{missing[0]}]"
        )
    return pack
