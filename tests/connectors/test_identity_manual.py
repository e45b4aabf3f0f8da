"""Identity by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from okienko.connectors.identity.manual import okienko_identity_backends
from okienko.connectors.identity.manual.client import ManualIdentity
from okienko.plugins import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.identity import Expected, IdentityBackend, UnsupportedOperationError
from okienko.plugins.ports import Severity
from okienko.plugins.testing import invented_pesel

EXPECTED = Expected("ref", "jan@poczta.example")

CALLS: list[Callable[[ManualIdentity], Awaitable[object]]] = [
    lambda backend: backend.find_by_login("jan@poczta.example"),
    lambda backend: backend.find_by_pesel(invented_pesel()),
    lambda backend: backend.get("ref"),
    lambda backend: backend.unlock(EXPECTED),
    lambda backend: backend.send_activation(EXPECTED, lifetime_seconds=3600),
    lambda backend: backend.set_password(EXPECTED, SecretStr("Nowe-Haslo-1")),
    lambda backend: backend.change_login(EXPECTED, "nowy@poczta.example"),
]


async def test_it_keeps_the_port_and_says_that_it_is_well() -> None:
    backend = ManualIdentity()
    assert isinstance(backend, IdentityBackend)
    for _ in range(2):
        await backend.start()
    assert [finding.severity for finding in await backend.check()] == [Severity.OK]
    for _ in range(2):
        await backend.close()


@pytest.mark.parametrize("call", CALLS)
async def test_whatever_it_is_asked_a_person_has_to_do(call: Callable[[ManualIdentity], Awaitable[object]]) -> None:
    with pytest.raises(UnsupportedOperationError, match="okienko action done"):
        await call(ManualIdentity())


def test_plugin(tmp_path: Path) -> None:
    (backend,) = okienko_identity_backends(PluginContext(home=tmp_path, environ={}))
    assert (backend.name, backend.operations) == ("manual", frozenset())


def test_it_has_no_settings(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="OKIENKO_IDENTITY_MANUAL_HOST"):
        okienko_identity_backends(PluginContext(home=tmp_path, environ={"OKIENKO_IDENTITY_MANUAL_HOST": "x"}))
