"""What the audit keeps of look-ups and decisions about a person: ids in the open, the person sealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.judging import Judged


def decision_personal(judged: Judged) -> bytes | None:
    """Whom a decision was about and on what evidence, as JSON to be sealed; None where it speaks of nobody's account."""
    classification, decision = judged.classification, judged.decision
    if classification is None or decision is None or (classification.person, classification.login) == (None, None):
        return None
    person = classification.person
    told = {
        "requester": judged.keyed.correspondent,
        "login": classification.login,
        "person": person.model_dump(mode="json", exclude_none=True) if person else None,
        "evidence": {result.rule: result.evidence for result in decision.results},
    }
    return json.dumps(told, ensure_ascii=False).encode()


def look_up_entries(backend: str, envelope_ids: Sequence[UUID], who: str, now: datetime) -> list[NewEntry]:
    """Entries for look-ups by login that are about to be made for messages. The login stands in the message, not here."""
    return [
        NewEntry(
            AuditAction.LOOKED_UP, now, who, subject=f"account at {backend}", reason="to decide on the message",
            data={"backend": backend, "operation": "find_by_login", "envelope": str(envelope_id)},
        )
        for envelope_id in envelope_ids
    ]  # fmt: skip
