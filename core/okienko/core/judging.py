"""From parsed messages to what is to be written: the policies' round and the procedure's decision. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

from okienko.core.calls import Calls
from okienko.core.facts import FactBook, Keyed
from okienko.core.repeats import REPEAT
from okienko.plugins.ports import (
    CaseLink,
    Classification,
    Evidence,
    Merge,
    MessageFacts,
    MessagePolicy,
    ProcedurePack,
    Silence,
    Suppress,
    Verdicts,
)
from okienko.schemas import CaseState, Decision, InboundMessage, Outcome
from okienko.schemas.pesel import mask_pesels


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of one message."""

    keyed: Keyed
    outcome: Outcome
    reason: str
    case_id: UUID | None = None
    classification: Classification | None = None
    decision: Decision | None = None
    silenced: str | None = None
    merge: Merge | None = None
    mentions: tuple[CaseLink, ...] = ()
    """Cases whose number the message names, though it does not belong there by itself: a person may want to join them."""
    repeats: bool = False
    """Whether it is the same recovery request again."""


def judge(
    keyed: Keyed,
    classification: Classification,
    book: FactBook,
    policies: Sequence[MessagePolicy],
    pack: ProcedurePack,
    calls: Calls,
    decision: Decision | None = None,
) -> Judged:
    """Duplicate, suppressed, merged or a new case; the book learns of a new case so that the batch's next member sees it.

    `decision`: the first one on the message, if it was made already.
    """
    if (original := book.original_of(keyed)) is not None:
        return Judged(keyed, Outcome.DUPLICATE, f"same as {original}", book.case_of_envelope.get(original))
    facts = book.facts(keyed)
    verdict, silenced = _ask(policies, keyed.message, facts, calls)
    if isinstance(verdict, Suppress):
        return Judged(keyed, Outcome.SUPPRESSED, verdict.reason, verdict.case_id)
    if isinstance(verdict, Merge) and not pack.outranks_threading(classification):
        book.case_of_envelope[keyed.envelope_id] = verdict.case_id
        return Judged(keyed, Outcome.MERGED, verdict.reason, verdict.case_id, merge=verdict)
    if silenced is None and keyed.correspondent is None:
        silenced = "no_sender"
    if (case_id := book.repeated(keyed, answered=silenced is None)) is not None:
        book.case_of_envelope[keyed.envelope_id] = case_id
        return Judged(keyed, Outcome.MERGED, REPEAT, case_id, merge=Merge(case_id, REPEAT), repeats=True)
    if decision is None:
        decision = calls.ask(pack, lambda: pack.decide(keyed.message, classification, Evidence()))
    case_id = uuid4()
    book.case_of_envelope[keyed.envelope_id] = case_id
    link = CaseLink(case_id, None, CaseState.DECIDED, keyed.correspondent)
    book.opened(keyed, link, answered=silenced is None)
    return Judged(
        keyed, Outcome.CASED, "new case", case_id, classification, decision, silenced, mentions=facts.by_number
    )


def _ask(
    policies: Sequence[MessagePolicy], message: InboundMessage, facts: MessageFacts, calls: Calls
) -> tuple[Verdicts | None, str | None]:
    silenced: str | None = None
    for policy in policies:
        verdict = calls.ask(policy, partial(policy.judge, message, facts))
        if isinstance(verdict, Silence):
            silenced = silenced or verdict.reason
        elif verdict is not None:
            return verdict, silenced
    return None, silenced


def opened_row(judged: Judged, channel: str, connector: str, at: datetime) -> dict[str, object]:
    """The row of the cases table for a message that opens a case."""
    message = judged.keyed.message
    classification, decision = judged.classification, judged.decision
    if classification is None or decision is None:
        raise TypeError("only a message that opens a case has a row")
    return {
        "id": judged.case_id,
        "kind": classification.kind.value,
        "procedure": classification.procedure.value if classification.procedure else None,
        "state": CaseState.DECIDED.value,
        "channel": channel,
        "connector": connector,
        "mailbox": judged.keyed.mailbox,
        "subject": mask_pesels(message.subject)[:1000],
        "requester_name": mask_pesels(message.sender.name)[:200] if message.sender else None,
        "requester_address": judged.keyed.correspondent,
        "person": classification.person.model_dump_json() if classification.person else None,
        "decision": decision.model_dump_json(),
        # People write their PESEL into mails. The mail as it came keeps it; lists, the CSD and notices do not need it.
        "description": mask_pesels(message.text)[:20000],
        "origin_message_id": message.message_id,
        "silenced": judged.silenced,
        "opened_at": at,
        "request_key": judged.keyed.request_key,
    }
