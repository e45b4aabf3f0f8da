"""Reset actions: what an identity administrator is asked to do."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from okienko.schemas.base import Model, UtcDatetime
from okienko.schemas.case import Procedure


class ActionState(StrEnum):
    """Where a reset action stands; the allowed moves are in `okienko.core.actions.machine`."""

    WAITING = "waiting"
    COOLING = "cooling"
    READY = "ready"
    EXECUTING = "executing"
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    STOPPED = "stopped"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """Ended because the application's data were typed: the case is decided anew."""


class ResetAction(Model):
    """One change to one account, waiting for or ended by a person."""

    id: UUID
    case_id: UUID
    backend: str
    procedure: Procedure
    state: ActionState
    must_check: tuple[str, ...] = ()
    """Rule ids that nobody could decide: the administrator checks them and says so."""
    created_at: UtcDatetime
    ended_at: UtcDatetime | None = None
    ended_by: str | None = None
