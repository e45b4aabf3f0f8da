"""Checks of what a backend tells of changes: by asking, and by webhook."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from okienko.plugins.csd import Capability, CsdBackend, ForgedNoticeError
from okienko.plugins.errors import PermanentError
from okienko.plugins.testing.conformance.csdbase import CsdChecks, needs
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.schemas import CsdRef

BROKEN = [b"", b"{", b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", b"[" * 50000, json.dumps({"tickets": [None]}).encode()]
"""Bodies that say nothing of a ticket."""


class ChangeChecks(CsdChecks):
    """Changes and webhooks."""

    @needs(Capability.CHANGES)
    async def test_changes_from_now_on(self, backend: CsdBackend) -> None:
        """Without a cursor nothing is told but where to go on from."""
        await self.make(backend)
        told = await backend.changes(None)
        assert told.refs == ()
        assert told.cursor
        assert not told.more

    @needs(Capability.CHANGES)
    async def test_changes_of_the_same_second(self, backend: CsdBackend) -> None:
        """Each change is told, also when the ticket or its neighbour was told in the same second already."""
        refs = [await self.make(backend) for _ in range(3)]
        cursor = (await backend.changes(None)).cursor
        for turn in range(9):
            ref = refs[turn % 3]
            await backend.comment(ref, f"k{turn}", "Zmiana.")
            told, cursor = await self.walk(backend, cursor)
            assert ref.number in told, f"change {turn} was skipped"

    @needs(Capability.CHANGES)
    async def test_changes_in_pages(self, backend: CsdBackend) -> None:
        """More changes than fit into an answer come in several, each once at least, and the walk ends."""
        refs = [await self.make(backend) for _ in range(7)]
        cursor = (await backend.changes(None)).cursor
        for ref in refs:
            await backend.comment(ref, "k", "Zmiana.")
        for limit in (3, 1, 100):
            told, _ = await self.walk(backend, cursor, limit)
            assert {ref.number for ref in refs} <= set(told), f"with a limit of {limit} some were skipped"

    @needs(Capability.CHANGES)
    async def test_changes_of_new_tickets(self, backend: CsdBackend) -> None:
        """A ticket that is made, closed or opened again has changed."""
        cursor = (await backend.changes(None)).cursor
        ref = await self.make(backend)
        told, cursor = await self.walk(backend, cursor)
        assert ref.number in told
        await backend.close(ref, "Gotowe.")
        told, cursor = await self.walk(backend, cursor)
        assert ref.number in told
        await backend.reopen(ref, "Dalej nie działa.")
        told, cursor = await self.walk(backend, cursor)
        assert ref.number in told

    @needs(Capability.CHANGES)
    async def test_changes_asked_again(self, backend: CsdBackend) -> None:
        """An old cursor still works, and tells at least what it told."""
        cursor = (await backend.changes(None)).cursor
        ref = await self.make(backend)
        first, _ = await self.walk(backend, cursor)
        second, _ = await self.walk(backend, cursor)
        assert ref.number in first
        assert set(first) <= set(second)

    @needs(Capability.CHANGES)
    async def test_changes_end(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """When all is quiet, asking again and again tells of nothing any more."""
        ref = await self.make(backend)
        _, cursor = await self.walk(backend, (await backend.changes(None)).cursor)
        await backend.comment(ref, "k", "Zmiana.")
        told: list[str] = []
        for _ in range(3):
            await csd_workshop.tick()
            told, cursor = await self.walk(backend, cursor)
        assert ref.number not in told

    @needs(Capability.CHANGES)
    async def test_changes_in_order(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """The oldest change is told first."""
        refs = [await self.make(backend) for _ in range(3)]
        await csd_workshop.tick()
        cursor = (await backend.changes(None)).cursor
        for ref in reversed(refs):
            await backend.comment(ref, "k", "Zmiana.")
            await csd_workshop.tick()
        told, _ = await self.walk(backend, cursor)
        ours = [number for number in told if number in {ref.number for ref in refs}]
        last = sorted(set(ours), key=lambda number: len(ours) - 1 - ours[::-1].index(number))
        assert last == [ref.number for ref in reversed(refs)]

    @needs(Capability.CHANGES)
    async def test_foreign_changes(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """What people do is told."""
        ref, other = await self.make(backend), await self.make(backend)
        _, cursor = await self.walk(backend, (await backend.changes(None)).cursor)
        await csd_workshop.note(ref, "Telefon od klienta.")
        told, cursor = await self.walk(backend, cursor)
        assert ref.number in told
        if Capability.REMOVAL in backend.capabilities:
            await csd_workshop.merge(ref, other)
            told, cursor = await self.walk(backend, cursor)
            assert ref.number in told or other.number in told

    @needs(Capability.WEBHOOK)
    async def test_webhook(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A true notice names its tickets in order."""
        ref, other = await self.make(backend), await self.make(backend)
        told = backend.notified(await csd_workshop.webhook(ref))
        assert [r.number for r in told] == [ref.number]
        ticket = await self.read(backend, told[0])
        assert ticket.ref.number == ref.number
        told = backend.notified(await csd_workshop.webhook(other, ref))
        assert [r.number for r in told] == [other.number, ref.number]

    @needs(Capability.WEBHOOK)
    async def test_webhook_forged(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A notice without proof, or with another's, is not believed, whatever its body."""
        true = await csd_workshop.webhook(await self.make(backend))
        for body in (true.body, b"", b"{"):
            for headers in ({}, dict.fromkeys(true.headers, ""), {n: "ą" * len(v) for n, v in true.headers.items()}):
                with pytest.raises(ForgedNoticeError):
                    backend.notified(replace(true, headers=headers, body=body))
        if csd_workshop.signs_body:
            for body in (b"", true.body + b" ", true.body[:-1]):
                with pytest.raises(ForgedNoticeError):
                    backend.notified(replace(true, body=body))
        assert backend.notified(true)

    @needs(Capability.WEBHOOK)
    @pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
    async def test_webhook_broken(self, backend: CsdBackend, csd_workshop: CsdWorkshop, body: bytes) -> None:
        """A proven notice that cannot be read is a PermanentError and no crash."""
        with pytest.raises(PermanentError) as caught:
            backend.notified(await csd_workshop.signed(body))
        assert not isinstance(caught.value, ForgedNoticeError)

    async def walk(self, backend: CsdBackend, cursor: str, limit: int = 100) -> tuple[list[str], str]:
        """The numbers told from there to the end, and the end."""
        told: list[CsdRef] = []
        for _ in range(300):
            answer = await backend.changes(cursor, limit=limit)
            assert len(answer.refs) <= limit
            told += answer.refs
            if not answer.more:
                return [ref.number for ref in told], answer.cursor
            assert answer.cursor != cursor, "there is more, and the cursor stands still"
            cursor = answer.cursor
        raise AssertionError("300 answers and still more: the cursor goes round")
