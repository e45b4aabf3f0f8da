"""The mail that tells administrators how the queue stands: counts and links, no name, no login, no personal data.

Each address gets one a day at the most. Its message is written and its sending is enqueued in one transaction, under an id that
is made of day and address; so neither a second worker nor a crash at any moment makes a second one, or loses the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions import store
from okienko.core.actions.machine import ActionPolicy, Risk
from okienko.core.actions.people import distinct
from okienko.core.actions.seals import Seals
from okienko.core.database import enqueue, raw_connection, transaction
from okienko.core.jobs import Job
from okienko.core.site.applications import UNREAD
from okienko.core.site.language import translator
from okienko.core.site.render import age
from okienko.core.site.settings import SiteSettings
from okienko.schemas import OperatorMail

OLDEST = 10
CHANNEL = "email"
"""The plugin that sends it."""
_DAY = timedelta(days=1)
_NAMESPACE = UUID("5f0c1c0e-7a52-4b0e-9a43-3a1f2a4f6c7d")
_READ = """
SELECT a.id, c.csd_number, a.risk, a.state, 'by_hand' = ANY(a.steps) AS by_hand, a.created_at, a.expires_at, a.ended_at,
       a.digest
FROM reset_action a JOIN cases c ON c.id = a.case_id
WHERE a.state IN ('waiting', 'cooling', 'ready', 'executing') OR (a.state = 'failed' AND a.ended_at > $1)
ORDER BY a.created_at, a.id
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One action as the digest knows it."""

    id: UUID
    number: str | None
    risk: Risk
    state: str
    by_hand: bool
    created_at: datetime
    expires_at: datetime
    approvals: int


def compose(
    entries: list[Entry],
    now: datetime,
    *,
    applications: int,
    policy: ActionPolicy,
    url: str,
    timezone: str,
    language: str,
) -> tuple[str, str]:
    """Subject and text. Pure."""
    t = translator(language)
    waiting = [e for e in entries if e.state == "waiting"]
    still_open = [e for e in entries if e.state in ("waiting", "cooling", "ready")]
    local = now.astimezone(ZoneInfo(timezone))
    at = f"{local:%d.%m.%Y %H:%M}" if language == "pl" else f"{local:%d %b %Y, %H:%M}"
    missing_one = [e for e in waiting if policy.approvals[e.risk] - e.approvals == 1]
    facts = [
        t("digest.waiting", n=len(waiting), high=sum(e.risk is Risk.HIGH for e in waiting)),
        t("digest.one_missing", n=len(missing_one)),
        t("digest.cooling", n=sum(e.state == "cooling" for e in entries)),
        t("digest.by_hand", n=sum(e.state == "ready" and e.by_hand for e in entries)),
        t("digest.expiring", n=sum(e.expires_at - now <= _DAY for e in still_open)),
        t("digest.failed", n=sum(e.state == "failed" for e in entries)),
        t("digest.applications", n=applications),
    ]
    lines = [t("digest.hello", at=at), "", *(f"- {fact}" for fact in facts), ""]
    if waiting:
        lines.append(t("digest.oldest"))
        for e in sorted(waiting, key=lambda e: e.created_at)[:OLDEST]:
            line = t(
                "digest.line", number=e.number or t("queue.no_number"), risk=t(f"digest.risk_{e.risk.value}"),
                age=age(now - e.created_at), have=e.approvals, need=policy.approvals[e.risk],
            )  # fmt: skip
            lines += [f"- {line}", f"  {url}/actions/{e.id}"]
        lines.append("")
    lines += [t("digest.open", url=f"{url}/actions"), "", t("digest.footer")]
    return t("digest.subject", waiting=len(waiting)), "\n".join(lines) + "\n"


_WRITE = """
INSERT INTO notification (id, case_id, kind, connector, to_name, to_address, subject, text, message_id, state, created_at)
SELECT id, NULL, $1, $2, '', address, $3, $4, message_id, 'queued', $5
FROM unnest($6::uuid[], $7::text[], $8::text[]) AS wanted (id, address, message_id)
ON CONFLICT DO NOTHING RETURNING id
"""


async def queue_digest(
    engine: AsyncEngine,
    now: datetime,
    *,
    policy: ActionPolicy,
    seals: Seals,
    settings: SiteSettings,
    message_domain: str,
) -> int:
    """Write today's digest for those in the settings who have none yet, and enqueue its sending; returns for how many.

    Nothing is written before `settings.digest_hour`, nor while nothing waits for a person. Raises TransientError when the
    database is away; the next call makes up for it.
    """
    local = now.astimezone(ZoneInfo(settings.timezone))
    if not settings.digest_to or local.hour < settings.digest_hour:
        return 0
    entries, applications = await read(engine, seals, now)
    if not applications and not any(map(needs_a_person, entries)):
        return 0
    subject, text = compose(
        entries, now, applications=applications, policy=policy,
        url=settings.public_url, timezone=settings.timezone, language=settings.digest_language
    )  # fmt: skip
    day = local.date().isoformat()
    marks = [hashlib.sha256(address.lower().encode()).hexdigest()[:16] for address in settings.digest_to]
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        written = await raw.fetch(
            _WRITE, OperatorMail.DIGEST.value, CHANNEL, subject, text, now,
            [uuid5(_NAMESPACE, f"{day} {mark}") for mark in marks], list(settings.digest_to),
            [f"digest.{day}.{mark}@{message_domain}" for mark in marks],
        )  # fmt: skip
        await enqueue(connection, Job.NOTIFY, [str(row["id"]) for row in written])
    return len(written)


def needs_a_person(entry: Entry) -> bool:
    """Whether it goes no further by itself: it waits for approvals or hands, or failed."""
    return entry.state in ("waiting", "failed") or (entry.state == "ready" and entry.by_hand)


async def read(engine: AsyncEngine, seals: Seals, now: datetime) -> tuple[list[Entry], int]:
    """What is open, and what failed during the last day; and how many applications wait to be typed."""
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        rows = await raw.fetch(_READ, now - _DAY)
        approvals = await store.counted(raw, seals, {r["id"]: r["digest"] for r in rows})
        applications = await raw.fetchval(UNREAD)
    return [
        Entry(
            r["id"], r["csd_number"], Risk(r["risk"]), r["state"], r["by_hand"], r["created_at"], r["expires_at"],
            len(distinct(approvals.get(r["id"], ()))),
        )
        for r in rows
    ], applications  # fmt: skip
