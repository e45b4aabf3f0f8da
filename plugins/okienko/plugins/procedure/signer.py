"""B5: is the signatory the applicant? Three tellings of one person, held against each other.

The signatory stands in the certificate or the minister's sealed statement, the applicant in the signed application, the holder
in the account. The names of all three must agree, and so must every personal number that two of them carry:

* signatory and application: in the nominative, or the application's a genitive of it (`inflection`);
* signatory and account: equal after NFC, case and white space, given names first; the account may hold the first given name
  only. Given and family names are compared as one row of words, because a sealed statement does not say where one ends and the
  other begins;
* an account with a personal number wants the same number in the signature; where the signature has none, a human decides.
  An account without one is met by the exact names only;
* a year of birth counts where no two numbers could be compared, being a part of the number.

A name that changed since, by marriage say, is a difference: who sees the number agree may decide so, a program may not.
"""

from __future__ import annotations

import re
import unicodedata

from okienko.plugins.procedure.inflection import Agreement, agreement
from okienko.plugins.signatures import Application, Signatory
from okienko.schemas import Person, Verdict

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN


def same_person(
    signatory: Signatory | None, application: Application | None, holder: Person | None
) -> tuple[Verdict, str]:
    """The verdict and its evidence, without a name or a number in it.

    `holder` is the person as the account names them; None when there is no account to ask. A difference is UNMET, even where
    something else is missing; what cannot be compared is UNKNOWN.
    """
    if signatory is None:
        return UNKNOWN, "the signature does not say who signed"
    if why := _differs(signatory, application, holder):
        return UNMET, why
    if why := _not_compared(signatory, application, holder):
        return UNKNOWN, why
    if holder is not None and holder.pesel is not None:
        return MET, "names and personal number of signatory, applicant and account agree"
    return MET, "the names of signatory, applicant and account are the same; the account has no personal number"


def _differs(signatory: Signatory, application: Application | None, holder: Person | None) -> str:
    """What contradicts, or nothing."""
    number = signatory.pesel
    year = signatory.birth_year or (number.birth_date.year if number else None)
    if application is not None:
        if application.given_name and application.family_name:
            named = Person(given_name=application.given_name, family_name=application.family_name)
            if agreement(named, _as_person(signatory)) is Agreement.UNSURE:
                return "the signatory's name is not the applicant's"
        if application.pesel is not None and number is not None and application.pesel != number:
            return "the signatory's personal number is not the one in the application"
    if holder is None:
        return ""
    if holder.pesel is not None and number is not None and holder.pesel != number:
        return "the signatory's personal number is not the account's"
    if holder.given_name and holder.family_name and not _same_names(signatory, holder):
        return "the signatory's name is not the account's"
    numbers_agree = number is not None and holder.pesel is not None
    if not numbers_agree and holder.birth_year is not None and year not in (None, holder.birth_year):
        return "the signatory's year of birth is not the account's"
    return ""


def _not_compared(signatory: Signatory, application: Application | None, holder: Person | None) -> str:
    """What is missing for a comparison, or nothing."""
    if application is None or not application.given_name or not application.family_name:
        return "the applicant's name could not be read from the application"
    if holder is None:
        return "there is no account to hold the signatory against"
    if not holder.given_name or not holder.family_name:
        return "the account does not name its holder in full"
    if holder.pesel is not None and signatory.pesel is None:
        return "the account has a personal number, the signature has none"
    if holder.pesel is None and agreement(_as_person(signatory), holder) is not Agreement.EXACT:
        return "the signatory's name is not exactly the account's, which has no personal number"
    return ""


def _as_person(signatory: Signatory) -> Person:
    return Person(given_name=signatory.given_names, family_name=signatory.family_name)


def _same_names(signatory: Signatory, holder: Person) -> bool:
    signed = [*_words(signatory.given_names), *_words(signatory.family_name)]
    given, family = _words(holder.given_name or ""), _words(holder.family_name or "")
    return signed == [*given, *family] or (signed[: len(given)] == given and signed[len(given) + 1 :] == family)


def _words(name: str) -> list[str]:
    folded = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"\s*[-‐‑–]\s*", "-", folded).split()
