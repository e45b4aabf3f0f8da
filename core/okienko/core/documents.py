"""The documents of one mail: which of them is a signed application that counts, and which belongs to a detached signature.

A signature that came beside its file (`.p7s`, `.sig`, `.xades`) says by a digest what it signs. The attachment with that digest is
the file, whatever either is called: names are chosen by the sender and prove nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from okienko.core.verifying import Checked, Verifying
from okienko.plugins.signatures import MissingFile, SignatureFormat
from okienko.schemas import Attachment

LARGEST = 20 << 20
"""Octets of an attachment that is looked at."""
MOST = 10
"""Attachments of one mail that are checked: each may take its time limit, twice when it is a detached signature."""

Read = Callable[[Attachment], Awaitable[bytes]]


async def first_that_counts(
    attachments: Sequence[Attachment], read: Read, verifying: Verifying, now: Callable[[], datetime]
) -> Checked | None:
    """The first attachment with a signature that counts; else what is wrong with the first one that has any.

    None when there is nothing to look at. Raises what `read` and `Verifying.verify` raise.
    """
    candidates = [a for a in attachments if 0 < a.size <= LARGEST][:MOST]
    files = _Files(candidates, read)
    best: Checked | None = None
    for attachment in candidates:
        document = await read(attachment)
        checked = await verifying.verify(document, attachment.filename, now())
        content = await files.find(checked.verification.missing, beside=attachment)
        if content is not None:
            checked = await verifying.verify(document, attachment.filename, now(), detached=content)
        checked = replace(checked, attachment=attachment)
        if checked.verification.report.valid:
            return checked
        if best is None or best.verification.report.format is SignatureFormat.NONE:
            best = checked
    return best


async def signed_beside(
    attachments: Sequence[Attachment], read: Read, missing: Sequence[MissingFile], *, beside: Attachment
) -> bytes | None:
    """The file among the attachments that the detached signature `beside` signs, by its digest; None when it is not there."""
    candidates = [a for a in attachments if 0 < a.size <= LARGEST][:MOST]
    return await _Files(candidates, read).find(missing, beside=beside)


class _Files:
    """The candidates by their digests. Each is hashed once for an algorithm, however many signatures ask."""

    def __init__(self, candidates: Sequence[Attachment], read: Read) -> None:
        self._candidates = candidates
        self._read = read
        self._by_digest: dict[str, dict[str, Attachment]] = {
            # The channel hashed them already. Should it be wrong, the verifier hashes what it is given.
            "sha256": {a.sha256.lower(): a for a in reversed(candidates)}
        }

    async def find(self, missing: Sequence[MissingFile], *, beside: Attachment) -> bytes | None:
        """The one file that is missing, by its digest. None when it is not there, or when several are missing."""
        if len(missing) != 1 or missing[0].algorithm not in ("sha256", "sha384", "sha512"):
            return None
        (wanted,) = missing
        if wanted.algorithm not in self._by_digest:
            self._by_digest[wanted.algorithm] = await self._hashed(wanted.algorithm)
        found = self._by_digest[wanted.algorithm].get(wanted.digest.hex())
        return await self._read(found) if found is not None and found.index != beside.index else None

    async def _hashed(self, algorithm: str) -> dict[str, Attachment]:
        by_digest: dict[str, Attachment] = {}
        for attachment in self._candidates:
            content = await self._read(attachment)
            digest = await asyncio.to_thread(hashlib.new, algorithm, content)
            by_digest.setdefault(digest.hexdigest(), attachment)
        return by_digest
