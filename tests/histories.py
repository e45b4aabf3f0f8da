"""Random concurrent histories of a case and its ticket: both sides edited, answers lost, notices doubled, late and lost, workers killed.

The code under test is `okienko.core.csd.twoway.bring_in_step` with its real backend port (`MemoryCsd` and its faults); only the store is
in memory. People act between any two steps. What is held against each history, when it is quiet again:

- both sides are equal, in every field and in the state;
- one more round writes nothing, and no word that came from the CSD was ever written to it by okienko (no echo);
- a word of one side that the other overwrote without having agreed on it stands in the ledger, with both values and the winner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from okienko.core.csd.merge import Rule, Side
from okienko.core.csd.statuses import WRITTEN
from okienko.core.csd.twoway import Entry, Local, Pair, Plan, Shadow, bring_in_step, settle
from okienko.plugins.csd import Capability, Registration, TicketChange
from okienko.plugins.errors import TransientError
from okienko.plugins.testing.csd import MemoryCsd
from okienko.plugins.testing.csdfaults import Fault, Faults
from okienko.schemas import CaseKind, CaseState, CsdRef, Priority, TicketStatus

NAMES = ("subject", "queue", "assignee")
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
_FAULTS = {Fault.LOST_ANSWER: 0.15, Fault.TIMEOUT: 0.05, Fault.ERROR: 0.05, Fault.RESET: 0.05, Fault.BUSY: 0.05}


class KilledError(Exception):
    """The worker dies here."""


class World:
    """One history: the case, its ticket, and everybody who works on either."""

    def __init__(self, seed: int, *, steps: int = 12) -> None:
        self.rng = Random(seed)
        self.now = START
        chosen = {Capability.SUBJECT, Capability.PRIORITY, Capability.QUEUE, Capability.ASSIGNEE, Capability.VERSIONS}
        chosen |= {c for c in (Capability.PENDING, Capability.UNIQUE) if self.rng.random() < 0.8}
        self.faults = Faults(_FAULTS, self.rng)
        self.csd = MemoryCsd(capabilities=chosen, now=lambda: self.now, faults=self.faults)
        self.rules = {n: self.rng.choice(list(Rule)) for n in (*NAMES, "priority", "status")}
        self.steps = steps
        self.words = 0
        self.quiet = False
        self.news = 0
        self.conflicts: dict[tuple[Any, ...], Entry] = {}
        self.agreed: set[tuple[str, str]] = set()
        """Words that both sides had at one time."""
        self.written: list[tuple[str, str]] = []
        """What okienko wrote there."""
        self.lost: list[tuple[str, str, Side]] = []
        """Words that were overwritten, with the side that they came from."""
        self.rounds = 0

    def word(self, side: str) -> str:
        """A word that nobody else writes."""
        self.words += 1
        return f"{side}{self.words}"

    # --- people ---------------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Somebody on one of the sides does something, or a worker is killed."""
        self.now += timedelta(seconds=self.rng.randrange(0, 3))
        name = self.rng.choice(NAMES)
        choice = self.rng.random()
        ticket = self.csd.system.by_number[self.ref.number]
        if choice < 0.35:
            old = getattr(ticket, name)
            self.csd.system.edit(self.ref, TicketChange(**{name: self.word("c")}))
            self.forget(name, old, Side.CSD)
        elif choice < 0.7:
            self.forget(name, self.local.fields.get(name), Side.OKIENKO)
            self.edit(name, self.word("o"))
        elif choice < 0.8:
            self.csd.system.edit(self.ref, TicketChange(priority=self.rng.choice(list(Priority))))
        elif choice < 0.85:
            self.edit("priority", self.rng.choice(list(Priority)).value)
        elif choice < 0.95:
            self.csd.system.set_state(
                self.ref, self.rng.choice(["open", "in progress", "pending", "closed", "rejected"])
            )
        elif self.local.state is CaseState.REGISTERED:
            self.local = replace(self.local, state=CaseState.HUMAN_REVIEW)
            self.news += 1
        elif self.local.action_open or self.local.state is not CaseState.CLOSED:
            held = not self.local.action_open
            self.local = replace(self.local, action_open=held, held=held)
            self.news += 1
        self.notice()

    def edit(self, name: str, value: str) -> None:
        self.local = replace(self.local, fields={**self.local.fields, name: value}, edited_at=self.now)
        self.news += 1

    def forget(self, name: str, old: str | None, side: Side) -> None:
        """Whoever wrote a word may write another one over it: that is no loss."""
        if old is not None:
            self.agreed.add((name, old))
            del side

    def notice(self) -> None:
        """The CSD tells, twice, late or not at all; the poll makes up for it in the end."""
        self.news += self.rng.choice([0, 0, 1, 1, 2])

    def may_be_killed(self) -> None:
        if not self.quiet and self.rng.random() < 0.06:
            raise KilledError

    def between(self) -> None:
        """Between any two steps."""
        self.may_be_killed()
        if not self.quiet and self.rng.random() < 0.12:
            self.act()

    # --- the store --------------------------------------------------------------------------------------------------------

    async def load(self) -> Pair:
        self.between()
        return Pair(self.ref, self.local, self.shadow)

    async def foresee(self, plan: Plan) -> None:
        self.between()
        self.log(plan.foreseen, plan.shadow.revision)
        self.shadow = replace(self.shadow, sent=plan.sending)

    async def settle(self, plan: Plan) -> bool:
        self.between()
        done = settle(plan, self.local)
        for name, value in done.fields.items():
            old = self.local.fields.get(name)
            if name in NAMES and old is not None and (name, old) not in self.agreed:
                self.lost.append((name, old, Side.OKIENKO))
            assert value is None or name == "priority" or value.startswith(("c", "g", "s"))
        self.log(done.conflicts, plan.shadow.revision)
        self.local = replace(self.local, state=done.state, fields={**self.local.fields, **done.fields})
        self.shadow = done.shadow
        self.agreed |= {(n, v) for n, v in done.shadow.fields.items() if v is not None}
        self.may_be_killed()  # after the commit
        return not done.again

    async def missing(self, target: CsdRef | None, *, ours: bool) -> bool:
        raise AssertionError("no ticket goes away in these histories")

    def log(self, entries: tuple[Entry, ...], revision: int) -> None:
        for entry in entries:
            self.conflicts[(revision, entry.field, entry.base, entry.okienko, entry.csd, entry.winner)] = entry

    # --- the run ----------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        self.faults.rates, kept = {}, self.faults.rates
        registration = Registration(UUID(int=1), CaseKind.TICKET, None, "s0", "", None, START)
        self.ref = (await self.csd.create([registration]))[UUID(int=1)]
        self.faults.rates = kept
        fields = {"subject": "s0", "priority": "normal", "queue": None, "assignee": None}
        state = self.rng.choice([CaseState.REGISTERED, CaseState.AWAITING_REQUESTER, CaseState.HUMAN_REVIEW])
        self.local = Local(state, fields, START, solution="Gotowe.")
        self.shadow = Shadow({"status": "open", "subject": "s0", "priority": "normal"})
        self.agreed = {("subject", "s0"), ("queue", "general")}
        self._watch()

    def _watch(self) -> None:
        """See what okienko's writes overwrite, and let people act before and after each request."""
        system, write = self.csd.system, self.csd.system.write
        edit = system.edit

        def watched(number: str, change: TicketChange, version: str | None = None) -> bool:
            ticket = system.by_number[number]
            before = {name: getattr(ticket, name) for name in NAMES}
            done = write(number, change, version)
            if done and not self.by_hand:
                for name in NAMES:
                    value = getattr(change, name)
                    if value is not None:
                        self.written.append((name, value))
                        self.agreed.add((name, value))
                        old = before[name]
                        if old is not None and old != value and (name, old) not in self.agreed:
                            self.lost.append((name, old, Side.CSD))
            return done

        def by_hand(ref: CsdRef, change: TicketChange) -> None:
            self.by_hand = True
            try:
                edit(ref, change)
            finally:
                self.by_hand = False

        self.by_hand = False
        system.write = watched  # type: ignore[method-assign]
        system.edit = by_hand  # type: ignore[method-assign]

    async def call(self, thing: Any, operation: str, make: Callable[[], Any]) -> Any:
        del thing, operation
        self.between()
        result = await make()
        self.between()
        return result

    async def work(self) -> None:
        """A worker takes the job; it may be killed, and then another one does it again."""
        self.rounds += 1
        read = self.news
        try:
            await bring_in_step(self, self.csd, self.call, self.rules)
        except (KilledError, TransientError):
            self.news += 1
        else:
            self.news -= read

    async def run(self) -> World:
        await self.begin()
        for _ in range(self.steps):
            self.act()
            while self.news > 0 and self.rng.random() < 0.7:
                await self.work()
        self.quiet = True
        self.faults.clear()
        if self.local.action_open:
            self.local = replace(self.local, action_open=False, held=False)
        await bring_in_step(self, self.csd, self.call, self.rules)
        self.check()
        writes, entries = self.csd.system.writes, len(self.conflicts)
        await bring_in_step(self, self.csd, self.call, self.rules)
        assert (self.csd.system.writes, len(self.conflicts)) == (writes, entries), "the echo was written"
        self.check()
        return self

    def check(self) -> None:
        ticket = self.csd.system.by_number[self.ref.number]
        theirs = {
            "subject": ticket.subject,
            "priority": ticket.priority.value,
            "queue": ticket.queue,
            "assignee": ticket.assignee,
        }
        assert dict(self.local.fields) == theirs
        assert {n: self.shadow.fields.get(n) for n in theirs} == theirs
        written = WRITTEN[self.local.state]
        alike = (
            {written, TicketStatus.PENDING}
            if self.local.state in (CaseState.HUMAN_REVIEW, CaseState.REOPENED)
            else {written}
        )
        if Capability.PENDING not in self.csd.capabilities and written is not TicketStatus.CLOSED:
            alike = {TicketStatus.OPEN, TicketStatus.PENDING}
        assert ticket.status in alike, (self.local.state, ticket.raw_status)
        for name, value in self.written:
            assert value.startswith("o"), f"okienko wrote {value} of the CSD to it as {name}"
        for name, value, side in self.lost:
            told = [e for e in self.conflicts.values() if e.field == name]
            assert any((e.csd if side is Side.CSD else e.okienko) == value for e in told), (
                f"{value} of {side.value} was overwritten in {name} without an entry in the ledger"
            )


def history(seed: int) -> World:
    """Run one history. Raises AssertionError for what does not hold."""
    return asyncio.run(World(seed).run())


async def histories(seeds: range) -> dict[str, int]:
    """Run them, and count what happened in them."""
    total = {"histories": 0, "rounds": 0, "requests": 0, "writes": 0, "faults": 0, "conflicts": 0, "overwritten": 0}
    for seed in seeds:
        try:
            world = await World(seed).run()
        except AssertionError as error:
            raise AssertionError(f"history {seed}: {error}") from error
        total["histories"] += 1
        total["rounds"] += world.rounds
        total["requests"] += sum(world.csd.system.requests.values())
        total["writes"] += len(world.written)
        total["faults"] += sum(world.faults.happened.values())
        total["conflicts"] += len(world.conflicts)
        total["overwritten"] += len(world.lost)
    return total
