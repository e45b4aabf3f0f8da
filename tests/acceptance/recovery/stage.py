"""The service in this process, at work on real PostgreSQL, with mails in by intake and mails out in a folder."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from acceptance.recovery.letters import AUTHSERV
from okienko.core.actions import store
from okienko.core.actions.approvals import Actor
from okienko.core.actions.machine import Action
from okienko.core.database import enqueue, raw_connection, transaction, upgrade
from okienko.core.jobs import Job
from okienko.core.service import Service, open_database, open_service, working
from okienko.core.settings import load_core_settings
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName
from rigs.postgres import Postgres
from signing.pki import Pki

PUBLIC = "https://okienko.invalid"
ANNA, BERTA = (
    Actor("https://sso.invalid#anna", origin="192.0.2.1"),
    Actor("https://sso.invalid#berta", origin="192.0.2.2"),
)
"""Two different administrators."""
_PATIENCE = 40.0


class Clock:
    """The service's clock: the real one, and it can be set forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Stage:
    """One running service and what its surroundings see of it."""

    service: Service
    clock: Clock
    home: Path

    # --- mail in and out --------------------------------------------------------------------------------------------

    async def arrives(self, mail: bytes) -> UUID:
        """The mail comes in; the case that it opens."""
        item = RawItem(ChannelName.EMAIL, "email", "test", RawContent(mail), mail_from="bounces@poczta.example")
        envelope = await self.service.intake.accept(item)
        found = await self.sooner_or_later(
            lambda: self.value("SELECT case_id FROM case_message WHERE envelope_id = $1 AND role = 'opened'", envelope)
        )
        assert isinstance(found, UUID)
        return found

    def mails(self, to: str) -> list[EmailMessage]:
        """What the address has received, in the order in which it was handed over."""
        found = []
        for file in sorted((self.home / "outbox").glob("*.eml"), key=lambda f: f.stat().st_mtime_ns):
            mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            if to in str(mail["To"]):
                found.append(mail)
        return found

    async def link(self, kind: str, to: str) -> str:
        """The token of the newest link of that kind in a mail to the address."""

        async def look() -> str | None:
            tokens = [
                t for m in self.mails(to) for t in re.findall(rf"{PUBLIC}/{kind}/([\w-]{{43}})\b", m.get_content())
            ]
            return tokens[-1] if tokens else None

        return str(await self.sooner_or_later(look))

    # --- the record -------------------------------------------------------------------------------------------------

    async def rows(self, sql: str, *arguments: Any) -> list[Any]:
        """What the database answers."""
        async with transaction(self.service.engine) as connection:
            return list(await (await raw_connection(connection)).fetch(sql, *arguments))

    async def value(self, sql: str, *arguments: Any) -> Any:
        """The first value of the first row, or None."""
        rows = await self.rows(sql, *arguments)
        return rows[0][0] if rows else None

    async def sooner_or_later(self, look: Callable[[], Awaitable[Any]]) -> Any:
        """What `look` finds once it finds something."""
        end = time.monotonic() + _PATIENCE
        while not (found := await look()):
            assert time.monotonic() < end, "it did not happen in time"
            await asyncio.sleep(0.02)
        return found

    async def events(self, case: UUID) -> list[str]:
        """Types of the case's events, in order."""
        return [row["type"] for row in await self.rows("SELECT type FROM event WHERE case_id = $1 ORDER BY id", case)]

    async def assessed(self, case: UUID) -> dict[str, Any]:
        """The second decision, as its event tells it, once it is there: with the rules' verdicts and the reason."""
        sql = "SELECT data::text FROM event WHERE case_id = $1 AND type = 'assessed'"
        import json

        found: dict[str, Any] = json.loads(await self.sooner_or_later(lambda: self.value(sql, case)))
        return found

    async def state(self, case: UUID) -> str:
        """The case's state."""
        return str(await self.value("SELECT state FROM cases WHERE id = $1", case))

    async def action(self, case: UUID) -> Action:
        """The reset action that the request led to, once it is there."""
        await self.assessed(case)
        found = await self.value("SELECT id FROM reset_action WHERE case_id = $1", case)
        assert found is not None, await self.assessed(case)
        async with transaction(self.service.engine) as connection:
            return await store.fetch(await raw_connection(connection), self.service.recovery.approvals.seals, found)

    async def ends_as(self, action: Action, state: str) -> None:
        """Wait until the action is in that state, or fail as soon as it is in another final one."""

        async def look() -> bool:
            now = await self.value("SELECT state FROM reset_action WHERE id = $1", action.frozen.action_id)
            assert now == state or now not in ("done", "failed", "refused", "expired", "stopped"), now
            return bool(now == state)

        await self.sooner_or_later(look)

    async def closed(self, case: UUID) -> None:
        """Wait until the case is closed."""

        async def look() -> bool:
            return await self.state(case) == "closed"

        await self.sooner_or_later(look)

    # --- what people do ---------------------------------------------------------------------------------------------

    async def approve(self, action: Action, *who: Actor) -> Action:
        """Each says yes to what was proposed, having checked what nobody could decide."""
        for actor in who:
            action = await self.service.recovery.approvals.approve(
                action.frozen.action_id,
                actor,
                digest=action.frozen.digest,
                decision=action.frozen.decision_sha256,
                checked=action.frozen.must_check,
            )
        return action

    async def time_passes(self, action: Action, minutes: int) -> None:
        """Let the clock run, and the job that waited for it come: the queue goes by the database's clock."""
        self.clock.ahead += timedelta(minutes=minutes)
        async with transaction(self.service.engine) as connection:
            await enqueue(connection, Job.EXECUTE, [str(action.frozen.action_id)])


@asynccontextmanager
async def stage(
    postgres: Postgres, home: Path, environ: dict[str, str], pki: Pki | None = None
) -> AsyncIterator[Stage]:
    """A service at work on a fresh database."""
    name = f"stage_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0")
    settings = environment(postgres.url(name), home, environ, pki)
    try:
        async with open_database(load_core_settings(settings)) as engine:
            await upgrade(engine)
        clock = Clock()
        async with open_service(settings, now=clock) as service, working(service.worker):
            yield Stage(service, clock, home)
    finally:
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


def environment(url: str, home: Path, environ: dict[str, str], pki: Pki | None = None) -> dict[str, str]:
    """The settings of an installation that can prove senders and check signatures."""
    return {
        "OKIENKO_DATABASE_URL": url, "OKIENKO_HOME": str(home), "OKIENKO_SITE_PUBLIC_URL": PUBLIC,
        "OKIENKO_SENDERPROOF_AUTHSERV_IDS": f'["{AUTHSERV}"]', "OKIENKO_COOL_DOWN_MINUTES": "120",
    } | (pki.environ() if pki else {}) | environ  # fmt: skip
