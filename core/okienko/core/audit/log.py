"""Appending to the chain, in the transaction of what the entries tell of.

`record` only remembers; `okienko.core.database.transaction` calls `flush` as the last thing before COMMIT. So all entries of a
transaction cost one lock and two statements, the lock on the chain's head is held only while they are written and
committed, and no transaction waits for any other lock while it holds the head: it can be part of no deadlock.

The head is a row locked FOR UPDATE and not an advisory lock: under READ COMMITTED both give the newest head, but a stricter
transaction with an old snapshot would, under an advisory lock, go on from a stale head; the row lock makes it fail with a
serialisation error, which is tried again. A sequence would leave gaps when a transaction is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from okienko.core.audit import chain
from okienko.core.audit.entries import NewEntry
from okienko.plugins.errors import TransientError

_pending: WeakKeyDictionary[Any, list[NewEntry]] = WeakKeyDictionary()

_LOCK = "SELECT chain, seq, hash FROM audit_head FOR UPDATE"
_APPEND = """
WITH added AS (
    INSERT INTO audit_entry (seq, at, case_id, actor, action, subject, reason, origin, data, personal, prev, hash)
    SELECT seq, at, case_id, actor, action, subject, reason, origin, data::jsonb, personal, prev, hash
    FROM unnest($1::bigint[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::bytea[], $11::bytea[], $12::bytea[])
      AS e(seq, at, case_id, actor, action, subject, reason, origin, data, personal, prev, hash)
)
UPDATE audit_head SET seq = $13, hash = $14
"""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain."""

    chain: UUID
    seq: int
    hash: bytes


def begin(raw: Any) -> None:
    """Let entries be recorded on `raw` (an asyncpg connection) until `discard`."""
    _pending[raw] = []


def discard(raw: Any) -> None:
    """Forget what was recorded and not flushed: the transaction is over."""
    _pending.pop(raw, None)


def record(raw: Any, entries: Iterable[NewEntry]) -> None:
    """Have the entries appended when the transaction of `raw` commits. Raises RuntimeError outside `database.transaction`."""
    pending = _pending.get(raw)
    if pending is None:
        raise RuntimeError("audit entries are recorded inside okienko.core.database.transaction, which appends them")
    pending.extend(entries)


async def flush(raw: Any) -> None:
    """Append what was recorded. Nothing may be done in the transaction afterwards but COMMIT."""
    pending = _pending.get(raw)
    if pending:
        entries = list(pending)
        pending.clear()
        await append(raw, entries)


async def lock_head(raw: Any) -> Head:
    """The end of the chain; nobody else appends until the transaction ends."""
    row = await raw.fetchrow(_LOCK)
    if row is None:
        # Work is put back, not parked: nothing may happen unaudited, and nothing is lost by waiting.
        raise TransientError("the audit's head row is gone: somebody has tampered with the database; see docs/audit.md")
    return Head(row["chain"], row["seq"], row["hash"])


async def append(raw: Any, entries: Sequence[NewEntry]) -> Head:
    """Append the entries in order, in the open transaction of `raw`; returns the new end."""
    head = await lock_head(raw)
    seq, prev = head.seq, head.hash
    rows: list[tuple[Any, ...]] = []
    for new in entries:
        seq += 1
        entry = chain.Entry(
            new.at, new.case_id, new.actor, new.action.value, new.subject, new.reason, new.origin, new.data,
            chain.commit(new.personal),
        )  # fmt: skip
        link = chain.link(prev, seq, chain.body(entry))
        data = json.dumps(entry.data, ensure_ascii=False)
        rows.append(
            (
                seq, entry.at, entry.case_id, entry.actor, entry.action, entry.subject, entry.reason, entry.origin, data,
                new.personal, prev, link,
            )
        )  # fmt: skip
        prev = link
    if rows:
        await raw.execute(_APPEND, *(list(column) for column in zip(*rows, strict=True)), seq, prev)
    return Head(head.chain, seq, prev)
