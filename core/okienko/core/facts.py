"""What the store knows about a batch of messages: one query for each kind of fact, however large the batch."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from okienko.core.repeats import Repeatable, open_cases
from okienko.plugins.ports import CaseLink, MessageFacts
from okienko.schemas import CaseState, InboundMessage

_CLAIM = """
INSERT INTO seen (mailbox, key, envelope_id)
SELECT mailbox, key, envelope_id FROM unnest($1::text[], $2::bytea[], $3::uuid[], $4::bigint[]) AS k(mailbox, key, envelope_id, seq)
ORDER BY mailbox, key, seq
ON CONFLICT DO NOTHING
"""
_OWNERS = """
SELECT s.mailbox, s.key, s.envelope_id, e.case_id FROM seen s
JOIN unnest($1::text[], $2::bytea[]) AS k(mailbox, key) USING (mailbox, key)
JOIN envelope e ON e.id = s.envelope_id
"""
_REFS = """
SELECT r.mailbox, r.ref, c.id, c.csd_number, c.state, c.requester_address FROM thread_ref r
JOIN unnest($1::text[], $2::text[]) AS k(mailbox, ref) USING (mailbox, ref)
JOIN cases c ON c.id = r.case_id ORDER BY c.seq DESC
"""
_NUMBERS = """
SELECT id, csd_number, number AS named, state, requester_address FROM cases WHERE number = ANY($1::text[])
UNION ALL SELECT id, csd_number, csd_number, state, requester_address FROM cases WHERE csd_number = ANY($1::text[])
"""
_OURS = """
SELECT n.message_id, c.id, c.csd_number, c.state, c.requester_address FROM notification n
JOIN cases c ON c.id = n.case_id WHERE n.message_id = ANY($1::text[])
"""
# A case that waits for its number has its answer still to come.
_ANSWERS = """
SELECT address, sum(n)::int AS answers FROM (
    SELECT to_address AS address, count(*) AS n FROM notification
    WHERE to_address = ANY($1::text[]) AND created_at > $2 AND case_id IS NOT NULL GROUP BY to_address
    UNION ALL
    SELECT requester_address, count(*) FROM cases
    WHERE requester_address = ANY($1::text[]) AND state = 'decided' AND silenced IS NULL AND opened_at > $2
    GROUP BY requester_address
) AS counted GROUP BY address
"""
# Exclusive for all when there are many: PostgreSQL's lock table is of a fixed size.
_LOCK_ALL = "SELECT pg_advisory_xact_lock(hashtext('okienko thread_ref'))"
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(hashtext('okienko thread_ref'))"
_LOCK_REFS = "SELECT pg_advisory_xact_lock(k) FROM unnest($1::bigint[]) AS k"
_MANY = 500


@dataclass(frozen=True, slots=True)
class Keyed:
    """A message with what its facts are looked up by."""

    seq: int
    envelope_id: UUID
    mailbox: str
    message: InboundMessage
    numbers: tuple[str, ...]
    request_key: bytes | None = None
    """What a recovery request asks; see okienko.core.repeats."""

    @property
    def refs(self) -> tuple[str, ...]:
        """Message-IDs it answers, nearest first, then its own: another mail may have named it before it came."""
        m = self.message
        own = (m.message_id,) if m.message_id else ()
        return tuple(dict.fromkeys((*reversed(m.in_reply_to), *reversed(m.references), *own)))

    @property
    def correspondent(self) -> str | None:
        """Lower-case address of the sender."""
        return self.message.sender.address.lower() if self.message.sender else None


def dedupe_keys(message: InboundMessage) -> list[bytes]:
    """Hashes that make two messages the same one.

    By Message-ID, with sender and date, so that a reused or guessed id hides nobody's mail; and by content with its date,
    for relays that rewrite the Message-ID. Without any date the content alone counts only when there is no Message-ID.
    """
    sender = message.sender.address.lower() if message.sender else ""
    date = message.date.isoformat() if message.date else ""
    keys = []
    if message.message_id:
        keys.append(_hash("id", message.message_id, sender, date))
    if date or not message.message_id:
        parts = (part.sha256 for part in message.attachments)
        keys.append(
            _hash("content", sender, date, " ".join(message.subject.split()), " ".join(message.text.split()), *parts)
        )
    return keys


def _hash(*parts: str) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


@dataclass
class FactBook:
    """Facts for one batch. What the batch itself adds is written in as it goes, so that its members see each other."""

    owners: dict[tuple[str, bytes], UUID] = field(default_factory=dict)
    case_of_envelope: dict[UUID, UUID | None] = field(default_factory=dict)
    keys: dict[UUID, list[bytes]] = field(default_factory=dict)
    refs: dict[tuple[str, str], list[CaseLink]] = field(default_factory=lambda: defaultdict(list))
    numbers: dict[str, CaseLink] = field(default_factory=dict)
    ours: dict[str, CaseLink] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    repeatable: dict[bytes, Repeatable] = field(default_factory=dict)

    def original_of(self, keyed: Keyed) -> UUID | None:
        """The envelope that this one repeats, or None."""
        for key in self.keys[keyed.envelope_id]:
            owner = self.owners.get((keyed.mailbox, key))
            if owner is not None and owner != keyed.envelope_id:
                return owner
        return None

    def facts(self, keyed: Keyed) -> MessageFacts:
        """What the policies are told."""
        message = keyed.message
        linked = (link for ref in keyed.refs for link in self.refs.get((keyed.mailbox, ref), ()))
        return MessageFacts(
            is_ours=message.message_id is not None and message.message_id in self.ours,
            by_reference=tuple({link.case_id: link for link in linked}.values()),
            by_number=tuple(self.numbers[n] for n in keyed.numbers if n in self.numbers),
            by_report=tuple(self.ours[i] for i in message.reported_message_ids if i in self.ours),
            answers_today=self.answers.get(keyed.correspondent or "", 0),
        )

    def repeated(self, keyed: Keyed, *, answered: bool) -> UUID | None:
        """The open case whose request this message makes again, or None. `answered`: it would get an answer of its own."""
        found = self.repeatable.get(keyed.request_key) if keyed.request_key else None
        return found.case_id if found is not None and (found.answered or not answered) else None

    def opened(self, keyed: Keyed, link: CaseLink, *, answered: bool) -> None:
        """Note a case that this batch opened."""
        for ref in keyed.refs:
            self.refs[keyed.mailbox, ref].insert(0, link)
        if answered and keyed.correspondent:
            self.answers[keyed.correspondent] = self.answers.get(keyed.correspondent, 0) + 1
        if keyed.request_key:
            self.repeatable[keyed.request_key] = Repeatable(link.case_id, answered)


async def gather(raw: Any, batch: Sequence[Keyed], now: datetime, *, repeats_for: timedelta = timedelta()) -> FactBook:
    """Claim the batch's dedupe keys and look everything up, in the transaction of `raw` (an asyncpg connection).

    `repeats_for`: how long after a case was opened the same request becomes part of it.
    """
    book = FactBook()
    for keyed in batch:
        book.keys[keyed.envelope_id] = dedupe_keys(keyed.message)
    claims = [(k.mailbox, key, k.envelope_id, k.seq) for k in batch for key in book.keys[k.envelope_id]]
    mailboxes, keys = [c[0] for c in claims], [c[1] for c in claims]
    await raw.execute(_CLAIM, mailboxes, keys, [c[2] for c in claims], [c[3] for c in claims])
    for row in await raw.fetch(_OWNERS, mailboxes, keys):
        book.owners[row["mailbox"], row["key"]] = row["envelope_id"]
        book.case_of_envelope[row["envelope_id"]] = row["case_id"]

    refs = list({(k.mailbox, ref) for k in batch for ref in k.refs})
    requests = list({k.request_key for k in batch if k.request_key})
    if refs or requests:
        await _lock(raw, {_hash(*ref) for ref in refs} | set(requests))
    if requests:
        book.repeatable = await open_cases(raw, requests, now - repeats_for)
    if refs:
        for row in await raw.fetch(_REFS, [r[0] for r in refs], [r[1] for r in refs]):
            book.refs[row["mailbox"], row["ref"]].append(_link(row))
    if numbers := list({n for k in batch for n in k.numbers}):
        book.numbers = {row["named"]: _link(row) for row in await raw.fetch(_NUMBERS, numbers)}
    ids = {k.message.message_id for k in batch if k.message.message_id}
    ids |= {i for k in batch for i in k.message.reported_message_ids}
    if ids:
        book.ours = {row["message_id"]: _link(row) for row in await raw.fetch(_OURS, list(ids))}
    if people := list({k.correspondent for k in batch if k.correspondent}):
        rows = await raw.fetch(_ANSWERS, people, now - timedelta(hours=24))
        book.answers = {row["address"]: row["answers"] for row in rows}
    return book


async def _lock(raw: Any, hashes: Collection[bytes]) -> None:
    """Until the commit, no other worker looks up or writes these references and requests: a mail and its answer, or the same
    request twice, in the hands of two workers at once, would each find nothing and open a case of its own."""
    if len(hashes) > _MANY:
        await raw.execute(_LOCK_ALL)
        return
    await raw.execute(_LOCK_SHARED)
    keys = {int.from_bytes(one[:8], "big", signed=True) for one in hashes}
    await raw.execute(_LOCK_REFS, sorted(keys))


def _link(row: Any) -> CaseLink:
    return CaseLink(row["id"], row["csd_number"], CaseState(row["state"]), row["requester_address"])
