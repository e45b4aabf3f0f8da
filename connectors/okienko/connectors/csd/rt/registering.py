"""Registering a batch: look, create several at once, look again, and repair what RT did by halves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from okienko.connectors.csd.rt import mapping as rt
from okienko.connectors.csd.rt.settings import RequestorMails, RtCsdSettings
from okienko.connectors.csd.rt.wire import RtWire
from okienko.plugins.csd import Registration
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.schemas import CsdRef

_QUIET = {RequestorMails.REPLIES: "TransSquelchMailTo", RequestorMails.NONE: "SquelchMailTo", RequestorMails.ALL: None}
_BUDGET = 20.0
"""Seconds after which no further request is begun: one that the core has to break off goes on in RT, where nobody sees it yet."""
Made = dict[UUID, int | OkienkoError]


class Registering:
    """`create` for cases that nobody else in this process creates meanwhile."""

    def __init__(
        self,
        settings: RtCsdSettings,
        file: MappingFile,
        wire: Callable[[], RtWire],
        find: Callable[[Sequence[UUID]], Awaitable[dict[UUID, CsdRef]]],
    ) -> None:
        self._settings = settings
        self._file = file
        self._wire = wire
        self._find = find

    async def create(self, wanted: Mapping[UUID, Registration]) -> dict[UUID, CsdRef]:
        """A number for each. What fails does not keep the others from being made; then the gravest failure is raised."""
        if not wanted:
            return {}
        found = await self._find(list(wanted))
        new = [registration for key, registration in wanted.items() if key not in found]
        if not new:
            return {key: found[key] for key in wanted}
        made = await self._all(new)
        # After a lost answer too: what RT did before it was lost is found here.
        found |= await self._find([registration.correlation_id for registration in new])
        await self._repair(made, found)
        failures = [error for key, error in made.items() if isinstance(error, OkienkoError) and key not in found]
        failures += [_unanswered()] if not failures and any(key not in found for key in wanted) else []
        if failures:
            raise max(failures, key=_gravity)
        return {key: found[key] for key in wanted}

    async def _all(self, new: Sequence[Registration]) -> Made:
        """Waves of as many requests as there are connections, dealt like cards, so that numbers follow the order of the batch."""
        made: Made = {}
        connections, most = self._settings.connections, self._settings.connections * self._settings.bulk
        clock = asyncio.get_running_loop().time
        end = clock() + _BUDGET
        for at in range(0, len(new), most):
            if clock() > end:
                break
            wave = new[at : at + most]
            hands = [wave[start::connections] for start in range(min(connections, len(wave)))]
            for answer in await asyncio.gather(*(self._some(hand) for hand in hands)):
                made |= answer
            if any(isinstance(one, TransientError | MisconfiguredError) for one in made.values()):
                break
        return made

    async def _some(self, registrations: Sequence[Registration]) -> Made:
        made: Made = {}
        bodies: dict[UUID, dict[str, Any]] = {}
        quiet = _QUIET[self._settings.requestor_mails]
        for registration in registrations:
            try:
                bodies[registration.correlation_id] = rt.body_of(registration, self._file.mapping, quiet=quiet)
            except PermanentError as error:
                made[registration.correlation_id] = error
        try:
            answers = await self._wire().bulk(list(bodies.values())) if bodies else []
            for (key, body), answer in zip(bodies.items(), answers, strict=True):
                made[key] = answer if isinstance(answer, int) else await self._refusal(str(body["Queue"]), answer)
        except OkienkoError as error:
            for key in bodies:
                made.setdefault(key, error)
        return made

    async def _refusal(self, queue: str, reason: str) -> OkienkoError:
        """Why RT made no ticket: its words have the language of its user, so that the queue is looked at."""
        record = await self._wire().resource(f"/queue/{rt.path_of(queue)}") if queue else None
        links = record.get("_hyperlinks") if record is not None else None
        if not any(link.get("ref") == "create" for link in links or ()):
            return MisconfiguredError(
                f"RT makes no ticket in the queue {queue!r} ({reason}): correct {self._file.path.name}, or give okienko's user "
                "the right CreateTicket there; `okienko check csd` says which"
            )
        return PermanentError(f"RT refuses the ticket: {reason}")

    async def _repair(self, made: Made, found: dict[UUID, CsdRef]) -> None:
        """Tickets whose number of the case RT left out get it; a second ticket of a case is merged into the oldest."""
        for key, number in made.items():
            if not isinstance(number, int):
                continue
            if key in found:
                if found[key].number != str(number):
                    await self._wire().update(number, {"MergeInto": int(found[key].number)})
                continue
            field = self._file.mapping.correlation
            await self._wire().update(number, {"CustomFields": {field: str(key)}})
            found |= await self._find([key])
            if key not in found:
                raise MisconfiguredError(
                    f"RT made ticket {number} and left its field {field!r} empty, so that the case could not be found again: give "
                    "okienko's user SeeCustomField and ModifyCustomField on the field, add the field to the queue, and delete "
                    f"ticket {number}"
                )


def _unanswered() -> TransientError:
    return TransientError("RT did not make the whole batch in time; what it made is found at the next attempt")


def _gravity(error: OkienkoError) -> int:
    """Wrong settings stop everything; what may work later is tried again, and then shows what is permanently refused."""
    return 2 if isinstance(error, MisconfiguredError) else 1 if isinstance(error, TransientError) else 0
