"""Checks of the port IdentityBackend."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from okienko.plugins.errors import PermanentError
from okienko.plugins.ports import AccountFacts, IdentityBackend
from okienko.plugins.testing.conformance.findings import assert_findings
from okienko.schemas import ActionState, Procedure, ResetAction


@pytest.mark.asyncio
class IdentityConformance:
    """Subclass it as `Test…` and give it a fixture `backend`: an object without account `nobody@example.invalid`."""

    @pytest.fixture
    def backend(self) -> IdentityBackend:
        """The object to check."""
        raise NotImplementedError("override the fixture `backend`")

    async def test_port(self, backend: IdentityBackend) -> None:
        """It has every member of the port, a name, and says what it can do."""
        assert isinstance(backend, IdentityBackend)
        assert backend.name
        assert isinstance(backend.can_look_up, bool)
        assert isinstance(backend.can_execute, bool)

    @pytest.mark.parametrize("login", ["nobody@example.invalid", "", "*", "a)(uid=*", "'; --", "ż" * 300])
    async def test_unknown_login(self, backend: IdentityBackend, login: str) -> None:
        """Whatever the text: who can look up says that it is not there, who cannot says that it does not know."""
        facts = await backend.find_by_login(login)
        expected = AccountFacts(known=True, exists=False) if backend.can_look_up else AccountFacts(known=False)
        assert facts == expected

    async def test_execute_by_hand(self, backend: IdentityBackend) -> None:
        """Who cannot execute says so with PermanentError, so that nobody believes it done."""
        if backend.can_execute:
            pytest.skip("this backend executes; what it does to a real account is for its own tests")
        action = ResetAction(
            id=uuid4(),
            case_id=uuid4(),
            backend=backend.name,
            procedure=Procedure.UNLOCK,
            state=ActionState.WAITING,
            created_at=datetime(2026, 1, 5, 8, 30, tzinfo=UTC),
        )
        with pytest.raises(PermanentError):
            await backend.execute(action)

    async def test_check(self, backend: IdentityBackend) -> None:
        """`okienko check` gets something to show."""
        assert_findings(await backend.check())
