"""Identity by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from okienko.connectors.identity.manual import okienko_identity_backends
from okienko.connectors.identity.manual.client import ManualIdentity
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.testing.conformance import IdentityConformance


class TestManual(IdentityConformance):
    @pytest.fixture
    def backend(self) -> ManualIdentity:
        return ManualIdentity()


def test_plugin(tmp_path: Path) -> None:
    (backend,) = okienko_identity_backends(PluginContext(home=tmp_path, environ={}))
    assert (backend.name, backend.can_look_up, backend.can_execute) == ("manual", False, False)


def test_it_has_no_settings(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="OKIENKO_IDENTITY_MANUAL_HOST"):
        okienko_identity_backends(PluginContext(home=tmp_path, environ={"OKIENKO_IDENTITY_MANUAL_HOST": "x"}))
