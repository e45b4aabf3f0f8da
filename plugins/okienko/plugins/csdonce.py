"""Creating each ticket once where the system has no idempotency key: look, create, and look again after a doubtful answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from okienko.plugins.csd import Registration
from okienko.plugins.csdlocks import TicketLocks
from okienko.plugins.errors import MisconfiguredError, TransientError
from okienko.plugins.pace import PaceError
from okienko.schemas import CsdRef


class OnceOnly:
    """The whole of `CsdBackend.create` for a system that makes one ticket with one request.

    `find` is the backend's own; `create_one` asks the system for one new ticket and raises TransientError when it is not known
    whether it was made. Within this process nobody else creates the same case meanwhile; between processes the core sees to that.
    """

    def __init__(
        self,
        find: Callable[[Sequence[UUID]], Awaitable[dict[UUID, CsdRef]]],
        create_one: Callable[[Registration], Awaitable[CsdRef]],
        *,
        at_once: int = 1,
    ) -> None:
        """`at_once`: how many requests may be under way; they are begun in the order of the batch."""
        self._find = find
        self._create_one = create_one
        self._turns = asyncio.Semaphore(at_once)
        self._locks = TicketLocks()

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """A ticket for each. One that fails does not keep the others from being made; then the worst failure is raised."""
        wanted: dict[UUID, Registration] = {}
        for registration in registrations:
            wanted.setdefault(registration.correlation_id, registration)
        if not wanted:
            return {}
        async with self._locks.held(*wanted):
            known = await self._find(list(wanted))
            new = [one for key, one in wanted.items() if key not in known]
            made = await asyncio.gather(*(self._once(one) for one in new), return_exceptions=True)
        failures: list[BaseException] = []
        for registration, answer in zip(new, made, strict=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
            else:
                known[registration.correlation_id] = answer
        if failures:
            raise max(failures, key=_gravity)
        return {key: known[key] for key in wanted}

    async def _once(self, registration: Registration) -> CsdRef:
        async with self._turns:
            try:
                return await self._create_one(registration)
            except PaceError:
                raise  # nothing was asked
            except TransientError as doubtful:
                key = registration.correlation_id
                try:
                    found = await self._find([key])
                except TransientError:
                    raise doubtful from None
                if key in found:
                    return found[key]
                raise


def _gravity(error: BaseException) -> int:
    """Wrong settings stop everything; what may work later is tried again, and then shows what is permanently refused.

    A missing turn is told only when nothing is in doubt.
    """
    if isinstance(error, MisconfiguredError):
        return 3
    if isinstance(error, PaceError):
        return 1
    return 2 if isinstance(error, TransientError) else 0
