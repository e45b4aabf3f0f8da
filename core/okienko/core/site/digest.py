"""The mail that tells administrators how the queue stands: counts and links, no name, no login, no personal data."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions.machine import ActionPolicy, Risk
from okienko.core.database import raw_connection, transaction
from okienko.core.site.language import translator
from okienko.core.site.render import age
from okienko.core.site.settings import SiteSettings

OLDEST = 10
_DAY = timedelta(days=1)
_READ = """
SELECT a.id, c.csd_number, a.risk, a.state, 'by_hand' = ANY(a.steps) AS by_hand, a.created_at, a.expires_at, a.ended_at,
       (SELECT count(*) FROM reset_approval p WHERE p.action_id = a.id AND p.digest = a.digest) AS approvals
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


@dataclass(frozen=True, slots=True)
class DigestMail:
    """One mail to one administrator."""

    to: str
    subject: str
    text: str
    message_id: str
    """Lasting for the day and the address, so that a digest that is sent twice is recognised. Without angle brackets."""


def compose(
    entries: list[Entry], now: datetime, *, policy: ActionPolicy, url: str, timezone: str, language: str
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


async def digest(
    engine: AsyncEngine,
    now: datetime,
    *,
    policy: ActionPolicy,
    settings: SiteSettings,
    message_domain: str,
    send: Callable[[DigestMail], Awaitable[None]],
) -> int:
    """Send the digest to everyone in the settings; returns to how many. Nothing is sent while nothing is open or failed.

    What `send` raises leaves it: the job is tried again, and those who had their mail get one with the same Message-ID.
    """
    entries = await read(engine, now)
    if not entries or not settings.digest_to:
        return 0
    subject, text = compose(
        entries, now, policy=policy, url=settings.public_url, timezone=settings.timezone, language=settings.digest_language
    )  # fmt: skip
    day = now.astimezone(ZoneInfo(settings.timezone)).date().isoformat()
    for address in settings.digest_to:
        mark = hashlib.sha256(address.lower().encode()).hexdigest()[:16]
        await send(DigestMail(address, subject, text, f"digest.{day}.{mark}@{message_domain}"))
    return len(settings.digest_to)


async def read(engine: AsyncEngine, now: datetime) -> list[Entry]:
    """What is open, and what failed during the last day."""
    async with transaction(engine) as connection:
        rows = await (await raw_connection(connection)).fetch(_READ, now - _DAY)
    return [
        Entry(
            r["id"], r["csd_number"], Risk(r["risk"]), r["state"], r["by_hand"], r["created_at"], r["expires_at"], r["approvals"],
        )
        for r in rows
    ]  # fmt: skip
