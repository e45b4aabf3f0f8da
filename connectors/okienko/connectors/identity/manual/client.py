"""The backend that asks a person."""

from __future__ import annotations

from okienko.plugins.errors import PermanentError
from okienko.plugins.ports import AccountFacts, Finding, Severity
from okienko.schemas import ResetAction


class ManualIdentity:
    """See IdentityBackend. It looks nothing up, so every rule about the account stays unknown and a human decides."""

    name = "manual"
    can_look_up = False
    can_execute = False

    async def find_by_login(self, login: str) -> AccountFacts:
        """Nothing is known."""
        del login
        return AccountFacts(known=False)

    async def execute(self, action: ResetAction) -> None:
        """Always PermanentError: a person does it."""
        raise PermanentError(
            f"the reset action {action.id} is done by hand: carry it out in your own tool, "
            f"then mark it done with `okienko action done {action.id}`"
        )

    async def check(self) -> list[Finding]:
        """Nothing to connect to."""
        return [Finding("identity manual", Severity.OK, "reset actions wait for an administrator")]
