"""The shipped pack, and mails to hold against it. All persons are invented."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from okienko.plugins.context import PluginContext
from okienko.plugins.evidence import Evidence
from okienko.plugins.ports import Classification
from okienko.plugins.puesc import okienko_procedures
from okienko.schemas import (
    Address,
    Attachment,
    Decision,
    InboundMessage,
    Procedure,
    Verdict,
)

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
(PACK,) = okienko_procedures(PluginContext(Path("/nonexistent"), {}, lambda: NOW))
SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
PHRASE_A = "Proszę o zmianę hasła awaryjnego dla"
PHRASE_B = "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla"
BODY_A = f"{PHRASE_A} Jana Próbnego, rok urodzenia 1980"
BODY_B = f"{PHRASE_B} Jana Próbnego, rok urodzenia 1980"
JAN = "jan@poczta.example"
A, B, C = Procedure.EMERGENCY_PASSWORD, Procedure.EMERGENCY_PASSWORD_AND_EMAIL, Procedure.SELF_SERVICE


def attached(name: str = "wniosek.pdf", kind: str = "application/pdf", size: int = 9) -> Attachment:
    return Attachment(index=0, filename=name, content_type=kind, size=size, sha256="0" * 64)


def mail(subject: str, text: str, sender: str | None = JAN, **more: Any) -> InboundMessage:
    return InboundMessage(subject=subject, text=text, sender=Address(address=sender) if sender else None, **more)


def held(message: InboundMessage, evidence: Evidence | None = None) -> tuple[Classification, Decision]:
    classification = PACK.classify(message)
    decision = PACK.decide(message, classification, evidence or Evidence())
    # What was read on the way is a shortcut only.
    plain = Classification(classification.kind, classification.procedure, classification.person, classification.login)
    assert PACK.decide(message, plain, evidence or Evidence()) == decision
    return classification, decision


def unmet(message: InboundMessage) -> tuple[str, ...]:
    return held(message)[1].rules(Verdict.UNMET)
