"""A procedure pack that is declared in a file."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from pathlib import Path

from okienko.plugins.ports import Classification, Evidence, NotificationContext, RenderedText
from okienko.plugins.procedure.identical import after_folded, folded, normal, phrase_pattern, squeezed
from okienko.plugins.procedure.meaning import MeaningTest
from okienko.plugins.procedure.model import Number, OwnNumber, PackFile
from okienko.plugins.procedure.names import NameReader
from okienko.plugins.procedure.quoting import unquoted
from okienko.plugins.procedure.render import Templates
from okienko.plugins.procedure.rules import Reading, Rules
from okienko.schemas import Case, CaseKind, Decision, InboundMessage, NotificationKind, Person, Procedure

A, B = Procedure.EMERGENCY_PASSWORD, Procedure.EMERGENCY_PASSWORD_AND_EMAIL
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_TELLING = 3
"""Words that subject or sentence and a text share, from which on the text is taken for a miss of them."""
_ALL = 2
"""What _said answers for a full name with a year."""
_SENTENCES = 10
"""Sentences of one mail that are looked at."""
_READ = 100_000
"""Characters of a body that are read: nobody writes a request below them, and a machine's dump must cost little."""


@dataclass(frozen=True, slots=True)
class RecoveryClassification(Classification):
    """A recovery request with what was read on the way."""

    explicit: bool = True
    """The subject is identical or a phrase is there, so that it is a request of its own and no reply."""
    reading: Reading | None = None


class DeclaredPack:
    """See ProcedurePack. `now` is the clock; only the year of birth's plausibility needs it."""

    def __init__(self, pack: PackFile, templates: Path, now: Callable[[], datetime]) -> None:
        self.name = pack.name
        self._now = now
        self._rules = Rules(pack)
        self._templates = Templates(templates, pack)
        self._names = NameReader(pack.names)
        r = pack.recovery
        self._near_ratio = r.near_ratio
        self._subject = normal(r.subject)
        self._subject_folded = folded(r.subject)
        self._subject_words = frozenset(self._subject_folded.split())
        phrases = [(A, r.phrase_password), (B, r.phrase_password_and_email)]
        # The longer first: a pack's shorter phrase may be the beginning of its longer one.
        self._phrases = {
            procedure: (phrase_pattern(phrase), folded(phrase))
            for procedure, phrase in sorted(phrases, key=lambda p: -len(p[1]))
        }
        both = zip(*(needle.split() for _, needle in self._phrases.values()), strict=False)
        shared = [words[0] for words in takewhile(lambda words: words[0] == words[1], both)]
        self._shared = f" {' '.join(shared)} " if len(shared) >= _TELLING else None
        self._speaks_of_email = re.compile(r.speaks_of_email)
        self._self_service = MeaningTest(pack.self_service)
        self._complaint = MeaningTest(pack.complaint)
        self._requests = [(s.procedure, MeaningTest(s)) for s in pack.service_requests]
        self._replies = re.compile(rf"(?:(?:{'|'.join(map(re.escape, pack.reply_prefixes))})(?: \d+)? )+")
        self._number = pack.number
        self._solutions = pack.solutions
        self._closed_without_words = pack.closed_without_words
        self._own = pack.own_number
        self._numbers = re.compile(f"{_number_pattern(pack.number)}|{_own_pattern(pack.own_number)}", re.IGNORECASE)

    def classify(self, message: InboundMessage) -> Classification:
        """See ProcedurePack. Order: C, A and B, S3, S2, follow-up, S1."""
        body = self._body(message)
        subject, text = folded(message.subject), folded(body)
        both = f"{subject} {text}"
        exact = normal(message.subject) == self._subject
        phrase = self._phrase_in(body, text)
        if not exact and phrase is None and self._self_service.fits(both):
            return Classification(CaseKind.RECOVERY, Procedure.SELF_SERVICE)
        if exact or phrase is not None or self._near(subject):
            chosen = phrase or (B if self._speaks_of_email.search(both) else A)
            return self._recovery(message, body, chosen, explicit=exact or phrase is not None)
        if self._complaint.fits(both):
            return Classification(CaseKind.COMPLAINT)
        for procedure, test in self._requests:
            if test.fits(both):
                # Unlocking is asked for from the login itself (A4); the others' login stands in what is signed.
                login = message.sender.address if message.sender and procedure is Procedure.UNLOCK else None
                return Classification(CaseKind.SERVICE_REQUEST, procedure, login=login)
        if self._numbers.search(message.subject):
            return Classification(CaseKind.FOLLOW_UP)
        if self._shared and self._shared in f" {text} ":
            return self._recovery(message, body, B if self._speaks_of_email.search(both) else A, explicit=False)
        return Classification(CaseKind.TICKET)

    @staticmethod
    def _body(message: InboundMessage) -> str:
        return unquoted(unicodedata.normalize("NFC", message.text[:_READ]))

    def _phrase_in(self, body: str, text: str) -> Procedure | None:
        """Whose sentence is in the body (folded: `text`): word for word, else nearly."""
        close = squeezed(text)
        near = [p for p, (_, needle) in self._phrases.items() if squeezed(needle) in close]
        if len(near) < 2:
            return near[0] if near else None
        return next((p for p in near if self._phrases[p][0].search(body)), near[0])

    def _near(self, subject: str) -> bool:
        """Whether the folded subject is a miss of the recovery subject (A1, B1)."""
        bare = self._replies.sub("", subject, count=1) if self._replies.match(subject) else subject
        if squeezed(self._subject_folded) in squeezed(bare):
            return True
        words = self._subject_words.intersection(subject.split())
        if len(words) < min(2, len(self._subject_words)):
            return False
        if words == self._subject_words:
            return True
        if len(words) >= _TELLING and f" {bare} " in f" {self._subject_folded} ":
            # A part of it and nothing else: copied badly.
            return True
        return difflib.SequenceMatcher(None, self._subject_folded, bare[:200]).ratio() >= self._near_ratio

    def _recovery(
        self, message: InboundMessage, body: str, procedure: Procedure, *, explicit: bool
    ) -> RecoveryClassification:
        reading = self._read(message, body, procedure)
        person = reading.person if reading.person != Person() else None
        login = message.sender.address if message.sender else None
        if procedure is B:
            # Sent from the new login (B6), so that the old one is any other address in the text.
            new = (login or "").casefold()
            login = next((a for a in _EMAIL.findall(body) if a.casefold() != new), None)
        return RecoveryClassification(CaseKind.RECOVERY, procedure, person, login, explicit, reading)

    def _read(self, message: InboundMessage, body: str, procedure: Procedure) -> Reading:
        pattern, needle = self._phrases[procedure]
        after = [body[found.end() :] for found in islice(pattern.finditer(body), _SENTENCES)]
        exact = bool(after)
        if not exact and squeezed(needle) in squeezed(folded(body)):
            after = [rest] if (rest := after_folded(body, needle)) is not None else []
        return Reading(normal(message.subject) == self._subject, exact, self._best(after))

    def _best(self, after: list[str]) -> Person:
        """The first who is named in full, if possible with a year; else who comes first.

        Some copy the instruction before they write, sentence and all.
        """
        best: Person | None = None
        for text in after:
            person = self._names.person_after(text, self._now().year)
            if best is None or _said(person) > _said(best):
                best = person
            if _said(best) == _ALL:
                break
        return best or Person()

    def decide(self, message: InboundMessage, classification: Classification, evidence: Evidence) -> Decision:
        """See ProcedurePack. C3; S2 with A4, U1, B3 to B7, P1 to P3; S3; A1 to A5; B1 to B7; C; nothing for a follow-up."""
        procedure = classification.procedure
        match classification.kind:
            case CaseKind.SERVICE_REQUEST if procedure is not None:
                return self._rules.service_request(message, procedure, evidence)
            case CaseKind.TICKET | CaseKind.SERVICE_REQUEST:
                return self._rules.new_ticket(message.subject, procedure)
            case CaseKind.COMPLAINT:
                return self._rules.complaint()
            case CaseKind.FOLLOW_UP:
                return Decision()
            case CaseKind.RECOVERY:
                if procedure is Procedure.SELF_SERVICE:
                    return self._rules.self_service()
                chosen = B if procedure is B else A
                reading = classification.reading if isinstance(classification, RecoveryClassification) else None
                if reading is None:
                    reading = self._read(message, self._body(message), chosen)
                hold = self._rules.password_and_email if chosen is B else self._rules.password
                return hold(message, reading, evidence)

    def outranks_threading(self, classification: Classification) -> bool:
        """A1, A2, B1, B2: a request in its own words is a case of its own; a mere "Re:" of an older one is not."""
        if isinstance(classification, RecoveryClassification):
            return classification.explicit
        return classification.procedure in (A, B)

    def needs_registration(self, classification: Classification) -> bool:
        """Rule C: self-service is no work."""
        return classification.procedure is not Procedure.SELF_SERVICE

    def numbers_in(self, text: str) -> tuple[str, ...]:
        """See ProcedurePack."""
        found = []
        for match in self._numbers.finditer(text):
            look, digits = (self._own, match["own"]) if match["own"] else (self._number, match["csd"])
            found.append(f"{look.prefix}{digits.zfill(look.digits)}")
        return tuple(dict.fromkeys(found))

    def own_number(self, seq: int) -> str:
        """See ProcedurePack."""
        return f"{self._own.prefix}{seq:0{self._own.digits}}"

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        """See ProcedurePack."""
        return self._templates.render(kind, context)

    def solution(self, case: Case) -> str:
        """See ProcedurePack. In Polish; the template of mail 2 finds the English beside it."""
        return self._solutions[case.procedure].pl if case.procedure in self._solutions else ""

    def closed_without_words(self, case: Case) -> str:
        """See ProcedurePack. In Polish, as `solution`."""
        del case
        return self._closed_without_words.pl


def _said(person: Person) -> int:
    named = person.given_name is not None and person.family_name is not None
    return named + (named and person.birth_year is not None)


_GAP = r"[\s:#.–-]{0,3}"


def _number_pattern(number: Number) -> str:
    words = "".join(rf"|{re.escape(word)}" for word in number.words)
    return rf"(?<![^\W_]){number.prefix}{_GAP}(?:(?:(?!){words}){_GAP})?(?P<csd>[0-9]{{4,18}})(?![0-9])"


def _own_pattern(own: OwnNumber) -> str:
    # With all its zeros: a short prefix and a few digits may be anything.
    return rf"(?<![^\W_]){own.prefix}{_GAP}(?P<own>[0-9]{{{own.digits},18}})(?![0-9])"
