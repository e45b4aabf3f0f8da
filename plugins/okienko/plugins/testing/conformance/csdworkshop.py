"""What the checks of CSD backends need of an author: the hands of the people who work in the system, and of fate."""

# ruff: noqa: ARG002  the methods only say that they cannot be done

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn
from uuid import UUID

import pytest

from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus


class CsdWorkshop:
    """The other side of the backend, by other means than the backend's own. Override what your system and your test rig can do.

    A method that is left as it is skips the check that needs it, and the skip says which.
    """

    states: Mapping[str, TicketStatus] = {}
    """States of the system that people set, with their meaning under the mapping in use."""
    signs_body = False
    """A webhook's signature covers its body, so that a changed body is found."""

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        """Somebody changes fields (not the status)."""
        self._cannot("edit")

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        """Somebody writes a note."""
        self._cannot("note")

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        """Somebody adds a file."""
        self._cannot("attach")

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        """Somebody sets a state, one of `states`."""
        self._cannot("set_state")

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        """Somebody merges the first ticket into the second."""
        self._cannot("merge")

    async def remove(self, ref: CsdRef) -> None:
        """Somebody deletes the ticket."""
        self._cannot("remove")

    async def copy(self, ref: CsdRef) -> CsdRef:
        """Somebody makes a second ticket with the same correlation id; the new one."""
        self._cannot("copy")

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        """Every ticket with that correlation id, doubles too."""
        self._cannot("tickets_of")

    async def order(self, fault: Fault) -> None:
        """The next request that writes goes this way."""
        self._cannot("order")

    async def ignore_filter(self) -> None:
        """From now on the search answers with every ticket, as if it did not know the field."""
        self._cannot("ignore_filter")

    async def ignore_state(self) -> None:
        """The next change of state is answered with success and not made."""
        self._cannot("ignore_state")

    async def tick(self) -> None:
        """Return when the system's clock shows a later time for changes than before."""
        self._cannot("tick")

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        """What the system posts when these have changed, in this order."""
        self._cannot("webhook")

    async def signed(self, body: bytes) -> WebhookRequest:
        """Any body, proved as the system proves its own."""
        self._cannot("signed")

    def _cannot(self, what: str) -> NoReturn:
        pytest.skip(f"the csd_workshop has no {what}")
