"""Keeping one case and its ticket in step: what follows from the two and from what was agreed last. Pure but for `bring_in_step`.

Nothing here depends on the order, the number or the time of notices: whoever asks reads both sides as they are. The order of the
writes is what makes it safe to be killed anywhere:

1. Conflicts that okienko wins are put in the ledger before the CSD is written to, because afterwards they can no longer be seen; and
   what is about to be written is noted, so that after a lost answer it is known for okienko's own and not taken for news.
2. The CSD is written to, only if its ticket still has the version that was read, where it knows versions.
3. What the CSD won, the conflicts of that and the new agreement are written here in one transaction, for those fields that nobody
   changed here meanwhile; for the others the old agreement stays, so that the next round sees both changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as _dataclass_field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from okienko.core.csd.merge import Rule, Side, Value, merge
from okienko.core.csd.statuses import becomes, stands_for
from okienko.plugins.csd import (
    Capability,
    CsdBackend,
    Note,
    RemoteFile,
    Ticket,
    TicketChange,
    TicketChangedError,
    TicketGoneError,
)
from okienko.plugins.errors import PermanentError, TransientError
from okienko.schemas import CaseState, CsdRef, Priority, TicketStatus

STATUS = "status"
OPEN_ACTION = "open_action"
"""The rule by which a case with an open reset action is not closed by the CSD."""
FIRST = "first"
"""The rule by which what was said here counts when nothing had been seen of the CSD's value before."""
REFUSED = "refused"
"""The rule by which the CSD keeps its value of a field, because it takes okienko's for none."""
OPENED_AGAIN = "Sprawa ma otwartą operację na koncie i pozostaje otwarta. / The case has an open action on an account and stays open."
REOPEN_REASON = "the person wrote again"
OWN_WORDS = frozenset({REOPEN_REASON, OPENED_AGAIN})
"""Reasons that a CSD may show as a note without our mark."""
_FIELDS = {
    "subject": Capability.SUBJECT,
    "priority": Capability.PRIORITY,
    "queue": Capability.QUEUE,
    "assignee": Capability.ASSIGNEE,
}
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Local:
    """The case's side."""

    state: CaseState
    fields: Mapping[str, Value]
    """subject, priority, queue, assignee; None: not known here."""
    edited_at: datetime
    held: bool = False
    """okienko itself is at work on it: see `statuses`."""
    action_open: bool = False
    solution: str = ""
    """For a ticket that has to be closed."""
    own_words: frozenset[str] = frozenset()
    """Texts that okienko wrote as a solution or reason, which a CSD may show as a note without our mark."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """What was agreed last."""

    fields: Mapping[str, Value]
    revision: int = 0
    version: str | None = None
    notes: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    sent: Mapping[str, Sequence[str]] = _dataclass_field(default_factory=dict)
    """Values that were on their way to the CSD since then. One of them there is okienko's own, whose answer was lost."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger."""

    field: str
    base: Value
    okienko: Value
    csd: Value
    winner: Side
    rule: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from one look at both sides."""

    seen: Local
    shadow: Shadow
    agreed: Mapping[str, Value]
    to_okienko: Mapping[str, Value]
    to_csd: Mapping[str, Value]
    conflicts: tuple[Entry, ...]
    notes: tuple[Note, ...] = ()
    """New ones that people wrote there."""
    files: tuple[RemoteFile, ...] = ()
    solution: str = ""
    """What the CSD says of how the matter ended."""
    guarded: bool = False
    """The CSD closed it over an open action."""

    @property
    def foreseen(self) -> tuple[Entry, ...]:
        """Conflicts that must stand in the ledger before the CSD is written to."""
        return tuple(c for c in self.conflicts if c.winner is Side.OKIENKO)

    @property
    def sending(self) -> dict[str, list[str]]:
        """What will have been on its way to the CSD, to be lasting before it is written to."""
        sent = {name: list(values) for name, values in self.shadow.sent.items()}
        for name, value in self.to_csd.items():
            if value is not None and value not in sent.setdefault(name, []):
                sent[name].append(value)
        return sent

    @property
    def status(self) -> TicketStatus | None:
        """The status to be written there."""
        wanted = self.to_csd.get(STATUS)
        return TicketStatus(wanted) if wanted else None

    def change(self) -> TicketChange | None:
        """The fields to be written there, without a move to or from closed."""
        priority = self.to_csd.get("priority")
        change = TicketChange(
            status=self.status if self.status is not TicketStatus.CLOSED else None,
            subject=self.to_csd.get("subject"),
            priority=Priority(priority) if priority else None,
            queue=self.to_csd.get("queue"),
            assignee=self.to_csd.get("assignee"),
        )
        return change if change != TicketChange() else None


@dataclass(frozen=True, slots=True)
class Settled:
    """What is written here in one transaction."""

    state: CaseState
    fields: Mapping[str, Value]
    """Those that change."""
    conflicts: tuple[Entry, ...]
    shadow: Shadow
    again: bool
    """Somebody changed something here meanwhile: look once more."""


def file_keys(file: RemoteFile) -> tuple[str, ...]:
    """By what a file is known again: its id there, its content, its name and size."""
    by_content = (f"sha256:{file.sha256}",) if file.sha256 else ()
    return (f"id:{file.id}", *by_content, f"name:{file.size}:{file.filename}")


def own_file_keys(filename: str, size: int, sha256: str) -> tuple[str, ...]:
    """The same for a file that okienko attached."""
    return f"sha256:{sha256}", f"name:{size}:{filename}"


def remote_fields(ticket: Ticket, capabilities: frozenset[Capability]) -> dict[str, Value]:
    """The ticket's side: what the backend can both tell and write."""
    have: dict[str, Value] = {
        "subject": ticket.subject, "priority": ticket.priority.value if ticket.priority else None,
        "queue": ticket.queue, "assignee": ticket.assignee,
    }  # fmt: skip
    return {
        name: have[name]
        for name, capability in _FIELDS.items()
        if capability in capabilities and not (name == "priority" and ticket.priority is None)
    }


def plan(
    local: Local,
    shadow: Shadow,
    ticket: Ticket,
    *,
    capabilities: frozenset[Capability],
    rules: Mapping[str, Rule],
) -> Plan:
    """Compare both sides with what was agreed last."""
    theirs = remote_fields(ticket, capabilities)
    pending = Capability.PENDING in capabilities
    status = ticket.status if pending or ticket.status is not TicketStatus.PENDING else TicketStatus.OPEN
    ours_status = _stands(local, status, pending=pending)
    ours: dict[str, Value] = {name: local.fields.get(name) for name in theirs}
    base = dict(shadow.fields)
    entries: list[Entry] = []
    first: dict[str, Value] = {}
    for name, value in ours.items():
        if value is None:
            base[name] = None  # what is not known here was not changed here
        elif theirs[name] in shadow.sent.get(name, ()):
            base[name] = theirs[name]
        elif name not in base and value != theirs[name]:
            # Said here before anything was seen there: what stands there is most likely what the system puts into new tickets.
            entries.append(Entry(name, None, value, theirs[name], Side.OKIENKO, FIRST))
            first[name] = value
    for name in first:
        del ours[name]
    agreed_status = TicketStatus(base.get(STATUS) or ours_status)
    if status.value in shadow.sent.get(STATUS, ()):
        agreed_status = status
    if agreed_status is TicketStatus.PENDING and not pending:
        agreed_status = TicketStatus.OPEN
    base[STATUS] = agreed_status.value
    if ours_status is not status and _stands(local, agreed_status, pending=pending) is agreed_status:
        ours_status = agreed_status  # a state that stands for what was agreed was not changed here
    guarded = local.action_open and status is TicketStatus.CLOSED and local.state is not CaseState.CLOSED
    if guarded:
        entries.append(Entry(STATUS, base[STATUS], ours_status.value, status.value, Side.OKIENKO, OPEN_ACTION))
    else:
        ours[STATUS], theirs[STATUS] = ours_status.value, status.value
    merged = merge(base, ours, theirs, rules=rules, okienko_at=local.edited_at, csd_at=ticket.updated_at)
    entries += (Entry(c.field, c.base, c.okienko, c.csd, c.winner, c.rule.value) for c in merged.conflicts)
    agreed, to_csd = dict(merged.agreed) | first, dict(merged.to_csd) | first
    if guarded:
        agreed[STATUS] = to_csd[STATUS] = TicketStatus.OPEN.value
    words = OWN_WORDS | local.own_words
    notes = tuple(n for n in ticket.notes if n.key is None and n.id not in shadow.notes and n.text.strip() not in words)
    files = tuple(f for f in ticket.files if shadow.files.isdisjoint(file_keys(f)))
    after = replace(
        shadow,
        version=ticket.version,
        notes=shadow.notes | {n.id for n in ticket.notes},
        files=shadow.files | {key for f in ticket.files for key in file_keys(f)},
    )
    return Plan(
        local, after, agreed, merged.to_okienko, to_csd, tuple(entries), notes, files, ticket.solution or "", guarded
    )  # fmt: skip


def _stands(local: Local, status: TicketStatus, *, pending: bool) -> TicketStatus:
    return stands_for(local.state, status, held=local.held, pending=pending)


def settle(plan: Plan, now: Local) -> Settled:
    """What to write here, given the case as it is now, under its lock.

    A field that was changed here since the plan was made keeps its new value. What was agreed on it is then what the CSD holds only if
    the CSD holds okienko's word; where the CSD's own change was to come here, the old agreement stays and both changes are seen.
    """
    fields = dict(plan.shadow.fields)
    write: dict[str, Value] = {}
    dropped: set[str] = set()
    again = False
    state = now.state
    for name, value in plan.agreed.items():
        takes = name in plan.to_okienko
        if name == STATUS:
            if now.state is not plan.seen.state or (now.action_open and not plan.seen.action_open):
                again = True
                if takes:
                    dropped.add(name)
                    continue
            elif takes and value:
                state = becomes(now.state, TicketStatus(value), held=now.held)
        elif now.fields.get(name) != plan.seen.fields.get(name):
            again = True
            if takes:
                dropped.add(name)
                continue
        elif takes:
            write[name] = value
        fields[name] = value
    conflicts = tuple(c for c in plan.conflicts if c.winner is Side.CSD and c.field not in dropped)
    shadow = replace(plan.shadow, fields=fields, revision=plan.shadow.revision + 1, sent={})
    return Settled(state, write, conflicts, shadow, again)


@dataclass(frozen=True, slots=True)
class Pair:
    """One look at our side."""

    ref: CsdRef
    local: Local
    shadow: Shadow


class CaseStore(Protocol):
    """Where the case, what was agreed and the ledger are."""

    async def load(self) -> Pair:
        """Our side as it is."""
        ...

    async def foresee(self, plan: Plan) -> None:
        """Make `plan.foreseen` and `plan.sending` lasting, before the CSD is written to.

        The same entry at the same revision again is no second one.
        """
        ...

    async def settle(self, plan: Plan) -> bool:
        """Write `settle(plan, the case now)` in one transaction. Whether nothing is left to look at."""
        ...

    async def missing(self, target: CsdRef | None, *, ours: bool) -> bool:
        """The ticket is gone, or merged into `target`, which is a ticket of okienko's or not. Whether the target is to be followed."""
        ...


class Call(Protocol):
    """The way to the backend: `Calls.call`."""

    def __call__(self, thing: Any, operation: str, make: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        """The result of what `make` gives."""
        ...


async def bring_in_step(store: CaseStore, csd: CsdBackend, call: Call, rules: Mapping[str, Rule]) -> None:
    """Make both sides equal. Raises TransientError when that has to be tried again; what the CSD refuses for good is raised."""
    for _ in range(_ROUNDS):
        pair = await store.load()
        ref = pair.ref
        ticket: Ticket | None = await call(csd, "get", partial(csd.get, ref))
        if ticket is None or ticket.merged_into is not None:
            target = ticket.merged_into if ticket is not None else None
            other: Ticket | None = await call(csd, "get", partial(csd.get, target)) if target is not None else None
            # The field for the case's id tells whether a ticket is one that okienko registered.
            if await store.missing(target, ours=other is not None and other.correlation_id is not None):
                continue
            return
        made = plan(pair.local, pair.shadow, ticket, capabilities=csd.capabilities, rules=rules)
        if made.to_csd:
            await store.foresee(made)
        written = await _write(made, ticket, ref, csd, call)
        if written is not None and await store.settle(written):
            return
    raise TransientError(
        f"ticket {pair.ref.number} and its case change faster than they can be brought in step", retry_after=5
    )


async def _write(made: Plan, ticket: Ticket, ref: CsdRef, csd: CsdBackend, call: Call) -> Plan | None:
    """Write what the CSD lacks; the plan with what it refused. None: the ticket is another one now, look again."""
    if made.status is not None and (made.status is TicketStatus.CLOSED) is not (ticket.status is TicketStatus.CLOSED):
        # A move to or from closed knows no version and makes a new one: it goes alone, then both sides are read again.
        if made.status is TicketStatus.CLOSED:
            await call(csd, "close", lambda: csd.close(ref, made.seen.solution))
        else:
            reason = OPENED_AGAIN if made.guarded else REOPEN_REASON
            if made.guarded:
                key = f"open action {ref.number} {ticket.version or ticket.updated_at.isoformat()}"
                await call(csd, "comment", lambda: csd.comment(ref, key, OPENED_AGAIN))
            await call(csd, "reopen", lambda: csd.reopen(ref, reason))
        return None
    whole = made.change()
    if whole is None:
        return made
    version = ticket.version if Capability.VERSIONS in csd.capabilities else None

    async def change(what: TicketChange) -> bool:
        try:
            await call(csd, "change", lambda: csd.change(ref, what, version=version))
        except (TicketChangedError, TicketGoneError):
            raise
        except PermanentError:
            return False
        return True

    try:
        if await change(whole):
            return made
        names = list(made.to_csd)
        if len(names) == 1:
            return give_way(made, names, ticket)
        # Which of them it was, only the CSD knows: one at a time, and after each that it takes both sides are read again.
        for name in names:
            one = replace(made, to_csd={name: made.to_csd[name]}).change()
            if one is not None and await change(one):
                return None
    except TicketChangedError:
        return None
    return give_way(made, names, ticket)


def give_way(made: Plan, names: Sequence[str], ticket: Ticket) -> Plan:
    """The plan after the CSD has refused okienko's values of these fields for good: its own count, and the ledger says so."""
    theirs = {**remote_fields(ticket, frozenset(Capability)), STATUS: ticket.status.value}
    entries = [
        Entry(n, made.shadow.fields.get(n), made.to_csd[n], theirs.get(n), Side.CSD, REFUSED)
        for n in names
        if n in theirs
    ]
    values = {entry.field: entry.csd for entry in entries}
    return replace(
        made,
        agreed={**made.agreed, **values},
        to_okienko={**made.to_okienko, **values},
        to_csd={},
        conflicts=(*made.conflicts, *entries),
    )
