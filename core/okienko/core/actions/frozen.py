"""What exactly is approved: frozen when it is proposed, and recognised by its digest ever after."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from okienko.schemas import Decision


def decision_sha256(decision: Decision) -> str:
    """SHA-256, hex, of a decision: every rule with its verdict and evidence."""
    return hashlib.sha256(decision.model_dump_json().encode()).hexdigest()


def shown_code(digest: str, decision: str) -> str:
    """The short code of what a person is shown at the command line: 16 hex digits over the action's digest and the decision's hash."""
    return hashlib.sha256(f"okienko shown v1\0{digest}\0{decision}".encode()).hexdigest()[:16]


class Step(StrEnum):
    """One change to an account."""

    UNLOCK = "unlock"
    CHANGE_LOGIN = "change_login"
    ACTIVATE = "activate"
    """Let the person set a new password by a link that only they receive."""
    RELEASE_PESEL = "release_pesel"
    """Take the personal number off the account, so that its owner can have another one."""
    BY_HAND = "by_hand"
    """Something that an administrator does in their own tool."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Everything that an approval is for. A difference in any part makes another digest."""

    action_id: UUID
    case_id: UUID
    backend: str
    account_ref: str | None
    """The backend's lasting id of the account; None where no backend can look accounts up."""
    old_login: str
    new_login: str | None
    steps: tuple[Step, ...]
    decision_sha256: str
    """Of the decision, rule by rule with its evidence, that was shown."""
    must_check: tuple[str, ...] = ()
    """Rules that nobody could decide and that each approver confirms to have checked."""
    nonce: bytes = b""
    """Random, so that nobody can confirm a guessed address by the digest, which stays in the audit when all else is erased. Empty
    for what was proposed before there were nonces."""
    report: str | None = None
    """What was shown of a PESEL conflict, word for word; see okienko.core.actions.pesels."""

    @property
    def changes_login(self) -> bool:
        """Whether the login e-mail becomes another one."""
        return self.new_login is not None and self.new_login.lower() != self.old_login.lower()

    @property
    def digest(self) -> str:
        """SHA-256, hex, over a canonical JSON array of all parts in their order; the report is a part where there is one."""
        parts: list[object] = [
            "okienko reset action v1", str(self.action_id), str(self.case_id), self.backend, self.account_ref,
            self.old_login, self.new_login, [step.value for step in self.steps], self.decision_sha256, list(self.must_check),
            *([self.report] if self.report is not None else []),
        ]  # fmt: skip
        if self.nonce:
            parts[0] = "okienko reset action v2"
            parts.append(self.nonce.hex())
        text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
