"""Holding a message against the rules, one by one, each with its evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from okienko.plugins.evidence import Evidence
from okienko.plugins.procedure import accounts, services
from okienko.plugins.procedure.identical import folded, normal
from okienko.plugins.procedure.model import PackFile
from okienko.schemas import Attachment, Decision, InboundMessage, Person, Procedure, RuleResult, Verdict

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in one recovery message."""

    subject_identical: bool
    phrase_found: bool
    person: Person


class Rules:
    """The rules of one pack. Every method returns a Decision for one kind of matter."""

    def __init__(self, pack: PackFile) -> None:
        self._texts = pack.rules
        self._word = pack.new_word
        self._new = re.compile(rf"(?<!\w){re.escape(pack.new_word)}(?!\w)", re.IGNORECASE)
        self._no_application = [re.compile(pattern) for pattern in pack.recovery.no_application]
        self._no_types = tuple(pack.recovery.no_application_types)
        has, lacks = f"the word {self._word} is in the subject", f"the word {self._word} is not in the subject"
        word = {True: self._result("C3", MET, has), False: self._result("C3", UNMET, lacks)}
        # These are the same for every message, and the models are immutable.
        self._tickets = {
            (met, procedure): _decision(
                word[met], *([self._result("S2", MET, f"recognised as {procedure.value}")] if procedure else [])
            )
            for met in (True, False)
            for procedure in (None, *Procedure)
        }
        self._complaint = _decision(self._result("S3", UNMET, "it came by e-mail, not through the portal"))
        self._self_service = _decision(
            self._result("C", MET, "the message says that the emergency password is remembered")
        )

    def _result(self, rule: str, verdict: Verdict, evidence: str) -> RuleResult:
        text = self._texts[rule]
        return RuleResult(rule=rule, verdict=verdict, evidence=evidence, text_pl=text.pl, text_en=text.en)

    def new_ticket(self, subject: str, procedure: Procedure | None) -> Decision:
        """C3 for tickets (S1); S2 as well for service requests."""
        return self._tickets[self._new.search(normal(subject)) is not None, procedure]

    def service_request(self, message: InboundMessage, procedure: Procedure, evidence: Evidence) -> Decision:
        """C3 and S2; once the first answer has gone, also what the request needs: A4, U1; B3 to B7; B4, B6, P1 to P3."""
        first = self.new_ticket(message.subject, procedure)
        if evidence.sender is None:
            return first
        match procedure:
            case Procedure.UNLOCK:
                more = [
                    self._sender("A4", message, accounts.sender_is_login(evidence)),
                    self._result("U1", *services.is_locked(evidence)),
                ]
            case Procedure.PESEL_CONFLICT:
                more = [
                    self._signature(message, evidence),
                    self._sender("B6", message, accounts.sender_is_new_login(evidence)),
                    self._result("P1", *services.number_is_signed_for(message.text, evidence)),
                    self._result("P2", *services.number_is_in_use(evidence)),
                    self._result("P3", *services.holder_is_applicant(evidence)),
                ]
            case _:
                more = [
                    self._attached(message, evidence),
                    *self._signed(message, services.applicant(evidence), evidence),
                ]
        return _decision(*first.results, *more)

    def complaint(self) -> Decision:
        """S3: complaints come through the portal; C3 is not asked."""
        return self._complaint

    def self_service(self) -> Decision:
        """C: nothing to do but to show the way."""
        return self._self_service

    def password(self, message: InboundMessage, reading: Reading, evidence: Evidence) -> Decision:
        """A1 to A5."""
        return _decision(
            self._subject("A1", reading),
            self._phrase("A2", reading),
            self._year("A3", reading),
            self._sender("A4", message, accounts.sender_is_login(evidence)),
            self._result("A5", *accounts.person_agrees(reading.person, evidence)),
        )

    def password_and_email(self, message: InboundMessage, reading: Reading, evidence: Evidence) -> Decision:
        """B1 to B7. Before the documents are looked at, B3 asks only whether there is one."""
        return _decision(
            self._subject("B1", reading),
            self._phrase("B2", reading, with_year=True),
            self._attached(message, evidence),
            *self._signed(message, reading.person, evidence),
        )

    def _attached(self, message: InboundMessage, evidence: Evidence) -> RuleResult:
        """B3."""
        if self.application(message) is None:
            attached = UNMET, "no attachment could be an application"
        elif evidence.signature is None:
            attached = MET, "an attachment that could be the application is there; it was not read yet"
        else:
            attached = accounts.application_is_complete(evidence.application, evidence.typed)
        return self._result("B3", *attached)

    def _signature(self, message: InboundMessage, evidence: Evidence) -> RuleResult:
        """B4, where B3 is not asked: without an attachment nothing is signed."""
        if self.application(message) is None:
            return self._result("B4", UNMET, "no attachment could be a signed application")
        return self._result("B4", *accounts.is_signed(evidence))

    def _signed(self, message: InboundMessage, claimed: Person, evidence: Evidence) -> tuple[RuleResult, ...]:
        """B4 to B7."""
        return (
            self._result("B4", *accounts.is_signed(evidence)),
            self._result("B5", *accounts.signatory_is_applicant(evidence)),
            self._sender("B6", message, accounts.sender_is_new_login(evidence)),
            self._result("B7", *accounts.logins_are_right(claimed, evidence)),
        )

    def application(self, message: InboundMessage) -> str | None:
        """Name of the first attachment that could be the application (B3), or None."""
        return next((a.filename for a in message.attachments if self._could_be(a)), None)

    def _could_be(self, attachment: Attachment) -> bool:
        if attachment.size == 0 or attachment.content_type.lower().startswith(self._no_types):
            return False
        name = folded(attachment.filename)
        return not any(pattern.search(name) for pattern in self._no_application)

    def _subject(self, rule: str, reading: Reading) -> RuleResult:
        if reading.subject_identical:
            return self._result(rule, MET, "the subject is identical")
        return self._result(rule, UNMET, "the subject differs from the required one")

    def _phrase(self, rule: str, reading: Reading, *, with_year: bool = False) -> RuleResult:
        person = reading.person
        if not reading.phrase_found:
            return self._result(rule, UNMET, "the required sentence is not in the body")
        if person.given_name is None or person.family_name is None:
            return self._result(rule, UNMET, "no given name and family name follow the sentence")
        if with_year and person.birth_year is None:
            return self._result(rule, UNMET, "no year of birth follows the sentence")
        year = " and a year of birth" if with_year else ""
        return self._result(rule, MET, f"the sentence is there, followed by a name{year}")

    def _year(self, rule: str, reading: Reading) -> RuleResult:
        if reading.person.birth_year is None:
            return self._result(rule, UNMET, "no year of birth is given after the sentence")
        return self._result(rule, MET, "a year of birth is given")

    def _sender(self, rule: str, message: InboundMessage, found: accounts.Finding) -> RuleResult:
        """A4 and B6. From: proves nothing, so that this is never met without a proof of the sender."""
        if message.sender is None:
            return self._result(rule, UNMET, "the message has no usable sender address")
        return self._result(rule, *found)


def _decision(*results: RuleResult) -> Decision:
    return Decision(results=results)
