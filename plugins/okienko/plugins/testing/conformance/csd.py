"""Checks of the port CsdBackend."""

from __future__ import annotations

import pytest

from okienko.plugins.testing.conformance.csdbase import registration
from okienko.plugins.testing.conformance.csdchanges import ChangeChecks
from okienko.plugins.testing.conformance.csdcreate import CreateChecks
from okienko.plugins.testing.conformance.csdfields import FieldChecks
from okienko.plugins.testing.conformance.csdfiles import FileChecks
from okienko.plugins.testing.conformance.csdpreview import PreviewChecks
from okienko.plugins.testing.conformance.csdtickets import TicketChecks

__all__ = ["CsdConformance", "registration"]


@pytest.mark.asyncio
class CsdConformance(CreateChecks, TicketChecks, FileChecks, FieldChecks, ChangeChecks, PreviewChecks):
    """Subclass it as `Test…` and give it a fixture `backend`, and the others as far as you can (see CsdChecks).

    Checks of a capability that the backend does not declare are skipped, and so are those for which the workshop lacks a hand;
    the table of capabilities at the end of the session shows what was really tried.
    """
