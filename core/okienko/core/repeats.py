"""The same recovery request again: a flood of them is one case, one registration and one answer.

What a request asks is put into one keyed hash: who sent it, what is known of the sender, which account it claims, for whom,
with which documents, and what the procedure says to it. Only a request that has all of that in common with an open case, and
so could lead to nothing else, becomes a part of it. From: proves nothing; so a mail whose sender is proved and one that only
bears the same address are never the same request, and neither takes the other in.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from okienko.core.events import NewEvent
from okienko.core.limits import Limit
from okienko.plugins.ports import Classification
from okienko.plugins.raw import RawContent
from okienko.plugins.senderproof import Proof, SenderProof, header_values
from okienko.schemas import CaseKind, Decision, DecisionOutcome, EventType, InboundMessage, Procedure

REPEAT = "repeat"
"""The reason of a Merge by this."""
_PROCEDURES = frozenset({Procedure.EMERGENCY_PASSWORD, Procedure.EMERGENCY_PASSWORD_AND_EMAIL})
_HEAD = 256 << 10
"""Octets of a mail's beginning in which its header fields are read."""
# The one that was answered first: what came in silence answers for nobody.
_OPEN = """
SELECT DISTINCT ON (request_key) request_key, id, silenced FROM cases
WHERE request_key = ANY($1::bytea[]) AND state <> 'closed' AND opened_at > $2
ORDER BY request_key, (silenced IS NULL) DESC, seq DESC
"""
# Their rows are locked already, in the order in which everybody locks cases.
_COUNT = """
UPDATE cases c SET repeats = c.repeats + d.n FROM unnest($1::uuid[], $2::int[]) AS d(id, n) WHERE c.id = d.id RETURNING c.id, c.repeats
"""


@dataclass(frozen=True, slots=True)
class Repeatable:
    """An open case that the same request joins."""

    case_id: UUID
    answered: bool
    """Whether the person is told of the case; a request that would be answered does not vanish in one that was not."""


class RequestKeys:
    """Makes the hashes. `key` is secret, so that nobody tells from the database what was asked; `window` is a case's time."""

    def __init__(self, key: bytes, sender: SenderProof, *, window: timedelta) -> None:
        self._key = key
        self._sender = sender
        self.window = window

    @staticmethod
    def may_repeat(classification: Classification) -> bool:
        """Whether it is a request for an account; all else is never the same request again."""
        return classification.kind is CaseKind.RECOVERY and classification.procedure in _PROCEDURES

    def of(
        self,
        mailbox: str,
        message: InboundMessage,
        classification: Classification,
        decision: Decision,
        raw: RawContent,
    ) -> bytes | None:
        """The key of a request that `may_repeat`, 32 octets; None where it cannot be told without asking DNS.

        `decision` is the first one, without evidence about the account. Pure but for reading `raw`.
        """
        if message.sender is None or not message.sender.address:
            return None
        with raw.open() as stream:
            head = stream.read(_HEAD)
        verdict = self._sender.judge(message.authentication_results, header_values(head, "From"))
        if verdict.proof is Proof.UNPROVED and self._sender.reads_messages and header_values(head, "DKIM-Signature"):
            # Our own check of the signature, made later, may prove this one and not the other.
            return None
        person = classification.person
        pesel = person.pesel.reveal() if person and person.pesel else None
        parts = [
            mailbox, message.sender.address.lower(), classification.procedure or "", (classification.login or "").lower(),
            verdict.proof.value, verdict.method or "", verdict.address or "", verdict.domain or "",
            repr((person.given_name, person.family_name, person.birth_year, pesel) if person else None),
            repr([(result.rule, result.verdict.value) for result in decision.results]),
            repr(sorted(attachment.sha256 for attachment in message.attachments)),
        ]  # fmt: skip
        if decision.outcome is DecisionOutcome.UNMET:
            # Who corrects a request and misses again wants to hear of it: only what is the same word for word is.
            parts += [" ".join(message.subject.split()), " ".join(message.text.split())]
        mac = hmac.new(self._key, digestmod=sha256)
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            mac.update(len(encoded).to_bytes(8, "big") + encoded)
        return mac.digest()


async def open_cases(raw: Any, keys: Sequence[bytes], since: datetime) -> dict[bytes, Repeatable]:
    """The open case of each key, if there is one that was opened after `since`. The caller holds the keys' locks."""
    rows = await raw.fetch(_OPEN, list(keys), since)
    return {row["request_key"]: Repeatable(row["id"], row["silenced"] is None) for row in rows}


async def count(raw: Any, repeats: Sequence[tuple[UUID, UUID]], now: datetime) -> tuple[list[UUID], list[NewEvent]]:
    """Count the repeats, given as case and envelope. The envelopes that are the first of their case, and events.

    The time line and the audit get the first, the tenth, the hundredth: a flood must not drown what else they tell.
    """
    numbers: dict[UUID, int] = {}
    first: dict[UUID, UUID] = {}
    for case_id, envelope_id in repeats:
        numbers[case_id] = numbers.get(case_id, 0) + 1
        first.setdefault(case_id, envelope_id)
    if not numbers:
        return [], []
    totals: Mapping[UUID, int] = {
        row["id"]: row["repeats"] for row in await raw.fetch(_COUNT, list(numbers), list(numbers.values()))
    }
    events = [
        NewEvent(
            case_id,
            EventType.LIMITED,
            now,
            {"limit": Limit.REPEAT.value, "count": total, "why": f"the same request came again, {total} times so far"},
        )
        for case_id, total in totals.items()
        if len(str(total)) > len(str(total - numbers[case_id])) or total == numbers[case_id]
    ]
    return [first[case_id] for case_id, total in totals.items() if total == numbers[case_id]], events
