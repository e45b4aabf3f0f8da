"""Checks of reading, notes, closing and opening again."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from okienko.plugins.csd import Capability, CsdBackend, Note, Ticket, TicketGoneError
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.errors import PermanentError
from okienko.plugins.testing.conformance.csdbase import CsdChecks, insist, needs
from okienko.plugins.testing.conformance.csdcreate import FAULTS, ODD
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus


def with_key(ticket: Ticket, key: str) -> list[Note]:
    """The notes that were written under the key."""
    return [note for note in ticket.notes if note.key == mark_of(key)]


def assert_utc(moment: datetime) -> None:
    """It has a zone, and the zone is UTC."""
    assert moment.tzinfo is not None, f"{moment} has no time zone"
    assert moment.utcoffset() == timedelta(0), f"{moment} is not in UTC"


class TicketChecks(CsdChecks):
    """Get, comment, close, reopen."""

    async def test_get(self, backend: CsdBackend) -> None:
        """A new ticket is read as it was registered, and is open."""
        one = self.new()
        ref = (await backend.create([one]))[one.correlation_id]
        ticket = await self.read(backend, ref)
        assert ticket.ref == ref
        assert ticket.correlation_id == one.correlation_id
        assert ticket.subject == one.subject
        assert ticket.status is TicketStatus.OPEN
        assert ticket.raw_status
        assert ticket.solution in (None, "")
        assert ticket.merged_into is None
        assert not [note for note in ticket.notes if note.key is not None]
        assert_utc(ticket.created_at)
        assert_utc(ticket.updated_at)
        assert ticket.created_at <= ticket.updated_at

    async def test_comment(self, backend: CsdBackend) -> None:
        """Notes come back oldest first with their keys, as plain text, in UTC; on closed tickets too."""
        ref = await self.make(backend)
        texts = {"case/1": "Dosłano załącznik.", "case/2": "Druga linia\nmiędzy dwiema", "case/3": "<b>1 < 2 & 3</b>"}
        for key, text in texts.items():
            await backend.comment(ref, key, text)
        await backend.close(ref, "Gotowe.")
        await backend.comment(ref, "case/4", "Podziękowanie.")
        ticket = await self.read(backend, ref)
        ours = [note for note in ticket.notes if note.key in {mark_of(key) for key in (*texts, "case/4")}]
        assert [note.key for note in ours] == [mark_of(key) for key in (*texts, "case/4")]
        assert [note.text.strip() for note in ours] == [*texts.values(), "Podziękowanie."]
        assert len({note.id for note in ours}) == 4
        for note in ticket.notes:
            assert_utc(note.at)
            assert not note.public or note.key is None, "an internal note of ours became public"

    async def test_comment_twice(self, backend: CsdBackend) -> None:
        """The same key again, even with another text, is the same note; at another ticket it is another."""
        ref, other = await self.make(backend), await self.make(backend)
        await backend.comment(ref, "k1", "Pierwsza.")
        await backend.comment(ref, "k1", "Pierwsza.")
        await backend.comment(ref, "k1", "Pierwsza, ponowiona.")
        await backend.comment(other, "k1", "Przy innym.")
        assert [n.text.strip() for n in with_key(await self.read(backend, ref), "k1")] == ["Pierwsza."]
        assert [n.text.strip() for n in with_key(await self.read(backend, other), "k1")] == ["Przy innym."]

    async def test_comment_at_once(self, backend: CsdBackend) -> None:
        """Two workers with one note make one."""
        ref = await self.make(backend)
        await asyncio.gather(*(backend.comment(ref, "k1", "Raz.") for _ in range(3)))
        assert len(with_key(await self.read(backend, ref), "k1")) == 1

    async def test_comment_with_a_strange_mark(self, backend: CsdBackend) -> None:
        """A person who writes or quotes our mark does not keep our own note from being written."""
        ref = await self.make(backend)
        await backend.comment(ref, "k1", f"Cytuję: [okienko:{mark_of('k2')}]")
        await backend.comment(ref, "k2", "Druga.")
        ticket = await self.read(backend, ref)
        assert len(with_key(ticket, "k1")) == 1
        assert [n.text.strip() for n in with_key(ticket, "k2")] == ["Druga."]

    async def test_comment_odd_texts(self, backend: CsdBackend) -> None:
        """Odd texts and keys are taken, once."""
        ref = await self.make(backend)
        for _ in range(2):
            for place, text in enumerate(ODD):
                await backend.comment(ref, f"klucz/{place} ą\x00\ud83d", text)
        keys = [note.key for note in (await self.read(backend, ref)).notes if note.key is not None]
        assert len(keys) == len(set(keys)) == len(ODD)

    @needs(Capability.PUBLIC_NOTES)
    async def test_public_and_internal(self, backend: CsdBackend) -> None:
        """What the requester may see and what not are told apart, both ways."""
        ref = await self.make(backend)
        await backend.comment(ref, "inside", "Tylko dla nas.")
        await backend.comment(ref, "outside", "Dla Pana.", public=True)
        ticket = await self.read(backend, ref)
        assert [n.public for n in with_key(ticket, "inside")] == [False]
        assert [n.public for n in with_key(ticket, "outside")] == [True]

    async def test_foreign_note(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """What others write has no key, also when it quotes one of ours above, below, or without any sign that it is quoted."""
        ref = await self.make(backend)
        await backend.comment(ref, "k1", "Nasza.")
        mark = f"[okienko:{mark_of('k1')}]"
        for text in (
            "Telefon od klienta.",
            f"> Nasza.\n> {mark}\nZgoda.",
            f"Zgoda.\n\n> Nasza.\n>\n> {mark}",
            f"Zgoda.\n\n-----Oryginalna wiadomość-----\nNasza.\n\n{mark}",
        ):
            await csd_workshop.note(ref, text)
        notes = [note for note in (await self.read(backend, ref)).notes if note.text.strip()]
        assert [note.key for note in notes][-5:] == [mark_of("k1"), None, None, None, None]
        assert "Telefon od klienta." in notes[-4].text
        assert all("Zgoda." in note.text for note in notes[-3:])

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_comment_survives(self, backend: CsdBackend, csd_workshop: CsdWorkshop, fault: Fault) -> None:
        """However a request fails, trying again gives one note."""
        ref = await self.make(backend)
        await csd_workshop.order(fault)
        await insist(lambda: backend.comment(ref, "k1", "Raz."))
        assert len(with_key(await self.read(backend, ref), "k1")) == 1

    async def test_close_and_reopen(self, backend: CsdBackend) -> None:
        """Closing a closed ticket and reopening an open one change nothing and are no errors; the solution is kept."""
        ref = await self.make(backend)
        await backend.reopen(ref, "jest otwarte")
        before = await self.read(backend, ref)
        assert before.status is TicketStatus.OPEN
        await backend.close(ref, "Hasło ustawione.")
        closed = await self.read(backend, ref)
        assert closed.status is TicketStatus.CLOSED
        assert "Hasło ustawione." in told(closed)
        await backend.close(ref, "Inne rozwiązanie.")
        again = await self.read(backend, ref)
        assert told(again) == told(closed), "closing a closed ticket changed it"
        await backend.reopen(ref, "Dalej nie działa.")
        opened = await self.read(backend, ref)
        assert opened.status is TicketStatus.OPEN
        await backend.reopen(ref, "Drugi raz.")
        assert "Drugi raz." not in told(await self.read(backend, ref)), "reopening an open ticket changed it"
        await backend.close(ref, "Teraz działa.")
        last = await self.read(backend, ref)
        assert last.status is TicketStatus.CLOSED
        assert "Teraz działa." in told(last)

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_close_and_reopen_survive(self, backend: CsdBackend, csd_workshop: CsdWorkshop, fault: Fault) -> None:
        """What returns was done; what fails can be tried again, and leaves its text once."""
        ref = await self.make(backend)
        await csd_workshop.order(fault)
        await insist(lambda: backend.close(ref, "Hasło ustawione."))
        ticket = await self.read(backend, ref)
        assert ticket.status is TicketStatus.CLOSED
        assert told(ticket).count("Hasło ustawione.") <= 2, "the solution stands there more than once"
        assert len([n for n in ticket.notes if "Hasło ustawione." in n.text]) <= 1
        await csd_workshop.order(fault)
        await insist(lambda: backend.reopen(ref, "Dalej nie działa."))
        ticket = await self.read(backend, ref)
        assert ticket.status is TicketStatus.OPEN
        assert len([n for n in ticket.notes if "Dalej nie działa." in n.text]) <= 1

    async def test_ignored_state(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A system that says yes and does not close the ticket is found out."""
        ref = await self.make(backend)
        await csd_workshop.ignore_state()
        with pytest.raises(PermanentError):
            await backend.close(ref, "Gotowe.")

    async def test_foreign_states(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """What each state of the system means is told, with the system's own word."""
        if not csd_workshop.states:
            pytest.skip("the csd_workshop has no states")
        ref = await self.make(backend)
        for raw, meaning in csd_workshop.states.items():
            await csd_workshop.set_state(ref, raw)
            ticket = await self.read(backend, ref)
            assert (ticket.raw_status.casefold(), ticket.status) == (raw.casefold(), meaning)

    @needs(Capability.REMOVAL)
    async def test_removed(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A deleted ticket is not there: neither to be read, nor written, nor found."""
        one = self.new()
        ref = (await backend.create([one]))[one.correlation_id]
        await self.read(backend, ref)
        await csd_workshop.remove(ref)
        assert await backend.get(ref) is None
        assert await backend.find([one.correlation_id]) == {}
        await self.assert_gone(backend, ref)

    @needs(Capability.REMOVAL)
    async def test_merged(self, backend: CsdBackend, csd_workshop: CsdWorkshop) -> None:
        """A merged ticket says into which one."""
        ref, other = await self.make(backend), await self.make(backend)
        await csd_workshop.merge(ref, other)
        merged = await self.read(backend, ref)
        assert merged.merged_into is not None
        assert merged.merged_into.number == other.number
        assert (await self.read(backend, other)).merged_into is None

    async def assert_gone(self, backend: CsdBackend, ref: CsdRef) -> None:
        """Writing to it is permanently refused."""
        with pytest.raises(TicketGoneError):
            await backend.comment(ref, "k", "Notatka.")
        with pytest.raises(TicketGoneError):
            await backend.close(ref, "Gotowe.")


def told(ticket: Ticket) -> str:
    """All that the ticket says beside its fields."""
    return "\n".join([ticket.solution or "", *(note.text for note in ticket.notes)])
