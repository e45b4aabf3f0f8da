"""A missing peer is a visible skip, and a failure where peers are required."""

from __future__ import annotations

import pytest

from rigs.peers import REQUIRE, program


def test_missing_peer_fails_when_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nothing"):
        program("okienko-no-such-program", "apt-get install nothing")


def test_missing_peer_skips_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nothing"):
        program("okienko-no-such-program", "apt-get install nothing")


def test_a_peer_that_is_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "1")
    assert program("sh", "").endswith("/sh")
