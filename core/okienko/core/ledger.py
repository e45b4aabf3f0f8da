"""Reads the ledger: the figures that must agree with the database, in one consistent snapshot."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.database import raw_connection, transaction
from okienko.metrics.ledger import Ledger

_COUNTS = """
SELECT (SELECT count(*) FROM envelope) AS received,
       (SELECT count(*) FROM case_message WHERE role = 'opened') AS cased,
       (SELECT count(*) FROM case_message WHERE role IN ('merged', 'repeated')) AS merged,
       (SELECT count(*) FROM envelope WHERE outcome IN ('suppressed', 'duplicate')) AS suppressed,
       (SELECT count(*) FROM parked WHERE job = 'process' AND state = 'parked') AS parked,
       (SELECT count(*) FROM reset_action WHERE state = 'waiting') AS actions
"""
_QUEUE = """
SELECT entrypoint, count(*) FILTER (WHERE status IN ('queued', 'picked')) AS depth,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       coalesce(extract(epoch FROM max(now() - execute_after) FILTER (WHERE status = 'queued' AND execute_after <= now())), 0) AS age
FROM pgqueuer GROUP BY entrypoint
"""


_AUDIT = """
SELECT h.seq,
       (SELECT data->>'intact' FROM audit_entry WHERE action = 'verified' ORDER BY seq DESC LIMIT 1) AS intact,
       (SELECT at FROM audit_entry WHERE action = 'verified' ORDER BY seq DESC LIMIT 1) AS verified_at,
       (SELECT at FROM audit_entry WHERE action = 'anchored' ORDER BY seq DESC LIMIT 1) AS anchored_at
FROM audit_head h
"""


async def read_ledger(engine: AsyncEngine) -> Ledger:
    """One reading. Raises TransientError when the database is away."""
    async with transaction(engine, snapshot=True) as connection:
        raw = await raw_connection(connection)
        counts = await raw.fetchrow(_COUNTS)
        queue = await raw.fetch(_QUEUE)
        audit = await raw.fetchrow(_AUDIT)
        by_state = await raw.fetch("SELECT kind, state, count(*) AS n FROM cases GROUP BY kind, state")
    return Ledger(
        received=counts["received"], cased=counts["cased"], merged=counts["merged"],
        suppressed=counts["suppressed"], parked=counts["parked"], actions_waiting=counts["actions"],
        queue_depth={r["entrypoint"]: r["depth"] for r in queue},
        queue_failed={r["entrypoint"]: r["failed"] for r in queue},
        queue_oldest_seconds={r["entrypoint"]: float(r["age"]) for r in queue},
        cases={(r["kind"], r["state"]): r["n"] for r in by_state},
        audit_entries=audit["seq"] if audit else 0,
        # Without a head row the chain is certainly not whole.
        audit_intact=(None if audit["intact"] is None else audit["intact"] == "true") if audit else False,
        audit_verified_at=audit["verified_at"].timestamp() if audit and audit["verified_at"] else None,
        audit_anchored_at=audit["anchored_at"].timestamp() if audit and audit["anchored_at"] else None,
    )  # fmt: skip
