"""Checking the chain from end to end, against itself, its head and the anchors. Reads as a stream; changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit import chain
from okienko.core.audit.anchor import Anchor, signed_by
from okienko.core.audit.entries import AuditAction
from okienko.core.audit.log import Head
from okienko.core.database import raw_connection, transaction

COLUMNS = "seq, at, case_id, actor, action, subject, reason, origin, data::text AS data, personal, prev, hash"
_BATCH = 500


class Problem(StrEnum):
    """What can be wrong."""

    ALTERED = "altered"
    """An entry's fields are not those that its hash was made of."""
    DELETED = "deleted"
    """Numbers are missing between two entries."""
    INSERTED = "inserted"
    """A number comes twice, or before its turn."""
    RELINKED = "relinked"
    """An entry is right in itself but does not follow the one before it: one of the two was exchanged."""
    TAIL_CUT = "tail_cut"
    """The chain ends before its head, or before an anchor."""
    REWRITTEN = "rewritten"
    """The chain fits together but not with an anchor: it was made anew."""
    HEAD = "head"
    """The head row is gone or does not name the last entry."""
    ANCHOR = "anchor"
    """An anchor's file is altered, foreign, or does not follow the one before it."""
    ANCHOR_MISSING = "anchor_missing"
    """The chain tells of an anchor whose file is not there."""
    APPROVAL = "approval"
    """An approval that the audit does not tell of or whose seal is wrong, or an execution without enough approvals."""


_RANK = {Problem.ANCHOR: 1, Problem.ANCHOR_MISSING: 2, Problem.APPROVAL: 3}
"""What is said of the chain itself comes before what is said of the anchors' files and of approvals."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken place."""

    problem: Problem
    seq: int
    """The first entry that cannot be trusted; for an anchor the entry it vouches for."""
    text: str
    after: datetime | None = None
    """Time of the last entry before it that holds."""
    before: datetime | None = None
    """Time of the next entry there is."""


@dataclass(slots=True)
class Report:
    """What a check found."""

    chain: UUID | None = None
    entries: int = 0
    hash: bytes = b""
    """The end that was reached."""
    first_at: datetime | None = None
    last_at: datetime | None = None
    anchors: int = 0
    """Anchors that hold."""
    anchored_seq: int = 0
    """The last entry that an anchor vouches for: behind it a cut tail shows only against the head row."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def first_broken(self) -> Finding | None:
        """The first broken link: of the chain itself if it is broken, else of its head and anchors."""
        return min(self.findings, key=lambda f: (_RANK.get(f.problem, 0), f.seq), default=None)


class Walker:
    """Follows the chain entry by entry; `step` says whether to go on. No I/O."""

    def __init__(self, head: Head, anchors: Sequence[Anchor] | None, *, start: tuple[int, bytes] | None = None) -> None:
        """`start` is the number and hash of an entry that is taken as right; without it the chain is checked from its
        beginning. `anchors` None: nobody asks for them."""
        self.report = Report(chain=head.chain)
        self._head = head
        self._seq, self._prev = start or (0, chain.genesis(head.chain))
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors or ():
            self._anchors.setdefault(anchor.seq, []).append(anchor)
        self._digests = None if anchors is None else {anchor.digest.hex() for anchor in anchors}
        self._held = 0
        self._held_at: datetime | None = None
        self._check_anchor(None)

    def step(self, row: Mapping[str, Any]) -> bool:
        """Hold the next entry against what is known; False at the first broken link."""
        report, at = self.report, row["at"]
        finding = self._compare(row)
        if finding is not None:
            report.findings.append(Finding(*finding, after=report.last_at, before=at))
            return False
        self._seq, self._prev = row["seq"], row["hash"]
        report.entries += 1
        report.first_at = report.first_at or at
        report.last_at = at
        if row["action"] == AuditAction.ANCHORED and self._digests is not None:
            data = json.loads(row["data"])
            if data["anchor"] not in self._digests:
                text = (
                    f"the anchor of {data['date']} over entry {data['seq']}, made at entry {row['seq']}, is not there"
                )
                report.findings.append(Finding(Problem.ANCHOR_MISSING, data["seq"], text, at, None))
        return self._check_anchor(at)

    def _compare(self, row: Mapping[str, Any]) -> tuple[Problem, int, str] | None:
        seq, expected = row["seq"], self._seq + 1
        if seq > expected:
            gone = f"entry {expected} is" if seq == expected + 1 else f"entries {expected} to {seq - 1} are"
            return Problem.DELETED, expected, f"{gone} missing"
        if seq < expected:
            return Problem.INSERTED, seq, f"entry {seq} comes a second time or before its turn"
        try:
            own = chain.link(row["prev"], seq, _body(row))
        except (ValueError, TypeError, AttributeError) as error:
            return Problem.ALTERED, seq, f"entry {seq} holds what okienko never writes: {error}"
        if own != row["hash"]:
            return Problem.ALTERED, seq, f"entry {seq} was altered: its fields do not give its hash"
        if row["prev"] != self._prev:
            return Problem.RELINKED, seq, f"entry {seq} does not follow entry {seq - 1}: one of them was exchanged"
        return None

    def _check_anchor(self, at: datetime | None) -> bool:
        for anchor in self._anchors.get(self._seq, ()):
            if anchor.chain != self._head.chain or anchor.hash != self._prev:
                since = f"after entry {self._held}" if self._held else "from its beginning"
                text = f"the chain was made anew {since}: entry {self._seq} is not what the anchor of {anchor.date} vouches for"
                self.report.findings.append(Finding(Problem.REWRITTEN, self._held + 1, text, self._held_at, at))
                return False
            self.report.anchors += 1
            self.report.anchored_seq = self._held = self._seq
            self._held_at = at
        return True

    def end(self, *, complete: bool) -> Report:
        """The report. `complete`: every entry was walked, so that the end can be held against head and anchors."""
        report, head = self.report, self._head
        report.hash = self._prev
        if not complete:
            return report
        later = [anchor for seq, there in self._anchors.items() if seq > self._seq for anchor in there]
        if later:
            last = max(later, key=lambda a: a.seq)
            text = f"the chain ends at entry {self._seq}, but the anchor of {last.date} vouches for entries up to {last.seq}"
            report.findings.append(Finding(Problem.TAIL_CUT, self._seq + 1, text, report.last_at, last.at))
        elif head.seq > self._seq:
            text = f"the chain ends at entry {self._seq}, but its head is entry {head.seq}"
            report.findings.append(Finding(Problem.TAIL_CUT, self._seq + 1, text, report.last_at, None))
        elif (head.seq, head.hash) != (self._seq, self._prev):
            text = f"the head row names entry {head.seq}, the last one is {self._seq}, or their hashes differ"
            report.findings.append(Finding(Problem.HEAD, self._seq, text, report.last_at, None))
        return report


def _body(row: Mapping[str, Any]) -> bytes:
    return chain.body(
        chain.Entry(
            row["at"], row["case_id"], row["actor"], row["action"], row["subject"], row["reason"], row["origin"],
            json.loads(row["data"]), chain.commit(row["personal"]),
        )
    )  # fmt: skip


def check_anchors(
    anchors: Sequence[Anchor], unreadable: Sequence[str], trusted: Mapping[str, Ed25519PublicKey]
) -> tuple[list[Anchor], list[Finding]]:
    """The anchors that are genuine, and what is wrong with the others and with their order."""
    good: list[Anchor] = []
    findings = [Finding(Problem.ANCHOR, 0, text) for text in unreadable]
    known: set[str] = set()
    for anchor in anchors:
        name = anchor.source or anchor.date
        if (wrong := signed_by(anchor, trusted)) is not None:
            findings.append(Finding(Problem.ANCHOR, anchor.seq, f"{name}: {wrong}"))
            continue
        if anchor.count != anchor.seq:
            findings.append(Finding(Problem.ANCHOR, anchor.seq, f"{name}: its count is not its number"))
        # None is right for the first, and for one written by a process that died before it could tell the chain.
        if anchor.previous is not None and anchor.previous not in known:
            findings.append(
                Finding(Problem.ANCHOR_MISSING, anchor.seq, f"the anchor before {name} is not in the folder")
            )
        known.add(anchor.digest.hex())
        good.append(anchor)
    return good, findings


async def verify(
    engine: AsyncEngine,
    anchors: Sequence[Anchor],
    trusted: Mapping[str, Ed25519PublicKey],
    unreadable: Sequence[str] = (),
) -> Report:
    """Check the whole chain in one consistent snapshot, in bounded memory. Raises TransientError when the database is away."""
    async with transaction(engine, snapshot=True) as connection:
        raw = await raw_connection(connection)
        return await verify_on(raw, anchors, trusted, unreadable)


async def verify_on(
    raw: Any, anchors: Sequence[Anchor], trusted: Mapping[str, Ed25519PublicKey], unreadable: Sequence[str] = ()
) -> Report:
    """As `verify`, in the open transaction of `raw` (an asyncpg connection)."""
    good, findings = check_anchors(anchors, unreadable, trusted)
    head = await read_head(raw)
    if head is None:
        return Report(findings=[*findings, Finding(Problem.HEAD, 0, "the head row of the chain is gone")])
    walker = Walker(head, good)
    complete = walker.report.intact
    if complete:
        async for row in read_entries(raw):
            if not walker.step(row):
                complete = False
                break
    report = walker.end(complete=complete)
    report.findings = [*report.findings, *findings]
    return report


async def verify_tail(engine: AsyncEngine, length: int) -> Report:
    """Check the last `length` entries and the head only: quick, and blind to what lies before."""
    async with transaction(engine, snapshot=True) as connection:
        raw = await raw_connection(connection)
        head = await read_head(raw)
        if head is None:
            return Report(findings=[Finding(Problem.HEAD, 0, "the head row of the chain is gone")])
        before = max(head.seq - length, 0)
        start = await raw.fetchrow("SELECT seq, hash FROM audit_entry WHERE seq = $1", before) if before else None
        if before and start is None:
            finding = Finding(Problem.DELETED, before, f"entry {before} is missing")
            return Report(chain=head.chain, findings=[finding])
        walker = Walker(head, None, start=(start["seq"], start["hash"]) if start else None)
        complete = True
        async for row in read_entries(raw, after=before):
            if not walker.step(row):
                complete = False
                break
    return walker.end(complete=complete)


async def read_head(raw: Any) -> Head | None:
    """The end of the chain as the head row has it, or None when the row is gone."""
    row = await raw.fetchrow("SELECT chain, seq, hash FROM audit_head")
    return Head(row["chain"], row["seq"], row["hash"]) if row else None


async def read_entries(raw: Any, *, after: int = 0, case_id: UUID | None = None) -> AsyncIterator[Any]:
    """Entries in order of their numbers, a few at a time, in the open transaction of `raw`."""
    sql = f"SELECT {COLUMNS} FROM audit_entry WHERE seq > $1 AND ($2::uuid IS NULL OR case_id = $2) ORDER BY seq"  # noqa: S608  constants
    cursor = raw.cursor(sql, after, case_id, prefetch=_BATCH)
    async for row in cursor:
        yield row
