"""What is done about an approval that nobody gave: it is audited, counted, and the action is parked for a person."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions import store
from okienko.core.actions.machine import ForgedApprovalError
from okienko.core.actions.seals import Seals, Trust
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.database import raw_connection, transaction
from okienko.core.jobs import Job
from okienko.core.parking import park
from okienko.metrics import catalogue as metrics

log = structlog.get_logger(__name__)

_PARKED = "SELECT EXISTS (SELECT FROM parked WHERE job = $1 AND ref = $2 AND state = 'parked')"


async def raise_alarm(
    engine: AsyncEngine, seals: Seals, action_id: UUID, error: ForgedApprovalError, now: datetime, who: str,
    job: Job = Job.EXECUTE,
) -> None:  # fmt: skip
    """Audit each approval that does not count, and park the action unless it is parked.

    In a transaction of its own: that of the move was undone.
    """
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        action = await store.fetch(raw, seals, action_id, lock=True)
        forged = [a for a in action.approvals if a.trust is not Trust.GENUINE]
        record(
            raw,
            [
                NewEntry(
                    AuditAction.APPROVAL_FORGED, now, who, action.frozen.case_id, f"action {action_id}", f"seal: {a.trust.value}",
                    {"action": str(action_id), "claimed": a.who},
                )
                for a in forged
            ],
        )  # fmt: skip
        if not await raw.fetchval(_PARKED, job.value, action_id):
            reason = await park(raw, job, action_id, None, error, now)
            metrics.PARKED.labels(job, reason.value).inc()
    metrics.APPROVALS_FORGED.inc(len(forged))
    log.error("approval without a seal", action="approval_forged", reset_action=str(action_id), number=len(forged))
