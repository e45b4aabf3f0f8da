"""Erasing the person of a case: its keys, so that what was sealed is gone, and the plain columns that tell of the person.

The case, its number, its decision's verdicts, its events and the audit stay: none of them tells who it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.audit.vault import Vault
from okienko.core.csd import outbox
from okienko.core.csd.outbox import Kind
from okienko.core.database import raw_connection, transaction
from okienko.plugins.errors import PermanentError
from okienko.schemas import CaseState, Decision

_ENVELOPES = "SELECT id FROM envelope WHERE case_id = $1 ORDER BY seq FOR UPDATE"
_CASE = """
UPDATE cases SET subject = '', requester_name = NULL, requester_address = NULL, person = NULL, description = '',
       origin_message_id = NULL, silenced = 'erased', request_key = NULL, decision = $2 WHERE id = $1
"""
_STATEMENTS = (
    "UPDATE notification SET to_name = '', to_address = '', subject = '', text = '', in_reply_to = NULL WHERE case_id = $1",
    "UPDATE closing SET solution = '' WHERE case_id = $1",
    "DELETE FROM csd_outbox WHERE case_id = $1 AND state <> 'done'",
    "UPDATE csd_note SET text = '', author = '' WHERE case_id = $1",
    "UPDATE csd_conflict SET base = NULL, okienko = NULL, csd = NULL WHERE case_id = $1",
    "UPDATE csd_shadow SET fields = fields || '{\"subject\": \"\"}', files = '{}' WHERE case_id = $1",
    "DELETE FROM activation WHERE action_id IN (SELECT id FROM reset_action WHERE case_id = $1)",
    "UPDATE reset_action SET account_ref = NULL, old_login = '', new_login = NULL, reason = NULL, decision_sha256 = '', digest = '', "
    "stop_sha256 = NULL, nonce = NULL, report = NULL, handlers = '{}' WHERE case_id = $1",
    "UPDATE reset_approval SET decision = '' WHERE action_id IN (SELECT id FROM reset_action WHERE case_id = $1)",
    # Hashes over sender, date and text, by which a guess could be confirmed.
    "DELETE FROM seen WHERE envelope_id IN (SELECT id FROM envelope WHERE case_id = $1)",
    "UPDATE signed_application SET typed = NULL, sha256 = '' WHERE case_id = $1",
    "DELETE FROM thread_ref WHERE case_id = $1",
    "DELETE FROM envelope_chunk WHERE envelope_id IN (SELECT id FROM envelope WHERE case_id = $1)",
    "UPDATE envelope SET raw = '', mail_from = NULL, rcpt_to = '{}', "
    "source = CASE WHEN external_id IS NULL THEN '' ELSE source END WHERE case_id = $1",  # without an id it may be a file's name
)
_BUSY = """
SELECT EXISTS (SELECT 1 FROM notification WHERE case_id = $1 AND state = 'queued')
    OR EXISTS (SELECT 1 FROM closing WHERE case_id = $1 AND done_at IS NULL)
    OR EXISTS (SELECT 1 FROM csd_outbox WHERE case_id = $1 AND state = 'waiting' AND kind <> 'erase')
    OR EXISTS (SELECT 1 FROM reset_action WHERE case_id = $1 AND state IN ('waiting', 'cooling', 'ready', 'executing'))
"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased."""

    case_id: UUID
    number: str | None
    keys: int
    messages: int


async def erase(engine: AsyncEngine, vault: Vault, key: str, *, reason: str, who: str, now: datetime) -> Erasure:
    """Erase the person of a closed case, given by id or number; audited with the reason. Running it again is harmless.

    Raises PermanentError when there is no such case, or it still waits for something that needs the person.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        case_id = await cases.find(raw, key)
        if case_id is None:
            raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
        envelopes = await raw.fetch(_ENVELOPES, case_id)
        row = (await cases.fetch(raw, [case_id], lock=True))[case_id]
        if row["state"] != CaseState.CLOSED:
            raise PermanentError(f"the case is {row['state']}: close it first, then erase")
        if await raw.fetchval(_BUSY, case_id):
            raise PermanentError("a message or a reset action of the case is still under way: erase when it is through")
        await raw.execute(_CASE, case_id, _without_evidence(row["decision"]))
        for statement in _STATEMENTS:
            await raw.execute(statement, case_id)
        if row["csd_number"]:
            await outbox.put(raw, [(case_id, Kind.ERASE, None)], now)
            await outbox.wake(connection, [case_id])
        keys = await vault.erase(raw, case_id, now)
        data: dict[str, Any] = {"keys": keys, "messages": len(envelopes)}
        subject = f"number {row['csd_number']}" if row["csd_number"] else ""
        record(raw, [NewEntry(AuditAction.ERASED, now, who, case_id, subject, reason, data)])
    return Erasure(case_id, row["csd_number"], keys, len(envelopes))


def _without_evidence(decision: str) -> str:
    """Verdicts stay; evidence may quote an address or a file's name."""
    whole = Decision.model_validate_json(decision)
    bare = tuple(result.model_copy(update={"evidence": "erased"}) for result in whole.results)
    return Decision(results=bare).model_dump_json()
