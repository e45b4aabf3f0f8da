"""Holding a message against the rules, one by one, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from okienko.plugins.ports import AccountFacts, Evidence
from okienko.plugins.procedure.model import PackFile
from okienko.schemas import Decision, InboundMessage, Person, RuleResult, Verdict

MET, UNMET, UNKNOWN = Verdict.MET, Verdict.UNMET, Verdict.UNKNOWN


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in one message."""

    message: InboundMessage
    subject_identical: bool
    phrase_found: bool
    person: Person


class Rules:
    """The rules of one pack. Every method returns a Decision for one kind of matter."""

    def __init__(self, pack: PackFile) -> None:
        self._pack = pack

    def _result(self, rule: str, verdict: Verdict, evidence: str) -> RuleResult:
        text = self._pack.rules[rule]
        return RuleResult.model_construct(
            rule=rule, verdict=verdict, evidence=evidence, text_pl=text.pl, text_en=text.en
        )

    def new_ticket(self, has_word: bool, service_request: str | None) -> Decision:  # noqa: FBT001  one fact
        """C3 for tickets; S2 as well for service requests."""
        word = self._pack.new_word
        results = [
            self._result(
                "C3", MET if has_word else UNMET, f"the word {word} {'stands' if has_word else 'is not'} in the subject"
            )
        ]
        if service_request:
            results.append(self._result("S2", MET, f"recognised as {service_request}"))
        return Decision.model_construct(results=tuple(results))

    def complaint(self) -> Decision:
        """S3: complaints come through the portal."""
        return Decision.model_construct(
            results=(self._result("S3", UNMET, "it came by e-mail, not through the portal"),)
        )

    def self_service(self) -> Decision:
        """C: nothing to do but to show the way."""
        result = self._result("C", MET, "the message says that the emergency password is remembered")
        return Decision.model_construct(results=(result,))

    def password(self, reading: Reading, evidence: Evidence) -> Decision:
        """A1 to A5."""
        sender = reading.message.sender
        account = evidence.account
        results = [
            self._subject("A1", reading),
            self._phrase("A2", reading),
            self._year("A3", reading),
            self._result("A4", UNMET, "the message has no usable sender address")
            if sender is None
            else self._account("A4", account, lambda a: bool(a.exists), self._sender_evidence(reading.message)),
            self._account("A5", account, lambda a: a.exists is True and a.person == reading.person, "name and year against the account"),
        ]  # fmt: skip
        return Decision.model_construct(results=tuple(results))

    def password_and_email(self, reading: Reading, evidence: Evidence) -> Decision:
        """B1 to B7."""
        application = self.application(reading.message)
        nothing = "there is no application to check"
        unread = "no installed connector can read or verify signed applications yet"
        sender = reading.message.sender
        results = [
            self._subject("B1", reading),
            self._phrase("B2", reading, with_year=True),
            self._result("B3", UNMET, "no attachment could be an application")
            if application is None
            else self._result("B3", MET, f"attachment {application} is there; its content is for a person to read"),
            self._result("B4", UNKNOWN, nothing if application is None else unread),
            self._result("B5", UNKNOWN, nothing if application is None else unread),
            self._result("B6", UNMET, "the message has no usable sender address")
            if sender is None
            else self._result("B6", UNKNOWN, self._sender_evidence(reading.message)),
            self._account("B7", evidence.account, lambda a: bool(a.exists), "old login and new login against the accounts"),
        ]  # fmt: skip
        return Decision.model_construct(results=tuple(results))

    def application(self, message: InboundMessage) -> str | None:
        """Name of the attachment that could be the application (B3), or None."""
        suffixes = tuple(f".{s}" for s in self._pack.recovery.application_types)
        return next(
            (a.filename for a in message.attachments if a.filename.lower().endswith(suffixes) and a.size > 0), None
        )

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
        return self._result(
            rule, MET, "the sentence is there, followed by a name" + (" and a year of birth" if with_year else "")
        )

    def _year(self, rule: str, reading: Reading) -> RuleResult:
        if reading.person.birth_year is None:
            return self._result(rule, UNMET, "no year of birth is given")
        return self._result(rule, MET, "a year of birth is given")

    def _account(
        self, rule: str, account: AccountFacts | None, holds: Callable[[AccountFacts], bool], what: str
    ) -> RuleResult:
        if account is None or not account.known:
            return self._result(rule, UNKNOWN, f"{what}: the identity backend cannot look accounts up, a person must")
        # A mismatch is for a person too: the answer must not tell whether an account exists.
        return self._result(
            rule, MET if holds(account) else UNKNOWN, f"{what}: {'agrees' if holds(account) else 'does not agree'}"
        )

    def _sender_evidence(self, message: InboundMessage) -> str:
        count = len(message.authentication_results)
        return f"sender to be proved; {count} Authentication-Results field(s), none from a configured server"
