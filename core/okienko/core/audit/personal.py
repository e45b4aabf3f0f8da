"""What the audit keeps of look-ups and decisions about a person: ids in the open, the person sealed."""

from __future__ import annotations

import json

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
