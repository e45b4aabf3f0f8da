"""A procedure pack that is declared in a file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from okienko.plugins.ports import Classification, Evidence, NotificationContext, RenderedText
from okienko.plugins.procedure.identical import folded, normal
from okienko.plugins.procedure.model import PackFile
from okienko.plugins.procedure.names import person_after
from okienko.plugins.procedure.quoting import unquoted
from okienko.plugins.procedure.render import Templates
from okienko.plugins.procedure.rules import Reading, Rules
from okienko.schemas import CaseKind, Decision, InboundMessage, NotificationKind, Person, Procedure

_REPLY = re.compile(r"^(?:(?:re|fwd?|odp|pd|aw|wg|sv)(?: \d+)? )+")
_NUMBER = r"(?<![a-z0-9]){prefix}[\s:#\u00a0-]*(?:nr\.?\s*)?(\d{{4,{most}}})(?!\d)"
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


class DeclaredPack:
    """See ProcedurePack. `now` is the clock; only the year of birth's plausibility needs it."""

    def __init__(self, pack: PackFile, templates: Path, now: Callable[[], datetime]) -> None:
        self.name = pack.name
        self._pack = pack
        self._now = now
        self._rules = Rules(pack)
        self._templates = Templates(templates, pack)
        r = pack.recovery
        self._subject = normal(r.subject)
        self._subject_folded = folded(r.subject)
        self._subject_words = set(self._subject_folded.split())
        self._phrases = [
            (
                Procedure.EMERGENCY_PASSWORD_AND_EMAIL,
                normal(r.phrase_password_and_email),
                folded(r.phrase_password_and_email),
            ),
            (Procedure.EMERGENCY_PASSWORD, normal(r.phrase_password), folded(r.phrase_password)),
        ]
        self._speaks_of_email = re.compile(r.speaks_of_email)
        self._self_service = [re.compile(p) for p in r.self_service]
        self._self_service_not = [re.compile(p) for p in r.self_service_not]
        self._complaint = [re.compile(p) for p in pack.complaint]
        self._requests = [
            (s.procedure, [re.compile(p) for p in s.all_of], [re.compile(p) for p in s.none_of])
            for s in pack.service_requests
        ]
        self._new_word = re.compile(rf"(?<!\w){re.escape(pack.new_word)}(?!\w)", re.IGNORECASE)
        self._numbers = re.compile(
            _NUMBER.format(prefix=pack.number.prefix.lower(), most=pack.number.digits + 4), re.IGNORECASE
        )

    # --- what it is -------------------------------------------------------------------------------------------------

    def classify(self, message: InboundMessage) -> Classification:
        """See ProcedurePack."""
        body = unquoted(message.text)
        subject = folded(message.subject)
        text = folded(body)
        exact = normal(message.subject) == self._subject
        phrase = next((p for p, _, needle in self._phrases if needle in text), None)
        both = f"{subject} {text}"
        if not exact and phrase is None and self._means_self_service(both):
            return Classification(CaseKind.RECOVERY, Procedure.SELF_SERVICE)
        if exact or phrase is not None or self._near(subject):
            return self._recovery(message, body, text, phrase)
        if any(p.search(both) for p in self._complaint):
            return Classification(CaseKind.COMPLAINT)
        for procedure, wanted, unwanted in self._requests:
            if all(p.search(both) for p in wanted) and not any(p.search(both) for p in unwanted):
                return Classification(CaseKind.SERVICE_REQUEST, procedure)
        if self.numbers_in(message.subject):
            return Classification(CaseKind.FOLLOW_UP)
        return Classification(CaseKind.TICKET)

    def _means_self_service(self, text: str) -> bool:
        return all(p.search(text) for p in self._self_service) and not any(
            p.search(text) for p in self._self_service_not
        )

    def _near(self, subject: str) -> bool:
        bare = _REPLY.sub("", subject)
        if self._subject_folded in bare:
            return True
        if len(self._subject_words & set(bare.split())) < 2:
            return False
        return difflib.SequenceMatcher(None, self._subject_folded, bare).ratio() >= self._pack.recovery.near_ratio

    def _recovery(self, message: InboundMessage, body: str, text: str, phrase: Procedure | None) -> Classification:
        procedure = phrase
        if procedure is None:
            of_email = self._speaks_of_email.search(text)
            procedure = Procedure.EMERGENCY_PASSWORD_AND_EMAIL if of_email else Procedure.EMERGENCY_PASSWORD
        reading = self._read(message, body, procedure)
        person = reading.person if reading.person != Person() else None
        login: str | None = message.sender.address if message.sender else None
        if procedure is Procedure.EMERGENCY_PASSWORD_AND_EMAIL:
            sender = (login or "").lower()
            others = (a for a in _EMAIL.findall(body) if a.lower() != sender)
            return Classification(CaseKind.RECOVERY, procedure, person, next(others, None))
        return Classification(CaseKind.RECOVERY, procedure, person, login)

    def _read(self, message: InboundMessage, body: str, procedure: Procedure) -> Reading:
        _, phrase, phrase_folded = next(p for p in self._phrases if p[0] is procedure)
        text = normal(body)
        start = text.find(phrase)
        end = start + len(phrase)
        # "…dla" must end there: "dlaczego" is another word.
        found = start >= 0 and not text[end : end + 1].isalnum()
        if found:
            # The name is read from the text with its line ends, which tell where it stops.
            words = r"\s+".join(re.escape(word) for word in phrase.split(" "))
            match = re.search(words, _nfc(body))
            after: str | None = _nfc(body)[match.end() :] if match else text[end:]
        else:
            after = _after_folded(body, phrase_folded)
        person = person_after(after, self._now().year) if after is not None else Person()
        return Reading(message, normal(message.subject) == self._subject, found, person)

    # --- whether it meets the procedure -----------------------------------------------------------------------------

    def decide(self, message: InboundMessage, classification: Classification, evidence: Evidence) -> Decision:
        """See ProcedurePack."""
        procedure = classification.procedure
        match classification.kind:
            case CaseKind.TICKET | CaseKind.SERVICE_REQUEST:
                return self._rules.new_ticket(
                    bool(self._new_word.search(normal(message.subject))), procedure.value if procedure else None
                )
            case CaseKind.COMPLAINT:
                return self._rules.complaint()
            case CaseKind.FOLLOW_UP:
                return Decision()
            case CaseKind.RECOVERY:
                if procedure is Procedure.SELF_SERVICE:
                    return self._rules.self_service()
                chosen = procedure or Procedure.EMERGENCY_PASSWORD
                reading = self._read(message, unquoted(message.text), chosen)
                if chosen is Procedure.EMERGENCY_PASSWORD_AND_EMAIL:
                    return self._rules.password_and_email(reading, evidence)
                return self._rules.password(reading, evidence)

    def outranks_threading(self, classification: Classification) -> bool:
        """Recovery requests are always looked at afresh; what is quoted does not make one."""
        return classification.kind is CaseKind.RECOVERY and classification.procedure is not Procedure.SELF_SERVICE

    def needs_registration(self, classification: Classification) -> bool:
        """Rule C: self-service is no work."""
        return classification.procedure is not Procedure.SELF_SERVICE

    def numbers_in(self, text: str) -> tuple[str, ...]:
        """See ProcedurePack."""
        number = self._pack.number
        return tuple(
            dict.fromkeys(f"{number.prefix}{int(found):0{number.digits}d}" for found in self._numbers.findall(text))
        )

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        """See ProcedurePack."""
        return self._templates.render(kind, context)


def _nfc(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", text)


def _after_folded(body: str, phrase: str) -> str | None:
    """The text after the folded phrase; None when it is not there. Line by line, since folding moves positions."""
    lines = body.split("\n")
    for start in range(len(lines)):
        joined = ""
        for end in range(start, min(start + 4, len(lines))):
            joined = f"{joined} {lines[end]}"
            if phrase in folded(joined):
                words = joined.split()
                while words and phrase in folded(" ".join(words[1:])):
                    words = words[1:]
                count = len(phrase.split())
                return " ".join(words[count:]) + "\n" + "\n".join(lines[end + 1 :])
    return None
