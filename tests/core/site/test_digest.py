"""The daily mail about the queue: what it says, when it is silent, and that each address gets it once, whatever happens."""

from __future__ import annotations

import asyncio
import email
import email.policy
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from desk import PACK
from okienko.connectors.email.channel import EmailChannel
from okienko.connectors.email.settings import EmailSettings
from okienko.core import housekeeping, parking
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import ActionPolicy, Risk
from okienko.core.calls import Calls
from okienko.core.database import make_engine
from okienko.core.delivery import Delivery
from okienko.core.reconcile import reconcile
from okienko.core.service import Service, open_service, working
from okienko.core.site import digest
from okienko.core.site.language import translator
from okienko.core.site.settings import SiteSettings
from okienko.plugins.errors import TransientError
from okienko.plugins.testing import MemoryCsd
from rigs.site import NEW, OLD, Desk
from rigs.smtpsink import Sink, smtp_sink

ANNA, BEA = "anna@urzad.example", "bea@urzad.example"


@pytest.fixture
def relay() -> Iterator[Sink]:
    with smtp_sink() as sink:
        yield sink


@pytest.fixture
async def other(migrated_url: str) -> AsyncIterator[AsyncEngine]:
    """The same database, as a second process sees it."""
    engine = make_engine(migrated_url)
    yield engine
    await engine.dispose()


class Post:
    """The site's desk with what a worker needs to queue and send the digest."""

    def __init__(self, desk: Desk, relay: Sink, folder: Path) -> None:
        self.desk = desk
        self.relay = relay
        settings = EmailSettings(relay_host="127.0.0.1", relay_port=relay.port, relay_tls="none")
        self.folder = folder
        self.channel = EmailChannel(settings, folder)

    def delivery(self, engine: AsyncEngine | None = None, *, channels: Any = None) -> Delivery:
        return Delivery(
            engine or self.desk.engine, self.desk.clock, channels={"email": self.channel} if channels is None else channels,
            csd=MemoryCsd(), pack=PACK, links=self.desk.links, message_domain="okienko.invalid", calls=Calls(5),
            spool=self.folder, csd_policy={},
        )  # fmt: skip

    async def queue(self, *to: str, engine: AsyncEngine | None = None, **more: object) -> int:
        wanted = SiteSettings(public_url="https://okienko.example", digest_to=list(to), **more)  # type: ignore[arg-type]
        return await digest.queue_digest(
            engine or self.desk.engine,
            self.desk.clock(),
            policy=self.desk.policy,
            seals=self.desk.seals,
            settings=wanted,
            message_domain="okienko.invalid",
        )

    async def jobs(self) -> list[Any]:
        return [
            row["ref"]
            for row in await self.desk.rows(
                "SELECT convert_from(payload, 'UTF8')::uuid AS ref FROM pgqueuer WHERE entrypoint = 'notify' ORDER BY id"
            )
        ]

    async def send(self) -> list[Exception | None]:
        return await self.delivery().notify(await self.jobs())

    def mails(self) -> list[EmailMessage]:
        found = [email.message_from_bytes(raw, policy=email.policy.default) for raw in self.relay.mails]
        return [mail for mail in found if isinstance(mail, EmailMessage)]


@pytest.fixture
async def post(desk: Desk, relay: Sink, tmp_path: Path) -> Post:
    return Post(desk, relay, tmp_path)


async def test_it_counts_and_names_nobody(post: Post) -> None:
    desk = post.desk
    first = await desk.propose(number="ZGL000000001")
    await desk.propose(number="ZGL000000002", risk=Risk.LOW, new_login=None, steps=(Step.BY_HAND,))
    hand = await desk.propose(number="ZGL000000003", risk=Risk.LOW, new_login=None, steps=(Step.BY_HAND,))
    anna = await desk.visitor()
    await anna.approve(desk, first)
    await anna.approve(desk, hand)
    desk.clock.advance(timedelta(days=2, hours=1))
    assert await post.queue() == 0
    assert await post.queue(ANNA) == 1
    assert await post.queue(BEA, digest_language="en") == 1
    assert await post.send() == [None, None]
    polish, english = sorted(post.mails(), key=lambda mail: str(mail["To"]))
    assert polish["Subject"] == "okienko: do decyzji: 2"
    text = polish.get_content()
    assert "czeka na zatwierdzenie: 2 (w tym wysokiego ryzyka: 1)" in text
    assert "brakuje im tylko jednego zatwierdzenia: 2" in text
    assert "zatwierdzone, do wykonania ręcznie: 1" in text
    assert "wygasną w ciągu doby: 3" in text
    assert "ZGL000000001: ryzyko wysokie, czeka 2 d 1 h, zatwierdzenia 1 z 2" in text
    assert f"https://okienko.example/actions/{first}" in text
    assert "Waiting longest" in english.get_content()
    for raw in post.relay.mails:
        for secret in (OLD, NEW, "Testowy", "local:anna"):
            assert secret.encode() not in raw
    for mail in (polish, english):
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["X-Auto-Response-Suppress"] == "All"
        assert str(mail["Message-ID"]).startswith("<digest.2026-01-07.")
        assert mail["In-Reply-To"] is None
    states = await desk.rows("SELECT case_id, kind, state FROM notification WHERE case_id IS NULL")
    assert states == [{"case_id": None, "kind": "digest", "state": "sent"}] * 2


async def test_once_a_day_for_each_address(post: Post) -> None:
    await post.desk.propose()
    assert await post.queue(ANNA, ANNA.upper()) == 1
    assert await post.queue(ANNA, BEA) == 1
    post.desk.clock.advance(timedelta(hours=12))
    assert await post.queue(ANNA, BEA) == 0
    post.desk.clock.advance(timedelta(hours=12))
    assert await post.queue(ANNA, BEA) == 2


async def test_another_message_domain_on_the_same_day_makes_no_second_one(post: Post) -> None:
    await post.desk.propose()
    wanted = SiteSettings(digest_to=[ANNA])
    for domain, queued in (("okienko.invalid", 1), ("urzad.example", 0)):
        assert (
            await digest.queue_digest(
                post.desk.engine,
                post.desk.clock(),
                policy=post.desk.policy,
                seals=post.desk.seals,
                settings=wanted,
                message_domain=domain,
            )
            == queued
        )


async def test_processes_that_race_send_one(post: Post, other: AsyncEngine) -> None:
    await post.desk.propose()
    queued = await asyncio.gather(
        *(post.queue(ANNA, BEA, engine=engine) for engine in (post.desk.engine, other, post.desk.engine, other))
    )
    assert sum(queued) == 2
    jobs = await post.jobs()
    assert len(jobs) == 2
    first, second = await asyncio.gather(post.delivery().notify(jobs), post.delivery(other).notify(jobs))
    # Whoever came second is told to come again, and then finds nothing to do.
    again = [error for error in (*first, *second) if error is not None]
    assert all("another worker has it in hand" in str(error) for error in again)
    assert await post.send() == [None, None]
    assert sorted(str(mail["To"]) for mail in post.mails()) == [ANNA, BEA]


async def test_a_crash_before_the_commit_leaves_nothing_behind(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    await post.desk.propose()

    async def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(digest, "enqueue", killed)
        with pytest.raises(RuntimeError):
            await post.queue(ANNA)
    assert await post.desk.rows("SELECT * FROM notification") == []
    assert await post.queue(ANNA) == 1
    assert await post.send() == [None]
    # And if the queue itself were lost, the record would bring the job back.
    await post.desk.execute("UPDATE notification SET state = 'queued'")
    await post.desk.execute("DELETE FROM pgqueuer")
    await reconcile(post.desk.engine)
    assert len(await post.jobs()) == 1


async def test_a_relay_that_is_down_is_tried_again_and_a_refused_address_is_parked(post: Post) -> None:
    await post.desk.propose()
    assert await post.queue(ANNA, "x@y") == 2
    await post.desk.execute("UPDATE notification SET to_address = 'not an address' WHERE to_address = 'x@y'")
    post.relay.close()
    waiting, _ = sorted(await post.send(), key=str, reverse=True)
    assert isinstance(waiting, TransientError)
    post.relay.open()
    await post.send()
    assert [str(mail["To"]) for mail in post.mails()] == [ANNA]
    (parked,) = await parking.list_parked(post.desk.engine)
    assert (parked.job, parked.reason) == ("notify", "refused")
    # What was parked goes out once it can; it is still the same mail.
    await post.desk.execute("UPDATE notification SET to_address = $1 WHERE state = 'failed'", BEA)
    assert await parking.replay(post.desk.engine, [parked.id], post.desk.clock(), "cli:test") == [parked.id]
    await post.send()
    assert str(post.mails()[-1]["To"]) == BEA


async def test_without_the_channel_it_is_parked_and_not_lost(post: Post) -> None:
    await post.desk.propose()
    await post.queue(ANNA)
    await post.delivery(channels={}).notify(await post.jobs())
    (parked,) = await parking.list_parked(post.desk.engine)
    assert parked.reason == "misconfigured"
    assert "'email'" in parked.problem


async def test_it_is_silent_before_its_hour(post: Post) -> None:
    await post.desk.propose()
    # 08:00 UTC is 09:00 in Warsaw in winter.
    local = post.desk.clock().astimezone(UTC).hour + 1
    assert await post.queue(ANNA, digest_hour=local + 1) == 0
    assert await post.queue(ANNA, digest_hour=local) == 1


async def test_it_is_silent_while_nobody_is_needed(post: Post) -> None:
    desk = post.desk
    assert await post.queue(ANNA) == 0
    action = await desk.propose()
    for name in ("anna", "bea"):
        await (await desk.visitor(name)).approve(desk, action)
    assert await desk.state_of(action) == "cooling"
    assert await post.queue(ANNA) == 0
    await desk.execute("UPDATE reset_action SET state = 'failed', ended_at = $2 WHERE id = $1", action, desk.clock())
    assert await post.queue(ANNA) == 1
    desk.clock.advance(timedelta(days=1))
    assert await post.queue(ANNA) == 0


def test_nothing_is_listed_where_nothing_waits() -> None:
    policy = ActionPolicy({Risk.LOW: 1, Risk.HIGH: 2}, timedelta(days=3), timedelta(hours=24))
    subject, text = digest.compose(
        [],
        datetime(2026, 1, 5, tzinfo=UTC),
        applications=0,
        policy=policy,
        url="https://x.example",
        timezone="Europe/Warsaw",
        language="pl",
    )
    assert subject == "okienko: do decyzji: 0"
    assert translator("pl")("digest.oldest") not in text


async def test_two_whole_services_send_it_by_themselves(post: Post, migrated_url: str, tmp_path: Path) -> None:
    """Nothing but the schedule starts it; both processes look, one mail comes."""
    await post.desk.propose()
    environ = {
        "OKIENKO_DATABASE_URL": migrated_url, "OKIENKO_HOME": str(tmp_path / "home"), "OKIENKO_SITE_DIGEST_TO": f'["{ANNA}"]',
        "OKIENKO_EMAIL_RELAY_HOST": "127.0.0.1", "OKIENKO_EMAIL_RELAY_PORT": str(post.relay.port), "OKIENKO_EMAIL_RELAY_TLS": "none",
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        for _ in range(2):
            service = await stack.enter_async_context(open_service(environ, now=post.desk.clock))
            await stack.enter_async_context(working(service.worker))
            await stack.enter_async_context(_keeping(service))
        end = time.monotonic() + 60
        while not post.relay.mails or await post.desk.rows("SELECT 1 FROM notification WHERE state <> 'sent'"):
            assert time.monotonic() < end, "it never came"
            await asyncio.sleep(0.05)
        scheduled = await post.desk.rows("SELECT entrypoint FROM pgqueuer_schedules")
    assert "digest" in {row["entrypoint"] for row in scheduled}
    (mail,) = post.mails()
    assert mail["To"] == ANNA


@asynccontextmanager
async def _keeping(service: Service) -> AsyncIterator[None]:
    task = asyncio.create_task(housekeeping.run(service))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
