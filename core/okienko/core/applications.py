"""Signed applications that could not be read in full (rule B3): noted when assessed, typed by a person, assessed again.

What was read out of signed octets is never typed over: only what is missing is taken from a person, and only as long as it is
missing. What they typed is sealed under the key of its case, so that erasing the person takes it along.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from okienko.core.audit.vault import Erased, Vault
from okienko.core.verifying import Checked
from okienko.plugins.signatures import Application

FIELDS = ("given_name", "family_name", "old_login", "new_login")
"""What B3 asks for: names of Application's fields. The personal number is never typed."""
SEALED_AS = "application"
"""Name of the vault's field."""
_FETCH = "SELECT * FROM signed_application WHERE case_id = $1"
_NOTE = """
INSERT INTO signed_application (case_id, envelope_id, attachment, sha256, missing, state, revision, typists, noted_at)
VALUES ($1, $2, $3, $4, $5, 'unread', 0, '{}', $6) ON CONFLICT (case_id) DO NOTHING
"""
_ASSESSED = """
UPDATE signed_application SET state = 'assessed' WHERE case_id = $1 AND state = 'typed' AND revision = $2 RETURNING 1
"""


@dataclass(frozen=True, slots=True)
class SignedApplication:
    """A row: which document, what is missing, and who typed it."""

    case_id: UUID
    envelope_id: UUID
    attachment: int
    sha256: str
    missing: tuple[str, ...]
    state: str
    """`unread`, `typed` (to be assessed) or `assessed`."""
    revision: int
    """How often it was typed."""
    typists: frozenset[str]
    """Lasting names and addresses of everybody who typed; they never approve."""
    sealed: bytes | None = field(repr=False)
    noted_at: datetime
    typed_at: datetime | None
    typed_by: str | None

    async def typed(self, raw: Any, vault: Vault) -> Application | Erased:
        """What was typed: nothing yet, some fields, or Erased."""
        if self.sealed is None:
            return Application()
        opened = await vault.open(raw, self.case_id, SEALED_AS, self.sealed)
        return opened if isinstance(opened, Erased) else Application.model_validate_json(opened)


async def fetch(raw: Any, case_id: UUID, *, lock: bool = False) -> SignedApplication | None:
    """The application of a case, if it has one that could not be read in full."""
    row = await raw.fetchrow(_FETCH + (" FOR UPDATE" if lock else ""), case_id)
    if row is None:
        return None
    return SignedApplication(
        row["case_id"], row["envelope_id"], row["attachment"], row["sha256"], tuple(row["missing"]), row["state"], row["revision"],
        frozenset(row["typists"]), row["typed"], row["noted_at"], row["typed_at"], row["typed_by"],
    )  # fmt: skip


def seal_text(values: Mapping[str, str]) -> bytes:
    """What is typed, as it is sealed."""
    return json.dumps(dict(values), ensure_ascii=False).encode()


def missing_in(application: Application) -> tuple[str, ...]:
    """Fields that nobody could read."""
    return tuple(name for name in FIELDS if not getattr(application, name))


@dataclass
class Reading:
    """What one assessment has to do with all this. It is done first when the case opens, and again after each typing."""

    case_id: UUID
    envelope_id: UUID
    again: SignedApplication | None
    """What was typed and is to be assessed; None: the first assessment."""
    _typed: Application
    _checked: Checked | None = None

    @classmethod
    async def begin(cls, raw: Any, vault: Vault, case_id: UUID, envelope_id: UUID) -> Reading:
        """Look whether somebody has typed since the last assessment."""
        found = await fetch(raw, case_id)
        if found is None or found.state != "typed":
            return cls(case_id, envelope_id, None, Application())
        typed = await found.typed(raw, vault)
        return cls(case_id, envelope_id, found, Application() if isinstance(typed, Erased) else typed)

    @property
    def typists(self) -> frozenset[str]:
        """Who handled the case by typing."""
        return self.again.typists if self.again else frozenset()

    @property
    def told(self) -> dict[str, Any]:
        """For the event of the assessment: which fields were typed, without what."""
        return {"fields": list(self._checked.typed)} if self._checked and self._checked.typed else {}

    def complete(self, checked: Checked | None) -> Checked | None:
        """`checked`, with what was typed beside that very document in the place of what could not be read."""
        self._checked = checked
        if checked is None or self.again is None or not checked.verification.report.valid:
            return checked
        if checked.attachment is None or checked.attachment.sha256 != self.again.sha256:
            return checked
        typed = {n: v for n in missing_in(checked.application) if (v := getattr(self._typed, n))}
        whole = checked.application.model_copy(update=typed)
        self._checked = replace(checked, application=whole, typed=tuple(typed))
        return self._checked

    async def settle(self, raw: Any, now: datetime) -> bool:
        """Close this assessment in its transaction, under the lock of the case; False when somebody typed meanwhile.

        The first assessment notes an application with a signature that counts and data that could not be read.
        """
        if self.again is not None:
            return await raw.fetchval(_ASSESSED, self.case_id, self.again.revision) is not None
        checked = self._checked
        if checked is not None and checked.attachment is not None and checked.verification.report.valid:
            missing = missing_in(checked.application)
            if missing:
                await raw.execute(
                    _NOTE, self.case_id, self.envelope_id, checked.attachment.index, checked.attachment.sha256, list(missing), now
                )  # fmt: skip
        return True


def people(*names: Iterable[str]) -> list[str]:
    """Names and addresses of one or more people, as they are kept."""
    return sorted({name.lower() for some in names for name in some})
