"""Checks of telling beforehand what would be written."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

import pytest

from okienko.plugins.csd import RAW_HEADS, Capability, CsdBackend, RawTicket, Registration
from okienko.plugins.testing.conformance.csdbase import CsdChecks, needs
from okienko.schemas import CaseKind, ChannelName, Priority, Procedure


class PreviewChecks(CsdChecks):
    """What `preview` says is what `get` shows after `create`."""

    @needs(Capability.PREVIEW)
    async def test_preview_is_what_is_created(self, backend: CsdBackend) -> None:
        """Under each head that the system tells of, and in each mapped field."""
        cases = self._cases()
        foretold = {case.correlation_id: backend.preview(case) for case in cases}
        refs = await backend.create(cases)
        for case in cases:
            raw = (await self.read(backend, refs[case.correlation_id])).raw
            assert raw is not None, "get() tells nothing in the system's own words"
            said = told_of(foretold[case.correlation_id])
            seen = {name: value for name, value in told_of(raw).items() if name in said}
            assert "subject" in seen, "get() does not tell the subject in the system's own words"
            wrong = [
                f"{name}: {said[name]!r} was foretold, {value!r} is there"
                for name, value in seen.items()
                if said[name] != value
            ]
            assert not wrong, "; ".join(wrong)

    @needs(Capability.PREVIEW)
    async def test_preview_asks_nothing(self, backend: CsdBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is plain work, before a connection was ever made and without one, and says the same each time."""
        await backend.stop()
        cases = self._cases()
        with monkeypatch.context() as patch, no_network(patch):
            first, second = ([backend.preview(case) for case in cases] for _ in range(2))
        assert first == second
        await backend.start()
        assert await backend.find([case.correlation_id for case in cases]) == {}

    def _cases(self) -> list[Registration]:
        odd = "tab\tnul\x00  dwa\nwiersze " + "ż" * 400
        return [
            self.new(),
            replace(self.new(subject=odd), requester=None, requester_name=None, channel=ChannelName.PORTAL),
            replace(self.new(), kind=CaseKind.SERVICE_REQUEST, procedure=Procedure.UNLOCK, channel=ChannelName.PHONE),
            *(replace(self.new(), priority=priority) for priority in Priority),
        ]


def told_of(raw: RawTicket) -> dict[str, str]:
    """What is told, with the fields by `fields.NAME`. Capitals mean nothing in the names of queues, types and states."""
    heads = {name: value for name in RAW_HEADS if (value := getattr(raw, name)) is not None}
    folded = {name: value if name == "subject" else value.casefold() for name, value in heads.items()}
    return folded | {f"fields.{name}": value for name, value in raw.fields.items()}


@contextmanager
def no_network(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever opens a connection meanwhile fails."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("preview() asked the system")

    patch.setattr(socket, "socket", refuse)
    patch.setattr(socket, "create_connection", refuse)
    yield
