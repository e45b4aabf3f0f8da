"""The core on a real database, with doubles outside and the queue in the test's own hands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.recoverykit import NOW, Counter, PostChannel
from desk import PACK
from okienko.core.actions.links import Links
from okienko.core.actions.pesels import PeselMarks
from okienko.core.actions.seals import Seals
from okienko.core.audit.keyring import Keyring, KeySource
from okienko.core.audit.vault import Vault
from okienko.core.calls import Calls
from okienko.core.database import make_engine, raw_connection, transaction, upgrade
from okienko.core.delivery import Delivery
from okienko.core.intake import DurableIntake
from okienko.core.pipeline import Pipeline
from okienko.core.recovery import Recovery, sender_proof
from okienko.core.repeats import RequestKeys
from okienko.core.settings import load_core_settings
from okienko.plugins.errors import TransientError
from okienko.plugins.evidence import Evidence
from okienko.plugins.loopguard import Loopguard, LoopguardSettings
from okienko.plugins.ports import Classification, NotificationContext, RawItem, RenderedText
from okienko.plugins.raw import RawContent
from okienko.plugins.testing import FixedClock, MemoryChannel, MemoryCsd, MemoryIdentity
from okienko.plugins.threading import Threading
from okienko.schemas import (
    Address,
    Case,
    CaseKind,
    Decision,
    InboundMessage,
    NotificationKind,
    Procedure,
    RuleResult,
    Verdict,
)


class WordPack:
    """A procedure that does what the subject says: `self_service`, `unmet`, `unknown`, `new`, else a plain ticket."""

    name = "words"

    def __init__(self) -> None:
        self.failures: dict[str, Exception] = {}
        """Errors by a word of the subject: classifying such a message raises it."""
        self.render_failure: Exception | None = None

    def classify(self, message: InboundMessage) -> Classification:
        words = message.subject.split()
        for word in words:
            if word in self.failures:
                raise self.failures[word]
        login = message.sender.address if message.sender else None
        if "self_service" in words:
            return Classification(CaseKind.RECOVERY, Procedure.SELF_SERVICE)
        if "unmet" in words or "unknown" in words or "met" in words:
            return Classification(CaseKind.RECOVERY, Procedure.EMERGENCY_PASSWORD, login=login)
        return Classification(CaseKind.TICKET, login=login)

    def decide(self, message: InboundMessage, classification: Classification, evidence: Evidence) -> Decision:
        words = message.subject.split()
        verdict = Verdict.UNMET if "unmet" in words else Verdict.UNKNOWN if "unknown" in words else Verdict.MET
        return Decision(results=(RuleResult(rule="W1", verdict=verdict, evidence="a word"),))

    def outranks_threading(self, classification: Classification) -> bool:
        return False

    def needs_registration(self, classification: Classification) -> bool:
        return classification.procedure is not Procedure.SELF_SERVICE

    def numbers_in(self, text: str) -> tuple[str, ...]:
        return tuple(word for word in text.split() if word.startswith(("ZGL", "OK0")))

    def own_number(self, seq: int) -> str:
        return f"OK{seq:09}"

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        if self.render_failure:
            raise self.render_failure
        number = " ".join(filter(None, (context.case.csd.number if context.case.csd else "-", context.own_number)))
        return RenderedText(f"{kind.value} {number}", context.solution or context.link or "")

    def solution(self, case: Case) -> str:
        return "Zrobione."

    def closed_without_words(self, case: Case) -> str:
        return "Zamknięte."


class Bench:
    """Everything between a message and its answer, and between an approval and the changed account."""

    def __init__(
        self, engine: AsyncEngine, spool: Path, *, pack: Any = None, verifying: Any = None, channel: Any = None
    ) -> None:
        self.engine = engine
        self.clock = FixedClock()
        self.channel = channel or MemoryChannel()
        self.csd = MemoryCsd()
        self.identity = MemoryIdentity()
        self.pack = pack or WordPack()
        self.verifying = verifying
        self.environ = {"OKIENKO_SENDERPROOF_AUTHSERV_IDS": '["mx.okienko.invalid"]'}
        self.vault = Vault(KeySource(home=spool, text=Keyring.new().text()))
        self.seals = Seals(self.vault.source)
        self.links = Links(self.vault.source.load().current("vault").derive("links"), "https://okienko.invalid")
        self.marks = PeselMarks(self.vault.source.load().current("vault").derive("pesel marks"))
        self._due: dict[int, datetime] = {}
        self.stopped: list[str] = []
        self.resumed: list[str] = []
        self.monotonic = 0.0
        self.spool = spool
        self.build()

    def build(
        self,
        *,
        csd: Any = None,
        channel: Any = None,
        identity: Any = None,
        seconds: float = 5.0,
        breaker: Any = None,
        **settings: str,
    ) -> None:
        """(Re)make all the workers' parts, as a second worker process would have them."""
        channel, csd, identity = channel or self.channel, csd or self.csd, identity or self.identity
        self.calls = Calls(
            seconds,
            on_stop=lambda name, _: self.stopped.append(name),
            on_resume=self.resumed.append,
            clock=lambda: self.monotonic,
        )
        core = {"OKIENKO_HOME": str(self.spool.parent)} | {f"OKIENKO_{k.upper()}": v for k, v in settings.items()}
        loaded = load_core_settings(core)
        if breaker is not None:
            self.calls.guard(csd, breaker)
        policies = [Loopguard(LoopguardSettings()), Threading()]
        self.pipeline = Pipeline(
            self.engine, self.clock, channels={"memory": channel}, policies=policies, pack=self.pack,
            vault=self.vault, spool=self.spool, calls=self.calls, repeats=self.requests(loaded.repeat_hours),
        )  # fmt: skip
        core = {"OKIENKO_HOME": str(self.spool.parent)} | {f"OKIENKO_{k.upper()}": v for k, v in settings.items()}
        self.delivery = Delivery(
            self.engine, self.clock, channels={"memory": channel}, csd=csd, pack=self.pack, links=self.links,
            message_domain="okienko.invalid", spool=self.spool, csd_policy=load_core_settings(core).csd_policy, calls=self.calls,
        )  # fmt: skip
        self.recovery = Recovery.build(
            self.engine, self.clock, settings=loaded, channels={"memory": channel}, identity=identity,
            pack=self.pack, links=self.links, seals=self.seals, marks=self.marks, sender=sender_proof(self.environ), verifying=self.verifying, vault=self.vault, calls=self.calls,
        )  # fmt: skip
        self.intake = DurableIntake(self.engine, self.clock, max_size=8 << 20, batch_size=100)

    def requests(self, hours: int) -> RequestKeys | None:
        """What makes the keys of recovery requests."""
        if not hours:
            return None
        key = self.vault.source.load().current("vault").derive("requests")
        return RequestKeys(key, sender_proof(self.environ), window=timedelta(hours=hours))

    async def until(self, kind: str) -> None:
        """Work until such a job is the next."""
        for _ in range(20):
            if (await self.jobs())[0][0] == kind:
                return
            assert await self.step() == []
        raise AssertionError(f"no job {kind} came")

    async def take(self, *messages: InboundMessage | bytes, mailbox: str = "default") -> list[UUID]:
        """Take the messages in, one after the other."""
        ids = []
        for message in messages:
            data = message if isinstance(message, bytes) else message.model_dump_json().encode()
            item = RawItem(self.channel.channel, "memory", "test", RawContent(data), mailbox=mailbox)
            ids.append(await self.intake.accept(item))
        return ids

    async def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows of a query."""
        async with transaction(self.engine) as connection:
            return [dict(row) for row in await (await raw_connection(connection)).fetch(sql, *arguments)]

    async def value(self, sql: str, *arguments: object) -> Any:
        """The one value of a query."""
        (row,) = await self.rows(sql, *arguments)
        return next(iter(row.values()))

    async def jobs(self) -> list[tuple[str, UUID]]:
        """What is queued and due by the bench's clock, in order."""
        return [(row["entrypoint"], UUID(row["payload"].decode())) for row in await self._queued() if self._is_due(row)]

    async def later(self) -> list[tuple[str, UUID, timedelta]]:
        """What is queued for later, with the time until then."""
        rows = [row for row in await self._queued() if not self._is_due(row)]
        now = self.clock()
        return [(row["entrypoint"], UUID(row["payload"].decode()), self._due[row["id"]] - now) for row in rows]

    async def _queued(self) -> list[dict[str, Any]]:
        """Queued jobs. The queue reckons with the database's clock; a delay is put on the bench's when it is first seen."""
        rows = await self.rows(
            "SELECT id, entrypoint, payload, execute_after - created AS delay FROM pgqueuer WHERE status = 'queued' ORDER BY id"
        )
        for row in rows:
            self._due.setdefault(row["id"], self.clock() + row["delay"])
        return rows

    def _is_due(self, row: dict[str, Any]) -> bool:
        return self._due[row["id"]] <= self.clock()

    async def pass_time(self, step: timedelta) -> None:
        """Let time go by; what was queued for later may become due."""
        await self._queued()
        self.clock.advance(step)

    async def step(self) -> list[Exception]:
        """Take all jobs that are due and do them, kind by kind; what is to be retried is queued again. The errors."""
        due = [row["id"] for row in await self._queued() if self._is_due(row)]
        taken = await self.rows("DELETE FROM pgqueuer WHERE id = ANY($1::int[]) RETURNING id, entrypoint, payload", due)
        taken.sort(key=lambda row: row["id"])
        kinds: dict[str, list[UUID]] = {}
        for row in taken:
            kinds.setdefault(row["entrypoint"], []).append(UUID(row["payload"].decode()))
        errors: list[Exception] = []
        for kind, ids in kinds.items():
            unique = list(dict.fromkeys(ids))
            for one, result in zip(unique, await self.do(kind, unique), strict=True):
                if result is not None:
                    errors.append(result)
                    await self.queue(kind, one)
        return errors

    async def do(self, kind: str, ids: Sequence[UUID]) -> Sequence[Exception | None]:
        """Do one kind of job."""
        if kind == "process":
            return await self.pipeline.process(ids)
        if kind == "assess":
            return await self.recovery.assessing.assess(ids)
        if kind in ("execute", "activate", "expire"):
            return await getattr(self.recovery.execution, kind)(ids)
        return await getattr(self.delivery, kind)(ids)

    async def queue(self, kind: str, one: UUID) -> None:
        """Put one job into the queue."""
        from okienko.core.database import enqueue

        async with transaction(self.engine) as connection:
            await enqueue(connection, kind, [str(one)])

    async def settle(self) -> None:
        """Work until nothing is due. What would be retried for ever fails the test."""
        for _ in range(20):
            if not await self.jobs():
                return
            errors = await self.step()
            assert all(isinstance(error, TransientError) for error in errors), errors
        raise AssertionError(f"never idle: {await self.jobs()}")


@pytest.fixture(scope="session")
def template(postgres: Any) -> Iterator[str]:
    """A database with the schema, to be copied."""
    import asyncio

    name = f"template_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0")

    async def migrate() -> None:
        engine = make_engine(postgres.url(name))
        await upgrade(engine)
        await engine.dispose()

    asyncio.run(migrate())
    yield name
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def migrated_url(postgres: Any, template: str) -> Iterator[str]:
    """A fresh database with the schema."""
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(migrated_url: str) -> AsyncIterator[AsyncEngine]:
    """The service's engine on it."""
    engine = make_engine(migrated_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def bench() -> type[Bench]:
    """To make more than one."""
    return Bench


@pytest.fixture
async def desk(store: AsyncEngine, tmp_path: Path) -> Bench:
    """The core with doubles round it."""
    return Bench(store, tmp_path / "spool")


@pytest.fixture
async def counter(store: AsyncEngine, tmp_path: Path) -> Counter:
    """The core with the shipped procedure, real mails and an account of Jan's."""
    bench = Bench(store, tmp_path / "spool", pack=PACK, channel=PostChannel())
    bench.clock.advance(NOW - bench.clock())
    return Counter(bench)


@pytest.fixture
def mail() -> Any:
    """Makes messages: each call a new one, from Jan unless said otherwise."""
    count = 0

    def make(subject: str = "NOWE", **fields: Any) -> InboundMessage:
        nonlocal count
        count += 1
        sender = fields.pop("sender", "jan@poczta.example")
        fields.setdefault("message_id", f"m{count}.{uuid4().hex}@poczta.example")
        fields.setdefault("text", f"Treść {count}")
        return InboundMessage(subject=subject, sender=Address(address=sender) if sender else None, **fields)

    return make
