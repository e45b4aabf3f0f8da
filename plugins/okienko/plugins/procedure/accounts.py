"""The rules that need more than the message: the sender's proof, the account, the signed application (A4, A5, B3 to B7).

They are asked again after the first answer has gone, so that nobody learns from outside whether an account exists. Evidence
texts name no person, no address and no number: the case page shows those to who may see them.
"""

from __future__ import annotations

from collections.abc import Collection

from okienko.plugins.evidence import Evidence
from okienko.plugins.identity import Account, same_login
from okienko.plugins.procedure.inflection import Agreement, agreement, swapped
from okienko.plugins.procedure.signer import same_person
from okienko.plugins.senderproof import Proof
from okienko.plugins.senderproof.domains import canonical
from okienko.plugins.signatures import Application
from okienko.schemas import Person, Verdict

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN
Finding = tuple[Verdict, str]
"""A verdict and its evidence, in English."""

_NO_LOOKUP = "no identity backend looks accounts up"
_MANY_PROBLEMS = 8
_WANTED = {
    "given_name": "given name", "family_name": "family name", "old_login": "lost e-mail", "new_login": "new e-mail",
}  # fmt: skip
"""What B3 asks for, by the names of Application's fields."""


def sender_is_login(evidence: Evidence) -> Finding:
    """A4: sent, provably, from the address that the account was created with."""
    verdict, why = _proved(evidence)
    if verdict is not MET:
        return verdict, why
    if not evidence.looked_up:
        return UNKNOWN, f"{why}; {_NO_LOOKUP}"
    if evidence.account is None:
        return UNMET, f"{why}; no account has this login"
    if not _is_proved(evidence, evidence.account.login):
        # The address was read twice, once for the proof: where the two readings differ, somebody wanted them to.
        return UNMET, f"{why}; it is not the login of the account that was looked up"
    return MET, f"{why}; an account has this login"


def person_agrees(claimed: Person, evidence: Evidence) -> Finding:
    """A5: the account exists, and its name and year of birth agree with the body."""
    if not evidence.looked_up:
        return UNKNOWN, _NO_LOOKUP
    if evidence.account is None:
        return UNMET, "there is no such account"
    return _agrees(claimed, evidence.account)


def application_is_complete(application: Application | None, typed: Collection[str] = ()) -> Finding:
    """B3: given name, family name, old and new login stand in the application, read or `typed` by a human."""
    if application is None:
        return UNKNOWN, "the application's content could not be read: a human types it beside the document"
    missing = [name for field, name in _WANTED.items() if not getattr(application, field)]
    if missing:
        return UNKNOWN, f"not found in the application: {', '.join(missing)}; a human types it beside the document"
    if by_hand := [name for field, name in _WANTED.items() if field in typed]:
        rest = "; the rest was read from it" if len(by_hand) < len(_WANTED) else ""
        return MET, f"typed by an administrator beside the document: {', '.join(by_hand)}{rest}"
    return MET, "names, lost and new e-mail were read from the application"


def is_signed(evidence: Evidence) -> Finding:
    """B4: a valid qualified signature or podpis zaufany."""
    report = evidence.signature
    if report is None:
        return UNKNOWN, "no signature verifier has looked at the application"
    if report.valid and report.level is not None:
        return MET, f"{report.level.value} by {report.format.value}"
    codes = ", ".join(problem.code for problem in report.problems[:_MANY_PROBLEMS]) or "no reason given"
    return UNMET, f"the signature does not count: {codes}"


def signatory_is_applicant(evidence: Evidence) -> Finding:
    """B5: name, and PESEL where the account has one (`signer.same_person` is the rule)."""
    report = evidence.signature
    if report is None or not report.valid:
        return UNKNOWN, "nobody is known to have signed"
    account = evidence.account if evidence.looked_up else None
    return same_person(report.signatory, evidence.application, account.person if account else None)


def sender_is_new_login(evidence: Evidence) -> Finding:
    """B6: sent, provably, from the address that is to be the new login."""
    verdict, why = _proved(evidence)
    if verdict is not MET:
        return verdict, why
    application = evidence.application
    if application is None or not application.new_login:
        return UNKNOWN, f"{why}; the new login could not be read"
    if not _is_proved(evidence, application.new_login):
        return UNMET, f"{why}; it is not the new login that the application names"
    return MET, f"{why}; it is the new login that the application names"


def logins_are_right(claimed: Person, evidence: Evidence) -> Finding:
    """B7: the old login exists and is the person's; the new one is not taken."""
    if not evidence.looked_up:
        return UNKNOWN, _NO_LOOKUP
    if evidence.account is None:
        return UNMET, "no account has the old login"
    verdict, why = _agrees(claimed, evidence.account)
    if verdict is not MET:
        return verdict, why
    if evidence.new_login_taken is None:
        return UNKNOWN, "whether the new login is free could not be found out"
    if evidence.new_login_taken:
        return UNMET, "another account has the new login"
    return MET, f"{why}; the new login is free"


def _proved(evidence: Evidence) -> Finding:
    sender = evidence.sender
    if sender is None:
        return UNKNOWN, "the sender was not checked"
    verdict = {Proof.PROVED: MET, Proof.FAILED: UNMET, Proof.UNPROVED: UNKNOWN}[sender.proof]
    return verdict, sender.evidence


def _is_proved(evidence: Evidence, login: str) -> bool:
    """Whether the proved address is that login; a domain's two spellings (IDNA) are one."""
    address = evidence.sender.address if evidence.sender else None
    return address is not None and same_login(_spelt(address), _spelt(login))


def _spelt(login: str) -> str:
    local, at, domain = login.rpartition("@")
    return f"{local}{at}{canonical(domain) or domain}"


def _agrees(claimed: Person, account: Account) -> Finding:
    person = account.person
    year = person.birth_year or (person.pesel.birth_date.year if person.pesel else None)
    if year is None:
        return UNKNOWN, "the account has no year of birth"
    if claimed.birth_year != year:
        return UNMET, "the year of birth is not the account's"
    found = agreement(claimed, person)
    if found is Agreement.UNSURE:
        hint = "; they agree with given and family name swapped" if swapped(claimed, person) else ""
        return UNKNOWN, f"the name is neither the account's nor a genitive of it{hint}"
    return MET, f"name ({found.value}) and year of birth are the account's"
