"""The safety net below the queue: work that is on record but has no job gets one.

A job commits with the change that calls for it, so this finds nothing, unless someone deleted jobs, restored a backup in
parts, or broke a worker off so hard that its queue took the job for cancelled.
"""

from __future__ import annotations

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.jobs import Job

log = structlog.get_logger(__name__)

_OWED = {
    Job.PROCESS: "SELECT id FROM envelope WHERE outcome = 'received'",
    Job.REGISTER: "SELECT id FROM cases WHERE state = 'decided'",
    Job.NOTIFY: "SELECT id FROM notification WHERE state = 'queued'",
    Job.CLOSE: (
        "SELECT DISTINCT case_id AS id FROM closing w WHERE done_at IS NULL "
        "AND NOT EXISTS (SELECT FROM csd_outbox o WHERE o.case_id = w.case_id AND o.kind = 'close' AND o.state IN ('waiting', 'parked'))"
    ),
    Job.SYNC: (
        "SELECT DISTINCT o.case_id AS id FROM csd_outbox o JOIN cases c ON c.id = o.case_id "
        "WHERE o.state = 'waiting' AND c.state <> 'decided' UNION SELECT case_id FROM csd_shadow WHERE news > news_read"
    ),
    Job.ASSESS: (
        "SELECT c.id FROM cases c WHERE c.kind IN ('recovery', 'service_request') AND c.procedure <> 'self_service' "
        "AND c.state IN ('registered', 'human_review') AND NOT EXISTS (SELECT FROM reset_action a WHERE a.case_id = c.id) "
        "AND NOT EXISTS (SELECT FROM event e WHERE e.case_id = c.id AND e.type = 'assessed') "
        "AND NOT EXISTS (SELECT FROM notification n WHERE n.case_id = c.id AND n.kind = 'registered' AND n.state = 'queued') "
        "UNION SELECT c.id FROM signed_application s JOIN cases c ON c.id = s.case_id "
        "WHERE s.state = 'typed' AND c.state IN ('registered', 'human_review', 'reopened')"
    ),
    Job.EXECUTE: (
        "SELECT id FROM reset_action WHERE state IN ('cooling', 'executing') OR (state = 'ready' AND NOT 'by_hand' = ANY(steps))"
    ),
    Job.EXPIRE: "SELECT id FROM reset_action WHERE state IN ('waiting', 'cooling', 'ready')",
    Job.ACTIVATE: (
        "SELECT a.id FROM reset_action a JOIN cases c ON c.id = a.case_id WHERE a.state = 'done' AND c.state = 'closed' "
        "AND 'activate' = ANY(a.steps) AND NOT EXISTS (SELECT FROM activation v WHERE v.action_id = a.id) "
        "AND NOT EXISTS (SELECT FROM notification n WHERE n.case_id = c.id AND n.kind = 'closed' AND n.state = 'queued')"
    ),
}
"""What each kind of job is owed for."""

# NOT IN is hashed whatever the statistics say: after an outage there are thousands on both sides.
_WITHOUT_JOB = """
SELECT owed.id FROM ({owed}) AS owed
WHERE convert_to(owed.id::text, 'UTF8') NOT IN (
    SELECT q.payload FROM pgqueuer q WHERE q.entrypoint = $1 AND q.status IN ('queued', 'picked') AND q.payload IS NOT NULL)
AND NOT ($1 <> 'sync' AND EXISTS (
    SELECT FROM parked p WHERE p.job = $1 AND p.ref = owed.id AND p.state IN ('parked', 'dropped')))
"""
"""A case's outbox says itself which of its rows are parked."""


# A worker that was killed may have had the baton (see okienko.core.registering); its job is given to another only after a while.
_BACKLOG = """
SELECT c.id FROM cases c WHERE c.state = 'decided' AND NOT EXISTS (
    SELECT FROM parked p WHERE p.job = 'register' AND p.ref = c.id AND p.state IN ('parked', 'dropped'))
AND NOT EXISTS (SELECT FROM pgqueuer q WHERE q.entrypoint = 'register' AND q.status = 'queued' AND q.execute_after <= now())
ORDER BY c.seq LIMIT 1
"""


async def wake_backlog(engine: AsyncEngine) -> None:
    """When cases wait and none of their jobs is due, one more is queued for the oldest: whoever gets it drains what it can."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        await enqueue(connection, Job.REGISTER, [str(row["id"]) for row in await raw.fetch(_BACKLOG)])


async def reconcile(engine: AsyncEngine) -> int:
    """Enqueue what is owed and has no job; how many that were. A job too many does no harm: every job's work is done once."""
    found = 0
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        for job, owed in _OWED.items():
            ids = [str(row["id"]) for row in await raw.fetch(_WITHOUT_JOB.format(owed=owed), job.value)]
            await enqueue(connection, job, ids)
            found += len(ids)
    if found:
        log.error("work without a job was found and queued", action="reconcile", jobs=found)
    return found
