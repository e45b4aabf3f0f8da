"""The activation page's work: a person with the link of mail 3 sets a new password, which nobody else ever sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions import store
from okienko.core.actions.links import Links
from okienko.core.actions.machine import Action
from okienko.core.actions.seals import SealKind, Seals, Trust, moment
from okienko.core.calls import Calls
from okienko.core.database import raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.starting import Starting
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.identity import Expected, PasswordRefusedError
from okienko.schemas import EventType

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 10
"""Passwords that the backend may refuse before the link is used up."""


def link_parts(link_id: UUID, action_id: UUID, token_sha256: bytes, expires_at: datetime) -> list[Any]:
    """What the seal of a link is over, so that nobody gives a link of their own to another's account in the database."""
    return [str(link_id), str(action_id), token_sha256.hex(), moment(expires_at)]


class LinkSpentError(PermanentError):
    """The link is unknown, used, or too old: all three look the same from outside."""

    def __init__(self) -> None:
        super().__init__("the link is not valid (any more): ask for a new one")


@dataclass(frozen=True, slots=True)
class OpenLink:
    """An activation that may be used."""

    id: UUID
    action: Action
    expires_at: datetime

    @property
    def login(self) -> str:
        """The login that the new password is for."""
        frozen = self.action.frozen
        return frozen.new_login if frozen.changes_login and frozen.new_login else frozen.old_login


class Activation:
    """Looks links up and passes passwords on."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        identity: Mapping[str, Starting],
        links: Links,
        seals: Seals,
        calls: Calls,
    ) -> None:
        self._engine = engine
        self._now = now
        self._identity = identity
        self._links = links
        self._seals = seals
        self._calls = calls

    async def look_up(self, token: str) -> OpenLink:
        """The activation of a link. Raises LinkSpentError."""
        async with transaction(self._engine) as connection:
            return await self._open(await raw_connection(connection), token, lock=False)

    async def _open(self, raw: Any, token: str, *, lock: bool) -> OpenLink:
        sql = (
            "SELECT id, action_id, expires_at, token_sha256, seal, sealed_by FROM activation "
            "WHERE token_sha256 = $1 AND used_at IS NULL AND expires_at > $2 AND attempts < $3"
        )
        row = await raw.fetchrow(
            sql + (" FOR UPDATE" if lock else ""), self._links.fingerprint(token), self._now(), MAX_ATTEMPTS
        )
        if row is None:
            raise LinkSpentError
        parts = link_parts(row["id"], row["action_id"], row["token_sha256"], row["expires_at"])
        trust = self._seals.look(SealKind.ACTIVATION, parts, row["sealed_by"], row["seal"])
        if trust is not Trust.GENUINE:
            log.error(
                "activation link without a seal",
                action="activate",
                reset_action=str(row["action_id"]),
                seal=trust.value,
            )
            raise LinkSpentError
        return OpenLink(row["id"], await store.fetch(raw, self._seals, row["action_id"]), row["expires_at"])

    async def set_password(self, token: str, password: SecretStr, *, origin: str) -> None:
        """Set the password and use the link up.

        Raises LinkSpentError, PasswordRefusedError (the person may choose another one), TransientError (try again).
        """
        refused: PasswordRefusedError | None = None
        async with transaction(self._engine) as connection:
            raw = await raw_connection(connection)
            link = await self._open(raw, token, lock=True)
            frozen = link.action.frozen
            if frozen.account_ref is None:
                raise LinkSpentError
            if frozen.backend not in self._identity:
                raise MisconfiguredError(f"the identity backend {frozen.backend!r} is not configured any more")
            backend = await self._identity[frozen.backend].ready()
            call = partial(backend.set_password, Expected(frozen.account_ref, link.login), password)
            now = self._now()
            try:
                await self._calls.call(backend, "set_password", call)
            except PasswordRefusedError as error:
                refused = error
                await raw.execute("UPDATE activation SET attempts = attempts + 1 WHERE id = $1", link.id)
            else:
                await raw.execute("UPDATE activation SET used_at = $2 WHERE id = $1", link.id, now)
                data = {"action": str(frozen.action_id), "origin": origin}
                await append(raw, [NewEvent(frozen.case_id, EventType.ACTIVATION_USED, now, data, "holder")])
        if refused is not None:
            raise refused
