"""Checks of the port CsdBackend."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from okienko.plugins.errors import PermanentError
from okienko.plugins.ports import CsdBackend, Registration
from okienko.plugins.testing.conformance.findings import assert_findings
from okienko.schemas import CaseKind, CsdRef, Procedure


def registration(correlation_id: UUID | None = None, subject: str = "Nie mogę się zalogować") -> Registration:
    """A registration of a recovery case."""
    return Registration(
        correlation_id=correlation_id or uuid4(),
        kind=CaseKind.RECOVERY,
        procedure=Procedure.SELF_SERVICE,
        subject=subject,
        description="Zażółć gęślą jaźń\n— dwa wiersze",
        requester="jan.kowalski@example.org",
        opened_at=datetime(2026, 1, 5, 8, 30, tzinfo=UTC),
    )


@pytest.mark.asyncio
class CsdConformance:
    """Subclass it as `Test…` and give it a fixture `backend`: an object whose register is empty."""

    @pytest.fixture
    def backend(self) -> CsdBackend:
        """The object to check."""
        raise NotImplementedError("override the fixture `backend`")

    async def test_port(self, backend: CsdBackend) -> None:
        """It has every member of the port, and a name."""
        assert isinstance(backend, CsdBackend)
        assert backend.name

    async def test_start_twice(self, backend: CsdBackend) -> None:
        """Starting is idempotent, and loses nothing."""
        await backend.start()
        one = registration()
        refs = await backend.create([one])
        await backend.start()
        assert await backend.find([one.correlation_id]) == refs

    async def test_nothing_asked(self, backend: CsdBackend) -> None:
        """Empty questions have empty answers."""
        await backend.start()
        assert await backend.find([]) == {}
        assert await backend.create([]) == {}

    async def test_find_unknown(self, backend: CsdBackend) -> None:
        """A case that the register does not hold is not in the answer."""
        await backend.start()
        assert await backend.find([uuid4()]) == {}

    async def test_create_then_find(self, backend: CsdBackend) -> None:
        """What was created is found again by its correlation id, with the same number."""
        await backend.start()
        one = registration()
        refs = await backend.create([one])
        assert list(refs) == [one.correlation_id]
        assert refs[one.correlation_id].backend == backend.name
        assert refs[one.correlation_id].number
        assert await backend.find([one.correlation_id, uuid4()]) == refs

    async def test_create_twice(self, backend: CsdBackend) -> None:
        """A retry after a time-out, even with another text, gives the number of the first time."""
        await backend.start()
        one = registration()
        first = await backend.create([one])
        assert await backend.create([registration(one.correlation_id, "ponowiona")]) == first

    async def test_batch(self, backend: CsdBackend) -> None:
        """A batch of a hundred gives a hundred numbers, for old and new cases alike."""
        await backend.start()
        batch = [registration() for _ in range(100)]
        old = await backend.create(batch[:30])
        refs = await backend.create(batch)
        assert set(refs) == {r.correlation_id for r in batch}
        assert len({ref.number for ref in refs.values()}) == 100
        assert {key: refs[key] for key in old} == old

    async def test_same_case_twice_in_a_batch(self, backend: CsdBackend) -> None:
        """One correlation id twice in one batch is one ticket."""
        await backend.start()
        one = registration()
        refs = await backend.create([one, registration(), one])
        assert len(refs) == 2
        assert (await backend.find([one.correlation_id]))[one.correlation_id] == refs[one.correlation_id]

    async def test_created_at_once(self, backend: CsdBackend) -> None:
        """Two workers with the same cases at the same time get the same numbers."""
        await backend.start()
        batch = [registration() for _ in range(20)]
        one, other = await asyncio.gather(backend.create(batch), backend.create(batch[::-1]))
        assert one == other
        assert await backend.find([r.correlation_id for r in batch]) == one

    async def test_odd_texts(self, backend: CsdBackend) -> None:
        """Texts as real mail has them are taken: empty, long, emoji, quotes, control characters, half a surrogate."""
        await backend.start()
        texts = [
            "",
            "x" * 5000,
            "🙂 ąęść",
            "'; DROP TABLE ticket; --",
            "tab\tnul\x00bell\x07",
            "half \ud83d",
            ":name %s {}",
        ]
        batch = [registration(subject=text) for text in texts]
        refs = await backend.create(batch)
        assert set(refs) == {r.correlation_id for r in batch}

    async def test_close_and_reopen(self, backend: CsdBackend) -> None:
        """Closing a closed ticket and reopening an open one change nothing and are no errors."""
        await backend.start()
        ref = await self._ref(backend)
        await backend.reopen(ref, "jest otwarte")
        for _ in range(2):
            await backend.close(ref, "Hasło ustawione.")
        for _ in range(2):
            await backend.reopen(ref, "Dalej nie działa.")
        await backend.close(ref, "Teraz działa.")

    async def test_comment(self, backend: CsdBackend) -> None:
        """A note is taken on open and closed tickets; the same key again is no error."""
        await backend.start()
        ref = await self._ref(backend)
        await backend.comment(ref, "k1", "Dosłano załącznik.")
        await backend.comment(ref, "k1", "Dosłano załącznik.")
        await backend.close(ref, "Gotowe.")
        await backend.comment(ref, "k2", "Podziękowanie.")

    async def test_unknown_ticket(self, backend: CsdBackend) -> None:
        """A number that the register never gave is a PermanentError: retrying would not make it known."""
        await backend.start()
        await backend.create([registration()])
        unknown = CsdRef(backend=backend.name, number="ZGL999999999")
        with pytest.raises(PermanentError):
            await backend.close(unknown, "Gotowe.")
        with pytest.raises(PermanentError):
            await backend.reopen(unknown, "Dalej nie działa.")
        with pytest.raises(PermanentError):
            await backend.comment(unknown, "k", "Notatka.")

    async def test_check(self, backend: CsdBackend) -> None:
        """`okienko check` gets something to show."""
        await backend.start()
        assert_findings(await backend.check())

    async def _ref(self, backend: CsdBackend) -> CsdRef:
        return next(iter((await backend.create([registration()])).values()))
