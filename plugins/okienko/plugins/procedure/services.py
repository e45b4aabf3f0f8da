"""The rules of service requests (S2) that need more than the message: U1 for `unlock`, P1 to P3 for `pesel_conflict`.

They are asked after the first answer has gone, together with A4 or B3 to B7, which hold for these requests as they do for the
procedures: no channel is an easier way in than another. Evidence texts name no person, no address and no number.
"""

from __future__ import annotations

import re

from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account, AccountFlag
from okienko.plugins.procedure.accounts import MET, UNKNOWN, UNMET, Finding
from okienko.plugins.procedure.inflection import Agreement, agreement
from okienko.plugins.signatures import Signatory
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel

_ELEVEN_DIGITS = re.compile(r"(?<![0-9])[0-9]{11}(?![0-9])")
_YEARS = range(1880, 2101)
"""Years that the schema of a person takes."""
_NUMBERS = 20
"""Numbers of one text that are looked at."""


def is_locked(evidence: Evidence) -> Finding:
    """U1: the account is locked after wrong logins, and an administrator did not switch it off."""
    account = evidence.account
    if not evidence.looked_up:
        return UNKNOWN, "no identity backend looks accounts up"
    if account is None:
        return UNMET, "there is no such account"
    if AccountFlag.DISABLED in account.flags:
        return UNMET, "an administrator switched the account off: unlocking does not change that"
    if AccountFlag.LOCKED in account.flags:
        return MET, "the account is locked after wrong logins"
    if AccountFlag.LOCKED in account.unknown_flags:
        return UNKNOWN, "the identity backend does not tell whether the account is locked"
    return UNMET, "the account is not locked: there is nothing to unlock"


def applicant(evidence: Evidence) -> Person:
    """Who asks, by the signed application and the signature alone: what a mail says of a person counts for nothing."""
    application, signatory = evidence.application, _signatory(evidence)
    if application is None or signatory is None:
        return Person()
    return Person(
        given_name=application.given_name,
        family_name=application.family_name,
        birth_year=_birth_year(signatory, evidence.account),
    )


def number_is_signed_for(text: str, evidence: Evidence) -> Finding:
    """P1: the number in question is the signatory's own. `text` is the mail; a number typed there proves nothing."""
    signatory, application = _signatory(evidence), evidence.application
    if signatory is None:
        return UNKNOWN, "nobody is known to have signed"
    if signatory.pesel is None:
        return UNKNOWN, "the signature has no personal number"
    if application is not None and application.pesel is not None and application.pesel != signatory.pesel:
        return UNMET, "the application names another personal number than the signatory's"
    if (typed := _numbers(text)) and signatory.pesel not in typed:
        return UNMET, "the message speaks of another personal number than the signatory's"
    return MET, "the signatory's own personal number"


def number_is_in_use(evidence: Evidence) -> Finding:
    """P2: an account carries the signed number."""
    if evidence.carriers is None:
        return UNKNOWN, "no identity backend was asked for the number"
    if not evidence.carriers:
        return UNMET, "no account carries the number"
    return MET, f"{len(evidence.carriers)} account(s) carry the number"


def holder_is_applicant(evidence: Evidence) -> Finding:
    """P3: the account that carries the number has the signatory's name. Never unmet: people marry, and clerks mistype."""
    signatory = _signatory(evidence)
    if not evidence.carriers or signatory is None:
        return UNKNOWN, "there is no account to hold the signatory against"
    if len(evidence.carriers) > 1:
        return UNKNOWN, f"{len(evidence.carriers)} accounts carry the number: a human looks at each"
    if is_holder(signatory, evidence.carriers[0]):
        return MET, "the holder's name is the signatory's"
    return UNKNOWN, "the holder's name is not exactly the signatory's: another person, or another name of the same one"


def is_holder(signatory: Signatory, account: Account) -> bool:
    """Whether the account's name is exactly the signatory's."""
    signer = Person(given_name=signatory.given_names, family_name=signatory.family_name)
    return agreement(signer, account.person) is Agreement.EXACT


def _birth_year(signatory: Signatory, account: Account | None) -> int | None:
    if signatory.pesel is None:
        return signatory.birth_year
    if account is not None and account.person.pesel == signatory.pesel and account.person.birth_year is not None:
        # Whoever has the account's own number was born when the account says, even where it says so wrongly.
        return account.person.birth_year
    year = signatory.pesel.birth_date.year
    return year if year in _YEARS else None


def _signatory(evidence: Evidence) -> Signatory | None:
    report = evidence.signature
    return report.signatory if report is not None and report.valid else None


def _numbers(text: str) -> frozenset[Pesel]:
    found = set()
    for match in _ELEVEN_DIGITS.findall(text)[:_NUMBERS]:
        try:
            found.add(Pesel(match))
        except ValueError:  # a phone number, a customs number
            continue
    return frozenset(found)
